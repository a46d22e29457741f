"""Jobs through a pool at GitLab, one after the other on one manager, which each leaves as it was."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.providers.gitlab_pool import GitLabPool, gitlab_pool
from tests.providers.test_gitlab_pool import ONE, history, started

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("gitlab", "a job from start to end", with_="fake"),
]


@pytest.fixture(scope="module")
def pools(engine: PrivateEngine) -> Iterator[GitLabPool]:
    """That of all tests which leave it as it was."""
    with gitlab_pool(engine) as one:
        one.configure(1)
        yield one


@pytest.fixture
def slot(pools: GitLabPool) -> GitLabPool:
    """One slot with an idle agent."""
    pools.manager.rested()
    pools.first = pools.manager.slot("gl-0")["agent"]
    return pools


def test_idle_and_busy_are_confirmed_by_the_clients_lines(slot: GitLabPool) -> None:
    row = slot.manager.in_phase("idle", "gl-0")
    assert row["confirmed_by"] == "lines"
    job = slot.fake.submit("sleep 60", tags=["gpu"])
    slot.manager.in_phase("busy", "gl-0")
    slot.fake.cancel(job)
    assert slot.ended(job) == "canceled"


@pytest.mark.seen("gitlab", "the lines of a job's log", with_="fake")
def test_a_jobs_result_is_told_though_the_exit_code_never_is(slot: GitLabPool) -> None:
    bad = slot.fake.submit("exit 3", after=["echo afterwards"], tags=["gpu"])
    assert slot.ended(bad) == "failed"
    late = slot.fake.submit("sleep 60", timeout=2, tags=["gpu"])
    assert slot.ended(late) == "failed"
    kept = slot.fake.submit("echo kept > a.txt", artifacts=["a.txt"], tags=["gpu"])
    assert slot.ended(kept) == "success"
    assert (slot.fake.jobs[bad].exit_code, slot.fake.jobs[bad].failure) == (3, "script_failure")
    assert "afterwards" in slot.fake.jobs[bad].log
    # However it ended, its log begins with what it ran on, and its script's ends with what it used.
    for job, script in ((bad, "$ exit 3"), (late, "$ sleep 60"), (kept, "$ echo kept > a.txt")):
        lines = [line.partition(" 01O ")[2] for line in slot.fake.jobs[job].log.splitlines()]
        words = [line for line in lines if line.startswith(("mayfly: ", script))]
        assert words[0].startswith("mayfly: slot gl-0 of box: "), lines
        assert words[1].startswith("mayfly: image mayfly/gitlab:"), lines
        assert words[2] == script, lines
        assert words[3].startswith("mayfly: memory: "), lines
    assert slot.fake.jobs[late].failure == "job_execution_timeout"
    assert slot.fake.jobs[kept].uploaded is not None
    told = [(row["exit_code"], row["cause"], row["detail"]) for row in history(slot, 3)]
    assert told == [
        (0, "exit", f"job {bad} failed: exit status 3"),
        (0, "timeout", f"job {late} failed: execution took longer than 2s seconds"),
        (0, None, f"job {kept} succeeded"),
    ]


def test_a_job_cannot_end_its_runner(slot: GitLabPool) -> None:
    job = slot.fake.submit("kill -9 -1; kill -9 $PPID || echo not mine", tags=["gpu"])
    # GitLab's own runner is told that the shell which it had started was killed, and tells GitLab.
    assert slot.ended(job) in ("success", "failed")
    assert slot.fake.jobs[job].ended == 1
    assert history(slot)[0]["outcome"] == "job_done"


def test_a_job_outlives_its_manager_and_the_next_one_tells_its_result(slot: GitLabPool) -> None:
    job = slot.fake.submit("until [ -e /tmp/go ]; do sleep 0.1; done", tags=["gpu"])
    slot.manager.in_phase("busy", "gl-0")
    slot.manager.kill(signal.SIGKILL)
    started(slot)
    assert slot.manager.in_phase("busy", "gl-0")["agent"] is not None
    slot.manager.let_go_in(slot.manager.slot("gl-0")["container"])
    assert slot.ended(job) == "success"
    assert history(slot)[0]["detail"] == f"job {job} succeeded"


def test_a_cordoned_slot_is_paused_at_gitlab_and_goes_on_with_the_same_agent(
    slot: GitLabPool,
) -> None:
    (runner,) = slot.fake.runners.values()
    before = slot.manager.slot("gl-0")["agent"]
    slot.manager.cli("cordon", *ONE)
    until(lambda: runner.paused, "the runner is paused")
    job = slot.fake.submit("true", tags=["gpu"])
    slot.manager.cli("uncordon", *ONE)
    assert slot.ended(job) == "success"
    assert history(slot)[0]["agent"] == before


def test_draining_an_idle_slot_costs_no_job(slot: GitLabPool) -> None:
    slot.manager.in_phase("idle", "gl-0")
    done = slot.manager.cli("drain", *ONE, "--wait", "--timeout", "100")
    assert done.returncode == 0, done.stderr
    assert history(slot)[0]["outcome"] == "no_job"
    job = slot.fake.submit("true", tags=["gpu"])
    slot.manager.cli("uncordon", *ONE)
    assert slot.ended(job) == "success"
    assert slot.fake.jobs[job].handed == 1


def test_draining_a_busy_slot_waits_for_its_job(slot: GitLabPool) -> None:
    job = slot.fake.submit("sleep 6", tags=["gpu"])
    slot.manager.in_phase("busy", "gl-0")
    done = slot.manager.cli("drain", *ONE, "--wait", "--timeout", "100")
    assert done.returncode == 0, done.stderr
    assert slot.fake.jobs[job].state == "success"


def test_a_forced_drain_breaks_the_job_off_and_gitlab_is_told(slot: GitLabPool) -> None:
    job = slot.fake.submit("sleep 600", tags=["gpu"])
    slot.manager.in_phase("busy", "gl-0")
    done = slot.manager.cli("drain", *ONE, "--force", "--wait", "--timeout", "100", "--yes")
    assert done.returncode == 0, done.stderr
    assert (slot.fake.jobs[job].state, slot.fake.jobs[job].failure) == (
        "failed",
        "runner_interrupted",
    )
    assert history(slot)[0]["cause"] == "cancelled"


def test_a_runner_that_is_deleted_at_gitlab_is_made_anew(slot: GitLabPool) -> None:
    slot.manager.in_phase("idle", "gl-0")
    (gone,) = slot.fake.runners
    with slot.fake.lock:
        slot.fake.runners.clear()
        slot.fake.lock.notify_all()
    job = slot.fake.submit("true", tags=["gpu"])
    assert slot.ended(job) == "success"
    assert gone not in slot.fake.runners
    row = next(row for row in history(slot) if row["ended_for"] == "refused")
    assert "or the runner was deleted" in row["detail"]
