"""Jobs through a pool at GitHub, one after the other on one manager, which each leaves as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.providers.github_pool import GitHubPool, github_pool
from tests.providers.test_github_pool import canary, done, history, started

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("github", "a job from start to end", with_="fake"),
]
SCORES = (
    "echo step $(cat /proc/self/oom_score_adj); for p in /proc/[0-9]*; do read -r n <$p/comm; "
    "case $n in Runner.*) echo $n $(cat $p/oom_score_adj);; esac; done | sort"
)


# A hook of the pool's own, of which any script of the image will do that tells of itself.
OWN = '[pool.env]\nSTUB_PACE = "20"\nACTIONS_RUNNER_HOOK_JOB_COMPLETED = "/opt/mayfly/job-started.sh"\n'


@pytest.fixture(scope="module")
def pools(engine: PrivateEngine) -> Iterator[GitHubPool]:
    """That of all tests which leave it as it was."""
    with github_pool(engine) as one:
        one.configure(keys=OWN)
        yield one


@pytest.fixture
def filled(pools: GitHubPool) -> GitHubPool:
    """Two slots with an idle agent each."""
    pools.manager.rested()
    return pools


@pytest.mark.seen("github", "the lines of a job's log", with_="fake")
def test_each_agent_does_one_job_and_is_gone_with_its_registration(filled: GitHubPool) -> None:
    script = f"echo done by $RUNNER_OS; id -u; {SCORES}"
    jobs = [filled.fake.queue(script) for _ in range(3)]
    for job in jobs:
        done(filled, job)
    assert [(job.conclusion, job.acquired, job.completed) for job in jobs] == [
        ("succeeded", 1, 1)
    ] * 3
    # Of a full memory a step dies before the runner and its worker, which have to report it.
    scores = "step 1000\nRunner.Listener 500\nRunner.Worker 500\n"
    assert [job.log for job in jobs] == [f"done by Linux\n1000\n{scores}"] * 3
    assert len({job.runner for job in jobs}) == 3
    for job in jobs:  # in steps of their own, the first lines and the last
        first = ["mayfly: slot gh-", f"mayfly: image {filled.tag} (sha256:"]
        begins = ["A job started hook", *first, "A job completed hook", *first, "mayfly: memory: "]
        lines = job.hooks.splitlines()
        assert len(lines) == len(begins), job.hooks
        assert all(map(str.startswith, lines, begins)), job.hooks
    agents = {str(job.runner).rpartition("-")[2] for job in jobs}

    def ended() -> list[dict[str, Any]] | None:
        rows = [row for row in history(filled) if row["agent"] in agents]
        return rows if len(rows) == 3 else None

    rows = until(ended, "three agents in the history")
    assert {row["outcome"] for row in rows} == {"job_done"}


def test_idle_is_confirmed_by_the_roster(filled: GitHubPool) -> None:
    row = filled.manager.in_phase("idle", "gh-0")
    assert row["confirmed_by"] == "roster"
    job = filled.fake.queue("until [ -e /tmp/go ]; do sleep 0.05; done")

    def busy() -> str | None:
        slots = filled.manager.get("/v1/status")["slots"]
        return next((slot["slot"] for slot in slots if slot["phase"] == "busy"), None)

    filled.manager.let_go_in(until(busy, "a slot is busy"))
    assert done(filled, job).conclusion == "succeeded"


def test_a_drain_lets_go_of_the_idle_and_waits_for_the_busy(filled: GitHubPool) -> None:
    job = filled.fake.queue("while [ ! -e /tmp/go ]; do sleep 0.05; done")
    until(lambda: job.state == "running", "the job runs")
    filled.manager.cli("drain", "--all")
    until(lambda: len(filled.fake.runners) == 1, "the idle runner is let go")
    (left,) = filled.fake.runners.values()
    assert left.job is job
    (busy,) = until(
        lambda: names if len(names := filled.manager.containers()) == 1 else None,
        "one container is left",
    )
    filled.manager.let_go_in(busy)
    assert done(filled, job).conclusion == "succeeded"
    waited = filled.manager.cli("wait", "--for", "drained", "--timeout", "100")
    assert waited.returncode == 0
    assert filled.fake.runners == {}
    assert filled.manager.containers() == []


def test_a_manager_that_is_killed_and_started_again_adopts_idle_and_busy_runners(
    filled: GitHubPool,
) -> None:
    job = filled.fake.queue("while [ ! -e /tmp/go ]; do sleep 0.05; done; echo still here")
    until(lambda: job.state == "running", "the job runs")
    until(
        lambda: (
            sorted(filled.manager.slot(name)["phase"] for name in ("gh-0", "gh-1"))
            == ["busy", "idle"]
        ),
        "one busy, one idle",
    )
    before = {runner.name for runner in filled.fake.runners.values()}
    filled.manager.kill()
    started(filled)
    until(
        lambda: (
            sorted(filled.manager.slot(name)["phase"] for name in ("gh-0", "gh-1"))
            == ["busy", "idle"]
        ),
        "one busy, one idle again",
    )
    assert {runner.name for runner in filled.fake.runners.values()} == before
    slot = next(name for name in ("gh-0", "gh-1") if filled.manager.slot(name)["phase"] == "busy")
    filled.manager.let_go_in(slot)
    assert done(filled, job).log == "still here\n"


def test_a_canary_comes_to_the_service_and_goes_again_and_its_slot_is_filled(
    filled: GitHubPool,
) -> None:
    before = {row["slot"]: row["agent"] for row in filled.manager.get("/v1/status")["slots"]}
    job = filled.fake.queue("sleep 6; echo first")

    def at_work() -> str | None:
        rows = filled.manager.get("/v1/status")["slots"]
        return next((row["slot"] for row in rows if row["phase"] == "busy"), None)

    busy = until(at_work, "a slot has the job")
    row = canary(filled, busy)
    assert row["state"] == "ok", row
    assert "was let in, shown by the roster, and let go again" in row["text"]
    assert job.conclusion == "succeeded"
    flown = [one for one in history(filled) if one["slot"] == busy and one["agent"] > before[busy]]
    assert {one["outcome"] for one in flown} == {
        "no_job"
    }  # the canary and standbys that were let go
    now = filled.manager.slot(busy)
    assert now["cordoned"] is None
    assert now["agent"] not in {one["agent"] for one in history(filled)}
    names = {runner.name for runner in filled.fake.runners.values()}
    assert not any(name.endswith(one["agent"]) for name in names for one in flown)
