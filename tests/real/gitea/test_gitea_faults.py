"""What goes wrong between Mayfly, Gitea's own server and Gitea's own runner, one thing at a time."""

from __future__ import annotations

import base64
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.hurried import SOON, hurried
from tests.providers.leaks import leaks, surfaces
from tests.real.gitea.real_pool import TAG, WAITS, GiteaPool, gitea_pool
from tests.real.gitea.real_server import PERSON, GiteaServer, Parts

pytestmark = [
    pytest.mark.real,
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.seen("gitea", "cancelled jobs", with_="client"),
    pytest.mark.seen("gitea", "cancelled jobs", with_="server"),
]
ONE = "g-0"
# Sweeps what nobody stands behind within seconds, not minutes.
SWEEPS = ("core.rosters.ORPHANED=3", "core.polls.TICK=0.5")


def one_idle(pool: GiteaPool) -> None:
    """One slot, whose agent waits."""
    pool.configure(1)
    pool.manager.start()


def busy(pool: GiteaPool, script: str = WAITS) -> int:
    """A run whose job is at work in the slot."""
    run = pool.dispatch(script)
    pool.began(run)
    pool.manager.in_phase("busy", ONE)
    return run


def left(pool: GiteaPool) -> None:
    """Once the pool is gone, nothing of it is."""
    pool.manager.configure('[[pool]]\nname = "other"\nslots = 0\n')
    pool.manager.cli("reload")
    until(lambda: not pool.manager.containers(), "no container is left")
    until(lambda: not pool.runners_here(), "no runner is left registered")


# -- where runners belong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "token"),
    [
        ("repo", "write:repository"),
        ("org:ourlab", "write:organization"),
        ("user", "write:user"),
        ("instance", "write:admin"),
    ],
)
def test_runners_of_every_scope_take_jobs_and_leave_nothing(
    pool: GiteaPool, scope: str, token: str
) -> None:
    label = f"only-{scope.partition(':')[0]}"
    if scope == "user":
        pool.repository = pool.server.make_repository(PERSON, "of-a-person")
    pool.scope = f"repo:{pool.repository}" if scope == "repo" else scope
    pool.secret(pool.server.token(token))
    # What managers of other tests, of the same name, have left is seen from a place that has all.
    for runner in pool.runners():
        pool.server.call("DELETE", f"/admin/actions/runners/{runner['id']}")
    pool.configure(1, label=label)
    pool.manager.start()
    assert "allows jobs of 6 h; Gitea ends them" in pool.manager.cli("doctor").stdout
    run = pool.dispatch("echo here", label=label)
    assert pool.ended(run) == "success"
    assert pool.job(run)["labels"] == [label]
    left(pool)


# -- cancelled, out of time ----------------------------------------------------------------------------


def test_a_job_that_is_cancelled_before_it_begins_reaches_no_slot(pool: GiteaPool) -> None:
    one_idle(pool)
    run = pool.dispatch("true", label="nobody-has-this")
    pool.server.cancel(pool.repository, run)
    assert pool.ended(run) == "cancelled"
    done = pool.dispatch("true")
    assert pool.ended(done) == "success"
    assert [row["outcome"] for row in pool.history()] == ["job_done"]


def test_a_job_that_is_cancelled_in_the_middle_gives_its_slot_back_soon(pool: GiteaPool) -> None:
    """Its runner would go on for ten minutes, and a minute more."""
    one_idle(pool)
    run = busy(pool, "sleep 600")
    pool.server.cancel(pool.repository, run)
    assert pool.ended(run) == "cancelled"
    began = time.monotonic()
    (row,) = pool.history()
    assert row["cause"] == "cancelled"
    print(f"a cancelled job's container ended after {time.monotonic() - began:.0f} s")
    pool.manager.in_phase("idle", ONE)
    left(pool)


def test_a_job_over_its_pools_limit_fails_at_gitea(pool: GiteaPool) -> None:
    pool.configure(1, tables='[pool.limits]\njob_timeout = "4s"')
    pool.manager.start()
    run = pool.dispatch("sleep 600")
    assert pool.ended(run) == "failure"
    (row,) = pool.history()
    assert (row["outcome"], row["cause"]) == ("job_done", "timeout")


def test_a_job_over_giteas_own_limit_gives_its_slot_back(
    engine: PrivateEngine, built: Parts, tmp_path: Path
) -> None:
    with (
        GiteaServer(built, tmp_path, endless=6) as server,
        gitea_pool(engine, server, "endless") as pool,
    ):
        one_idle(pool)
        run = busy(pool, "sleep 600")
        assert pool.ended(run) == "failure"
        (row,) = pool.history()
        assert row["cause"] == "cancelled"
        pool.manager.in_phase("idle", ONE)


# -- agents that die, runners that are deleted ---------------------------------------------------------


def test_an_idle_agent_that_is_killed_is_replaced_and_its_runner_deleted(pool: GiteaPool) -> None:
    one_idle(pool)
    before = pool.manager.slot(ONE)["agent"]
    (old,) = pool.runners_here()
    pool.manager.docker("kill", ONE)
    until(lambda: pool.manager.slot(ONE)["agent"] not in (before, None), "another agent")
    pool.manager.in_phase("idle", ONE)
    until(lambda: old["id"] not in [one["id"] for one in pool.runners_here()], "its runner is gone")
    assert len(pool.runners_here()) == 1


def test_a_job_whose_container_is_killed_is_told_and_given_up_by_gitea(pool: GiteaPool) -> None:
    one_idle(pool)
    run = busy(pool)
    pool.manager.docker("kill", ONE)
    (row,) = pool.history()
    assert (row["outcome"], row["cause"]) == ("unknown", "killed")
    pool.manager.in_phase("idle", ONE)
    assert pool.ended(run) == "failure"
    until(lambda: len(pool.runners_here()) == 1, "the runner of the job is gone with it")


def test_an_idle_runner_that_somebody_deletes_is_replaced(pool: GiteaPool) -> None:
    one_idle(pool)
    before = pool.manager.slot(ONE)["agent"]
    (old,) = pool.runners_here()
    assert pool.server.call("DELETE", f"/admin/actions/runners/{old['id']}").status_code == 204
    until(lambda: pool.manager.slot(ONE)["agent"] not in (before, None), "another agent")
    pool.manager.in_phase("idle", ONE)
    run = pool.dispatch("true")
    assert pool.ended(run) == "success"


def test_a_runner_that_somebody_deletes_under_its_job_gives_its_slot_back(pool: GiteaPool) -> None:
    one_idle(pool)
    run = busy(pool, "sleep 600")
    (old,) = [one for one in pool.runners_here() if one["busy"] or one["status"] == "online"]
    assert pool.server.call("DELETE", f"/admin/actions/runners/{old['id']}").status_code == 204
    (row,) = pool.history()
    assert row["cause"] == "cancelled"
    assert pool.ended(run) == "failure"
    pool.manager.in_phase("idle", ONE)


# -- cordon, drain ---------------------------------------------------------------------------------------


def test_a_cordoned_slot_takes_no_job_and_keeps_its_agent(pool: GiteaPool) -> None:
    one_idle(pool)
    before = pool.manager.slot(ONE)["agent"]
    assert pool.manager.cli("cordon", ONE).returncode == 0
    until(lambda: pool.runners_here()[0]["disabled"], "its runner is disabled")
    run = pool.dispatch("true")
    pool.manager.passed(3)
    assert pool.job(run)["status"] == "queued"
    assert pool.manager.slot(ONE)["agent"] == before
    assert pool.manager.cli("uncordon", ONE).returncode == 0
    assert pool.ended(run) == "success"


def test_a_drain_lets_the_job_end_and_leaves_nothing_registered(pool: GiteaPool) -> None:
    one_idle(pool)
    run = busy(pool)
    assert pool.manager.cli("drain", ONE).returncode == 0
    pool.manager.passed(3)
    assert pool.job(run)["status"] == "in_progress"
    pool.go_on()
    assert pool.ended(run) == "success"
    until(lambda: not pool.runners_here(), "no runner is left registered")
    until(lambda: not pool.manager.containers(), "no container is left")


def test_a_forced_drain_is_told_as_a_failure(pool: GiteaPool) -> None:
    """Left to itself the runner would call a job that is broken off a success."""
    one_idle(pool)
    run = busy(pool, "echo begun; sleep 600")
    assert pool.manager.cli("drain", "--force", "--yes", ONE).returncode == 0
    assert pool.ended(run, 60) == "failure"
    (row,) = pool.history()
    assert (row["outcome"], row["cause"]) == ("job_done", "cancelled")
    assert "begun" in pool.log(run)
    until(lambda: not pool.runners_here(), "no runner is left registered")


# -- a server that is away -------------------------------------------------------------------------------


@pytest.fixture
def patient(engine: PrivateEngine, built: Parts, tmp_path: Path) -> Iterator[GiteaPool]:
    """A server of the test's own, which gives no job up meanwhile."""
    with GiteaServer(built, tmp_path) as server, gitea_pool(engine, server, "patient") as pool:
        yield pool


def asked_in_vain(pool: GiteaPool) -> int:
    """How often the slot's runner has asked a server that was not there."""
    return pool.manager.docker("logs", ONE, check=False).count("failed to fetch task")


def test_idle_agents_outlive_an_outage_and_take_the_next_job(patient: GiteaPool) -> None:
    pool = patient
    one_idle(pool)
    before = pool.manager.slot(ONE)["agent"]
    pool.server.stop()
    until(lambda: "service.down" in pool.manager.health(), "the outage is told")
    until(lambda: asked_in_vain(pool) > 25, "a minute of it", 180)
    pool.server.start()
    run = pool.dispatch("true")
    assert pool.ended(run) == "success"
    until(lambda: "service.down" not in pool.manager.health(), "it is over")
    (row,) = pool.history()
    assert (row["agent"], row["outcome"]) == (before, "job_done")


def test_a_job_outlives_an_outage_and_its_log_is_whole(patient: GiteaPool) -> None:
    pool = patient
    one_idle(pool)
    run = busy(
        pool,
        f"n=0; {WAITS.replace('sleep 0.1', 'n=$((n+1)); echo line $n; sleep 0.1')}; echo last $n",
    )
    pool.server.stop(signal.SIGKILL)
    until(lambda: "service.down" in pool.manager.health(), "the outage is told")
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 30, "half a minute more of it")
    assert pool.manager.slot(ONE)["phase"] == "busy"
    pool.server.start()
    until(lambda: "service.down" not in pool.manager.health(), "it is over")
    assert pool.manager.slot(ONE)["phase"] == "busy"
    pool.go_on()
    assert pool.ended(run) == "success"
    lines = [line.partition(" ")[2] for line in pool.log(run).splitlines()]
    said = [line for line in lines if line.startswith("line ")]
    (last,) = [line for line in lines if line.startswith("last ")]
    assert said == [f"line {n}" for n in range(1, int(last.split()[1]) + 1)]
    assert len(said) > 300


def test_a_token_that_is_revoked_holds_the_pool_and_another_one_fills_it(pool: GiteaPool) -> None:
    pool.configure(1)
    token = pool.server.token("write:repository")
    pool.secret(token)
    pool.manager.start(*hurried(*SOON))
    run = busy(pool)
    pool.server.revoke(token)
    until(lambda: "service.refused" in pool.manager.health(), "it is told", 120)
    assert "401" in pool.manager.health()["service.refused"]
    assert token not in pool.manager.health()["service.refused"]
    pool.go_on()
    assert pool.ended(run) == "success"
    pool.secret(pool.server.token("write:repository"))
    pool.manager.in_phase("idle", ONE)
    assert pool.ended(pool.dispatch("true")) == "success"


# -- a manager that is killed ------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["agent.created", "agent.armed", "gate.opening", "agent.opened"])
def test_a_manager_that_is_killed_while_it_fills_a_slot_leaves_nothing_behind(
    pool: GiteaPool, event: str
) -> None:
    pool.configure(1)
    pool.manager.start(wait=None)
    until(lambda: f'"event": "{event}"' in pool.manager.log.read_text(), event)
    pool.manager.kill(signal.SIGKILL)
    pool.manager.start(*hurried(*SWEEPS))
    run = pool.dispatch("true")
    assert pool.ended(run) == "success"
    until(lambda: len(pool.runners_here()) == 1, "one runner for one slot", 120)
    left(pool)


def test_a_job_outlives_its_manager_and_is_accounted_for_by_the_next(pool: GiteaPool) -> None:
    one_idle(pool)
    run = busy(pool)
    pool.manager.kill(signal.SIGKILL)
    pool.manager.start(wait="answer")
    pool.manager.in_phase("busy", ONE)
    pool.go_on()
    assert pool.ended(run) == "success"
    (row,) = pool.history()
    assert row["outcome"] == "job_done"


def test_a_job_that_ends_while_no_manager_runs_is_accounted_for(pool: GiteaPool) -> None:
    one_idle(pool)
    run = busy(pool)
    pool.manager.kill(signal.SIGKILL)
    pool.go_on()
    assert pool.ended(run) == "success"
    pool.manager.start()
    rows = pool.history()
    assert rows[0]["outcome"] == "job_done"


# -- secrets -----------------------------------------------------------------------------------------------

# All that a job can see, into a file: every process's environment, arguments and open files, and every file
# that it can read outside of the system's own programs.
HUNT = r"""
set +e
exec 2>/dev/null 3>&1 >/tmp/hunted
for p in /proc/[0-9]*; do
  tr '\0' '\n' <$p/environ; tr '\0' ' ' <$p/cmdline; echo
  for f in $p/fd/*; do [ -f $f ] && head -c 100000 $f; done
done
env
find / -xdev \( -path /proc -o -path /sys -o -path /usr -o -path /var/lib -o -path /etc/ssl \) -prune -o \
  -type f -readable -size -200k ! -name hunted -print |
while read -r f; do printf '\nFILE %s\n' "$f"; cat "$f"; done
find /run /dev/shm /home -type f ! -name hunted |
while read -r f; do printf '\nFILE %s\n' "$f"; cat "$f"; done
echo HUNTED
exec >&3
touch /tmp/done
"""


def test_a_job_finds_no_secret_but_its_own_and_nobody_else_finds_any(pool: GiteaPool) -> None:
    token = pool.server.token("write:repository")
    pool.secret(token)
    pool.configure(2)
    pool.manager.start()
    registration = pool.server.post(
        f"/repos/{pool.repository}/actions/runners/registration-token", {}
    )
    run = pool.dispatch(HUNT + WAITS)
    pool.began(run)
    busy_one = until(
        lambda: next((s for s in ("g-0", "g-1") if pool.manager.slot(s)["phase"] == "busy"), None),
        "a slot is busy",
    )
    (other,) = {"g-0", "g-1"} - {busy_one}
    until(
        lambda: pool.manager.docker("exec", busy_one, "ls", "/tmp").count("done"), "it has looked"
    )
    read = pool.manager.docker("exec", busy_one, "base64", "/tmp/hunted")
    seen = base64.b64decode(read).decode(errors="replace")
    assert "HUNTED" in seen
    own = pool.manager.slot(busy_one)["agent"]
    theirs = pool.manager.slot(other)["agent"]
    assert own in seen, "its own runner's registration it can read"
    assert theirs not in seen
    secrets = {"the pool's token": token, "the registration token": registration["token"]}
    places = {"the job's eyes": seen, **surfaces(pool.manager, TAG)}
    assert leaks(secrets, places) == []
    pool.go_on(busy_one)
    assert pool.ended(run) == "success"
