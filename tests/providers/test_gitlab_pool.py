"""A pool at GitLab, whole: a real manager, a real Engine, the fake service and the runner.

The runner is the stub, or GitLab's own where MAYFLY_TEST_GITLAB_RUNNER names it.
"""

from __future__ import annotations

import io
import signal
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.hurried import SOON, hurried
from tests.providers.gitlab_pool import SCOPES, GitLabPool, gitlab_pool
from tests.providers.leaks import leaks, surfaces

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("gitlab", "a job from start to end", with_="fake"),
]
ONE = ("gl-0",)
VAULTS = ("gitlab",)  # where a slot's runner and its token are kept for the next agent


@pytest.fixture
def pool(engine: PrivateEngine) -> Iterator[GitLabPool]:
    with gitlab_pool(engine) as one:
        yield one


def history(pool: GitLabPool, least: int = 1) -> list[dict[str, Any]]:
    """The agents that have ended, oldest first, once there are so many; without standbys that were let go."""

    def look() -> list[dict[str, Any]] | None:
        rows = [
            row
            for row in pool.manager.get("/v1/history")["agents"]
            if row["opened"] is not None and row["agent"] >= pool.first
        ]
        return rows if len(rows) >= least else None

    return until(look, f"{least} agents have ended")


def running(pool: GitLabPool, job: int) -> None:
    """Wait until the job runs, by GitLab's book."""
    until(lambda: pool.fake.jobs[job].state == "running", f"job {job} runs")


def started(pool: GitLabPool) -> None:
    """Start the manager, whatever comes of its pool."""
    pool.manager.start(wait=None)
    until(pool.manager.answers, "the manager answers")


# -- jobs --------------------------------------------------------------------------------------------


def test_each_agent_does_one_job_and_its_slot_keeps_its_runner(pool: GitLabPool) -> None:
    pool.manager.start()
    runners = set(pool.fake.runners)
    jobs = [pool.fake.submit('echo "$(id -u) at $PWD"', tags=["gpu"]) for _ in range(4)]
    assert [pool.ended(job) for job in jobs] == ["success"] * 4
    assert all(" 1000 at /home/runner/builds/" in pool.fake.jobs[job].log for job in jobs)
    rows = history(pool, 4)
    assert {row["outcome"] for row in rows} == {"job_done"}
    assert len({row["agent"] for row in rows}) == len(rows)
    assert set(pool.fake.runners) == runners
    assert len(runners) == len(pool.fake.seen_managers()) == 2
    assert [pool.fake.jobs[job].begun for job in jobs] == [1] * 4


def test_a_step_that_fills_the_memory_dies_and_its_runner_lives_to_tell(pool: GitLabPool) -> None:
    pool.configure(1, '[pool.limits]\nmemory = "192MiB"')
    pool.manager.start()
    job = pool.fake.submit("tail /dev/zero", tags=["gpu"])
    assert pool.ended(job) == "failed"
    assert pool.fake.jobs[job].ended == 1
    assert history(pool)[0]["cause"] == "oom"


def test_a_job_that_outlives_its_pools_limit_is_ended_and_gitlab_is_told(pool: GitLabPool) -> None:
    pool.configure(1, '[pool.limits]\njob_timeout = "3s"')
    pool.manager.start()
    job = pool.fake.submit("sleep 600", tags=["gpu"])
    assert pool.ended(job) == "failed"
    assert pool.fake.jobs[job].failure == "runner_interrupted"
    assert history(pool)[0]["cause"] == "timeout"
    assert [runner.maximum_timeout for runner in pool.fake.runners.values()] == [600]


# -- cordon and drain --------------------------------------------------------------------------------


# -- what goes wrong ---------------------------------------------------------------------------------


def test_a_revoked_runner_token_holds_the_pool_with_one_sentence_until_there_is_another(
    pool: GitLabPool,
) -> None:
    first = pool.fake.runner("gpu")
    pool.secret(first.token)
    pool.configure(1, scope=None)
    pool.manager.start(*hurried(*SOON))
    assert pool.ended(pool.fake.submit("true", tags=["gpu"])) == "success"
    pool.manager.in_phase("idle", "gl-0")
    pool.fake.revoke(first.id)
    with pool.fake.lock:
        pool.fake.lock.notify_all()
    note = pool.manager.in_phase("held", "gl-0")["note"]
    assert 'does not take the runner\'s token of pool "gl" (403)' in note
    assert "\n" not in note
    pool.secret(first.token)
    assert pool.ended(pool.fake.submit("true", tags=["gpu"]), 120) == "success"


def test_a_registration_token_holds_the_pool_with_one_sentence(pool: GitLabPool) -> None:
    pool.secret("GR1348941abcdefghijkl")
    started(pool)
    note = pool.manager.in_phase("held", "gl-0")["note"]
    assert "is a registration token, which GitLab is giving up" in note
    assert not any(call.method == "POST" for call in pool.fake.calls)


def test_a_hold_for_a_refused_enrolment_outlasts_good_lists_until_a_token_may_make_runners(
    pool: GitLabPool,
) -> None:
    pool.secret(pool.fake.person("read_api", "manage_runner"))
    often = (
        "providers.gitlab.provider.LIST_EVERY=1",
        "providers.gitlab.provider.LIST_EVERY_SLOT=0.5",
    )
    pool.manager.start(*hurried(*often), wait="answer")
    note = pool.manager.in_phase("held", "gl-0")["note"]
    assert "give it the scopes create_runner and manage_runner" in note
    pool.manager.in_phase("held", "gl-1")

    def made() -> int:
        return sum(1 for call in pool.fake.calls if call.method == "POST")

    asked, calls = made(), len(pool.fake.calls)
    until(lambda: len(pool.fake.calls) > calls + 5, "good lists")
    assert pool.manager.slot("gl-0")["phase"] == "held"
    assert made() == asked <= 2
    pool.secret(pool.fake.person(*SCOPES))
    done = pool.manager.cli("retry", "gl-0")
    assert done.returncode == 0, done.stderr
    pool.manager.in_phase("idle", "gl-0", 15)  # long before the next trial of its own
    pool.manager.in_phase("idle", "gl-1", 15)


def test_the_runners_of_a_pool_that_went_while_no_manager_ran_go_with_the_next(
    pool: GitLabPool,
) -> None:
    pool.manager.start()
    pool.manager.in_phase("idle", "gl-0")
    pool.manager.in_phase("idle", "gl-1")
    pool.manager.kill(signal.SIGTERM)
    pool.manager.configure('[[pool]]\nname = "other"\nslots = 0\n')
    started(pool)
    until(lambda: not pool.fake.runners, "no runner is left")
    until(lambda: not pool.manager.containers(), "no container is left")
    assert list((pool.manager.state / "gitlab").iterdir()) == []


# -- the secret hunt ---------------------------------------------------------------------------------

# Everything that a job can see: every process's environment, arguments, memory and open files, and every
# file it can read outside the system's own programs. In a file, since that is more than a log may hold.
HUNT = r"""
set +e
exec 2>/dev/null >hunted.txt
for p in /proc/[0-9]*; do
  tr '\0' '\n' <$p/environ; tr '\0' ' ' <$p/cmdline; echo
  for f in $p/fd/*; do [ -f $f ] && head -c 100000 $f; done
  exec 3<$p/mem && printf 'MEM%s %s\n' ORY "$(tr '\0' ' ' <$p/cmdline)"
done
env
$AS find / -xdev \( -path /proc -o -path /sys -o -path /usr -o -path /var/lib -o -path /etc/ssl \) -prune -o \
  -type f -readable -size -200k ! -name hunted.txt -print |
while read -r f; do printf '\nFILE %s\n' "$f"; $AS cat "$f"; done
$AS find /run /dev/shm /home -type f ! -name hunted.txt |
while read -r f; do printf '\nFILE %s\n' "$f"; $AS cat "$f"; done
echo HUNTED
"""


def hunted(pool: GitLabPool, user: str) -> str:
    """All that a job saw, with this word before what it looks with."""
    job = pool.fake.submit(HUNT, variables={"AS": user}, artifacts=["hunted.txt"], tags=["gpu"])
    pool.ended(job, 180)
    uploaded = pool.fake.jobs[job].uploaded
    assert uploaded is not None, pool.fake.jobs[job].log
    with zipfile.ZipFile(io.BytesIO(uploaded)) as archive:
        return archive.read("hunted.txt").decode(errors="replace") + pool.fake.jobs[job].log


@pytest.mark.parametrize("way", ["a runner a slot", "one runner for all"])
def test_a_job_finds_no_token_that_outlives_its_agent(pool: GitLabPool, way: str) -> None:
    if way == "one runner for all":
        pool.secret(pool.fake.runner("gpu").token)
        pool.configure(2, scope=None)
    pool.manager.start()
    seen = hunted(pool, "env")
    assert "HUNTED" in seen
    assert "gitlab-runner" in seen
    opened = [line for line in seen.splitlines() if line.startswith("MEMORY ")]
    assert opened, "its own processes' memory it can read"
    assert not any("gitlab-runner" in line for line in opened)
    places = {"the job's eyes": seen, **surfaces(pool.manager, pool.tag, VAULTS)}
    assert leaks(secrets(pool), places) == []


def test_no_secret_is_left_where_anybody_on_the_host_looks(pool: GitLabPool) -> None:
    pool.configure(2)
    pool.manager.start()
    job = pool.fake.submit("until [ -e /tmp/go ]; do sleep 0.1; done", tags=["gpu"])
    slot = until(
        lambda: next(
            (s for s in ("gl-0", "gl-1") if pool.manager.slot(s)["phase"] == "busy"), None
        ),
        "a slot is busy",
    )
    own = {"the job's token": pool.fake.jobs[job].token}
    assert leaks(secrets(pool) | own, surfaces(pool.manager, pool.tag, VAULTS)) == []
    pool.manager.let_go_in(slot)
    assert pool.ended(job) == "success"
    history(pool)
    assert leaks(secrets(pool) | own, surfaces(pool.manager, pool.tag, VAULTS)) == []


def test_with_sudo_a_job_finds_its_own_runners_token_and_no_other(pool: GitLabPool) -> None:
    pool.configure(2, "sudo = true")
    pool.manager.start()
    seen = hunted(pool, "sudo")
    (job,) = pool.fake.jobs.values()
    own = pool.fake.runners[job.runner or 0]
    found = {what for what, secret in secrets(pool).items() if secret in seen}
    assert found == {f"the token of {own.description}"}


def test_a_step_that_is_not_started_as_the_job_user_does_not_run(pool: GitLabPool) -> None:
    """Were gitlab-runner to find another bash than ours, its steps would be root."""
    words = ("run", "--rm", "--network", "none", "--entrypoint", "/bin/bash")
    plain = pool.manager.docker(*words, pool.tag, "-lc", "echo ran")
    root = pool.manager.docker(
        *words, "-e", "MAYFLY_ROOT=1", pool.tag, "-lc", "echo ran", check=False
    )
    assert (plain, root) == ("ran\n", "")


def secrets(pool: GitLabPool) -> dict[str, str]:
    """What must stay out of sight."""
    known = {f"person's token {n}": token for n, token in enumerate(pool.fake.people)}
    runners = pool.fake.runners.values()
    return known | {f"the token of {one.description}": one.token for one in runners}
