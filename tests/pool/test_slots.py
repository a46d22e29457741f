"""What people do to slots, and the exit codes of the verbs that they do it with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.copies import MAYFLY
from tests.harness import Manager, until
from tests.hurried import BRISK, hurried
from tests.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.private_engine import PrivateEngine

pytestmark = pytest.mark.engine

POOL = """
[[pool]]
name = "local"
provider = "local"
slots = 2
network = "none"
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
"""
HELD = """
[[pool]]
name = "held"
provider = "local"
slots = 1
image = "mayfly/nowhere:1"
"""


@pytest.fixture(scope="module")
def managers(engine: PrivateEngine) -> Iterator[Manager]:
    """One manager after the other, for all tests here."""
    with Manager(engine.url) as one:
        (one.home / "cache").mkdir()
        (one.home / "cache").chmod(0o777)
        yield one


@pytest.fixture
def manager(managers: Manager) -> Manager:
    """A manager with two idle slots, and an empty cache."""
    for left in (managers.home / "cache").iterdir():
        left.unlink()
    managers.configure(POOL.format(home=managers.home))
    managers.rested(*hurried(BRISK))
    return managers


def written(file: Path) -> str:
    """The file's text once it has some."""
    return until(lambda: file.read_text() if file.exists() else None, f"{file.name} is written")


def busy(manager: Manager, script: str = "sleep 1000") -> str:
    """A job at work in a slot; its id."""
    job = manager.queue("sh", "-c", f"echo up >/cache/up; {script}", pool="local")
    written(manager.home / "cache/up")
    return job


def of_slot(manager: Manager, slot: str) -> list[str]:
    """All containers of the slot that the Engine knows."""
    return manager.docker(
        "ps", "-aq", "--filter", f"label=io.mayfly.host={manager.host_id()}",
        "--filter", f"label=io.mayfly.slot={slot}",
    ).split()  # fmt: skip


def test_drain_empties_an_idle_slot_and_uncordon_fills_it(manager: Manager) -> None:
    done = manager.cli("drain", "local-0", "--wait", "--timeout", "100")
    assert done.returncode == 0
    assert of_slot(manager, "local-0") == []
    row = manager.slot("local-0")
    assert (row["phase"], row["agent"], row["container"], row["standby"]) == (
        "vacant",
        None,
        None,
        None,
    )
    assert row["cordoned"]["by"] == "root"
    manager.in_phase("idle", "local-1")
    jobs = [manager.queue("true") for _ in range(3)]
    assert {manager.ended(job)["slot"] for job in jobs} == {"local-1"}
    manager.kill()
    manager.start(*hurried(BRISK), wait="answer")
    manager.passed()
    assert of_slot(manager, "local-0") == []
    assert manager.cli("uncordon", "local-0").returncode == 0
    manager.in_phase("idle", "local-0")


def test_drain_lets_a_busy_agent_end(manager: Manager) -> None:
    job = busy(manager, "while [ ! -e /cache/go ]; do sleep 0.1; done; exit 8")
    slot = manager.job(job)["slot"]
    early = manager.cli("drain", "--all", "--wait", "--timeout", "2")
    assert early.returncode == 5
    assert slot in early.stderr
    until(lambda: len(manager.containers()) == 1, "standbys and idle agents are gone")
    assert manager.slot(slot)["phase"] == "busy"
    (manager.home / "cache/go").touch()
    assert manager.cli("drain", "--all", "--wait", "--timeout", "100").returncode == 0
    assert manager.containers() == []
    assert manager.job(job)["exit_code"] == 8
    assert manager.cli("wait", "--for", "drained", "--timeout", "100").returncode == 0
    queued = manager.queue("true")
    manager.passed()
    assert manager.job(queued)["state"] == "queued"
    assert manager.cli("uncordon", "--all").returncode == 0
    assert manager.ended(queued)["state"] == "succeeded"


def test_drain_by_force_stops_a_busy_agent_by_its_ladder(manager: Manager) -> None:
    job = busy(
        manager,
        "trap 'sleep 1; echo termed >/cache/termed; exit 3' TERM; while :; do sleep 0.1; done",
    )
    unasked = manager.cli("drain", "--all", "--force")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert manager.job(job)["state"] == "running"
    done = manager.cli("drain", "--all", "--force", "--yes", "--wait", "--timeout", "100")
    assert done.returncode == 0
    assert manager.containers() == []
    assert (manager.home / "cache/termed").read_text() == "termed\n"
    row = manager.job(job)
    assert (row["state"], row["cause"], row["exit_code"]) == ("cancelled", "cancelled", 3)


def test_uncordon_undoes_a_drain_that_is_under_way(manager: Manager) -> None:
    job = busy(manager, "while [ ! -e /cache/go ]; do sleep 0.1; done")
    slot = manager.job(job)["slot"]
    assert manager.cli("drain", slot).returncode == 0
    until(lambda: manager.slot(slot)["standby"] is None, "the standby is gone")
    assert manager.cli("uncordon", slot).returncode == 0
    until(lambda: manager.slot(slot)["standby"], "there is a standby again")
    (manager.home / "cache/go").touch()
    assert manager.ended(job)["state"] == "succeeded"
    manager.in_phase("idle", slot)


def test_wait_tells_a_held_slot_from_an_idle_pool(manager: Manager) -> None:
    assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
    manager.kill()
    manager.configure(POOL.format(home=manager.home) + HELD)
    try:
        manager.start(wait=None)
        done = manager.cli("wait", "--for", "idle", "--timeout", "100")
        assert done.returncode == 1
        assert "held-0" in done.stderr
        assert manager.cli("status").returncode == 1
        job = busy(manager)
        assert manager.cli("wait", "--for", "idle", "--timeout", "1").returncode == 5
        assert manager.cli("wait", "--for", "drained", "--timeout", "1").returncode == 5
        assert manager.cli("cancel", job).returncode == 0
        manager.ended(job)
    finally:
        manager.kill()  # the next one knows nothing of that pool


def test_without_a_manager(manager: Manager) -> None:
    manager.kill()
    for words in (
        ("status",), ("jobs",), ("submit", "--", "true"), ("drain", "--all"), ("logs", "local-0"),
        ("cancel", "abc"), ("uncordon", "--all"),
    ):  # fmt: skip
        done = manager.cli(*words)
        assert done.returncode == 3, words
        assert done.stdout == ""
    for goal in ("idle", "drained"):
        began = time.monotonic()
        assert manager.cli("wait", "--for", goal, "--timeout", "1").returncode == 5
        assert time.monotonic() - began >= 1


def test_wait_waits_for_a_manager_that_comes(manager: Manager) -> None:
    manager.kill()
    words = [*MAYFLY, "wait", "--for", "idle", "--timeout", "100"]
    screen = Terminal(words, 200, **manager.environment())
    try:
        screen.until("waiting: ")  # it has seen that none answers
        manager.start(*hurried(BRISK))
        code, shown = screen.end()
    finally:
        screen.close()
    assert code == 0, shown
    assert [row["phase"] for row in manager.get("/v1/status")["slots"]] == ["idle", "idle"]


def test_a_fresh_agent_after_each_job(manager: Manager) -> None:
    seen = set()
    for _ in range(4):
        job = manager.queue("sh", "-c", "ls -A /tmp; touch /tmp/left; hostname")
        row = manager.ended(job)
        assert manager.output(job).split() == [row["slot"]]
        seen.add(row["agent"])
    assert len(seen) == 4
    assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
    until(
        lambda: sorted(manager.containers()) == ["local-0", "local-1"],
        "both bear their slot's name",
    )
