"""What goes on while no manager runs, or while it is held still, and what the next one makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import docker
import pytest

from tests.engine import command
from tests.harness import NETWORKED, Manager, stopped, until
from tests.hurried import BRISK, hurried

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.engine

# How long the manager is held still at least while a job floods its output: a minute proves the same.
HELD = float(os.environ.get("MAYFLY_TEST_HELD", "0"))
POOL = """
[[pool]]
name = "local"
provider = "local"
slots = {slots}
network = "none"
{more}
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
"""


@pytest.fixture
def manager(make: Callable[..., Manager]) -> Manager:
    """A manager with a cache, not yet started."""
    one = make()
    (one.home / "cache").mkdir()
    (one.home / "cache").chmod(0o777)
    one.configure(POOL.format(home=one.home, slots=1, more=""))
    return one


def written(file: Path) -> str:
    """The file's text once it has some."""
    return until(lambda: file.read_text() if file.exists() else None, f"{file.name} is written")


def flood(manager: Manager, events: int) -> None:
    """So many events at the Engine that are none of ours."""
    api = docker.APIClient(manager.docker_host, version="auto")
    other = api.create_container("debian:bookworm-slim", "true", name="foreign-0")["Id"]
    for number in range(events):
        api.rename(other, f"foreign-{number + 1}")
    api.remove_container(other)
    api.close()


@pytest.mark.parametrize("removal", ["engine", "manager"])
def test_an_end_that_nobody_saw_is_accounted_for_after_a_flood_of_events(
    manager: Manager, removal: str
) -> None:
    more = f'removal = "{removal}"'
    manager.configure(POOL.format(home=manager.home, slots=1, more=more))
    manager.start()
    job = manager.queue(
        "sh", "-c", "echo said; until [ -e /cache/go ]; do sleep 0.1; done; exit 23"
    )
    until(lambda: manager.cli("logs", job).stdout == "said\n", "what it said is on disk")
    agent = manager.slot()["agent"]
    manager.kill()
    (manager.home / "cache/go").touch()
    until((manager.state / "agents" / agent / "exit").exists, "the job ends")
    flood(manager, 300)
    manager.start(wait="answer")
    row = manager.ended(job)
    assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "exit", 23)
    assert row["agent"] == agent
    printed = manager.logs(job)
    assert printed.stdout == "said\n"
    # Removed by the Engine meanwhile, it cannot be asked for the rest: the record says so.
    assert ("may be missing" in printed.stderr) == (removal == "engine")
    assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0


def test_a_death_that_was_seen_but_not_yet_accounted_for_is_not_forgotten(manager: Manager) -> None:
    manager.configure(POOL.format(home=manager.home, slots=1, more='removal = "engine"'))
    manager.start()
    job = manager.queue("sh", "-c", "echo up >/cache/up; sleep 1000")
    written(manager.home / "cache/up")
    until(lambda: (manager.slot()["standby"] or {}).get("phase") == "armed", "the standby is armed")
    manager.docker("kill", manager.slot()["container"])
    manager.passed()
    manager.queue("true")  # something is put on disk after the death was seen
    manager.kill()
    until(lambda: len(manager.containers()) == 1, "the Engine has removed it")
    manager.start(wait="answer")
    row = manager.ended(job)
    assert (row["state"], row["cause"]) == ("lost", "killed")


def test_idle_agents_are_adopted_and_busy_ones_go_on(manager: Manager) -> None:
    manager.configure(POOL.format(home=manager.home, slots=2, more=""))
    manager.start()
    job = manager.queue(
        "sh", "-c", "echo up >/cache/up; while [ ! -e /cache/go ]; do sleep 0.1; done; exit 4"
    )
    written(manager.home / "cache/up")
    until(
        lambda: (manager.slot("local-0")["standby"] or {}).get("phase") == "armed",
        "a standby is armed",
    )
    before = [
        (row["agent"], row["standby"] and row["standby"]["container"])
        for row in manager.get("/v1/status")["slots"]
    ]
    for sig in (signal.SIGTERM, signal.SIGKILL):
        manager.kill(sig)
        manager.start(*hurried(BRISK), wait="answer")
        until(lambda: manager.slot("local-1")["phase"] == "idle", "local-1 is idle")
        manager.passed()
        after = [
            (row["agent"], row["standby"] and row["standby"]["container"])
            for row in manager.get("/v1/status")["slots"]
        ]
        assert after == before
    (manager.home / "cache/go").touch()
    assert manager.ended(job)["exit_code"] == 4
    other = manager.queue("true")
    assert manager.ended(other)["agent"] in {before[0][0], before[1][0]} | {
        row["agent"] for row in manager.get("/v1/history")["agents"]
    }


def test_a_job_that_floods_its_output_ends_while_the_manager_is_held_still(
    manager: Manager,
) -> None:
    manager.start()
    job = manager.queue(
        "sh", "-c",
        "echo up >/cache/up; until [ -e /cache/go ]; do sleep 0.1; done; "
        "head -c 33554432 /dev/zero | tr '\\0' x | fold -w 1000; exit 5",
    )  # fmt: skip
    written(manager.home / "cache/up")
    assert manager.process is not None
    with stopped(manager.process):
        (manager.home / "cache/go").touch()
        began = time.time()
        exit_file = manager.state / "agents" / manager_agent(manager) / "exit"
        until(exit_file.exists, "the agent ends")
        time.sleep(max(0.0, began + HELD - time.time()))  # no wait for anything: for a longer trial
    row = manager.ended(job)
    assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "exit", 5)
    follows = manager.queue("true")
    assert manager.ended(follows)["state"] == "succeeded"


def manager_agent(manager: Manager) -> str:
    """The agent whose gate was opened, from its witness: a manager held still does not say."""
    (found,) = (file.parent.name for file in (manager.state / "agents").glob("*/opened"))
    return str(found)


def test_output_comes_once_a_line_over_restarts_of_the_manager(manager: Manager) -> None:
    manager.start()
    count = 600
    script = (
        f"for i in $(seq {count}); do echo line $i; echo $i >/cache/at; sleep 0.01; done; exit 3"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-m", "mayfly.cli.app", "submit", "--wait", "--", "sh", "-c", script],
        env=manager.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: manager.slot()["phase"] == "busy", "the job runs")
    job = manager.slot()["job"]

    def prints(more: int) -> None:
        """Wait until the job has printed so many lines more."""
        at = manager.home / "cache/at"
        wanted = int(written(at)) + more
        until(lambda: int(at.read_text() or 0) >= wanted, f"line {wanted}")

    for sig in (signal.SIGKILL, signal.SIGTERM):
        prints(60)
        manager.kill(sig)
        prints(30)
        manager.start(wait="answer")
    out, err = waiting.communicate(timeout=60)
    expected = "".join(f"line {number}\n" for number in range(1, count + 1))
    assert out == expected
    assert err == ""
    assert waiting.returncode == 3
    assert manager.output(job) == expected
    manager.kill(signal.SIGTERM)
    manager.start(wait="answer")
    assert manager.output(job) == expected


def test_output_of_a_job_that_ended_while_no_manager_ran(manager: Manager) -> None:
    manager.start()
    job = manager.queue(
        "sh",
        "-c",
        "echo first; echo up >/cache/up; until [ -e /cache/go ]; do sleep 0.1; done; seq 1000",
    )
    written(manager.home / "cache/up")
    agent = manager.slot()["agent"]
    manager.kill()
    (manager.home / "cache/go").touch()
    until((manager.state / "agents" / agent / "exit").exists, "the job ends")
    manager.start()
    assert manager.ended(job)["state"] == "succeeded"
    expected = "first\n" + "".join(f"{number}\n" for number in range(1, 1001))
    until(lambda: manager.output(job) == expected, "the rest of the output is fetched")
    until(lambda: agent not in " ".join(manager.containers()), "the agent is gone")
    manager.kill(signal.SIGTERM)
    manager.start(wait="answer")
    assert manager.output(job) == expected


def test_a_queue_outlives_its_manager(manager: Manager) -> None:
    manager.start()
    first = manager.queue(
        "sh", "-c", "echo up >/cache/up; while [ ! -e /cache/go ]; do sleep 0.1; done"
    )
    rest = [manager.queue("sh", "-c", f"echo {number} >>/cache/order") for number in range(5)]
    written(manager.home / "cache/up")
    manager.kill()
    (manager.home / "cache/go").touch()
    manager.start(wait="answer")
    for job in (first, *rest):
        assert manager.ended(job)["state"] == "succeeded"
    assert (manager.home / "cache/order").read_text().split() == ["0", "1", "2", "3", "4"]


def test_a_manager_that_stops_with_nothing_left_removes_its_networks(
    make: Callable[..., Manager],
) -> None:
    manager = make(NETWORKED)
    manager.start()
    named = ("network", "ls", "--filter", f"label=io.mayfly.host={manager.host_id()}", "-q")
    manager.kill(signal.SIGTERM)
    assert len(manager.docker(*named).split()) == 1
    assert len(manager.containers()) == 1
    manager.start()
    assert manager.cli("drain", "--all", "--wait", "--timeout", "100").returncode == 0
    assert manager.containers() == []
    assert manager.kill(signal.SIGTERM) == 0
    assert manager.docker(*named) == ""
    assert not manager.socket.exists()


def test_a_pool_that_was_at_work_leaves_no_network_that_the_engine_lets_go(
    make: Callable[..., Manager],
) -> None:
    manager = make(NETWORKED)
    manager.start()
    jobs = [manager.queue("sleep", "0.3") for _ in range(8)]
    for job in jobs:
        assert manager.ended(job)["state"] == "succeeded"
    mine = ("network", "ls", "-q", "--filter", f"label=io.mayfly.host={manager.host_id()}")
    assert manager.cli("drain", "--all", "--wait", "--timeout", "100").returncode == 0
    assert manager.kill(signal.SIGTERM) == 0
    for network in manager.docker(*mine).split():
        # The Engine loses count at times (moby/moby#43286): a network of nobody that nobody can remove.
        assert manager.docker("network", "inspect", "-f", "{{len .Containers}}", network) == "0\n"
        refusal = command.docker(manager.docker_host, "network", "rm", network, check=False).stderr
        assert "has active endpoints" in refusal
        assert "network.kept" in manager.log.read_text()
