"""A configuration read again: what changes is shown first, applied a slot at a time, or refused whole."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.private_engine import PrivateEngine

pytestmark = pytest.mark.engine

POOL = """
[[pool]]
name = "local"
slots = {slots}
network = "none"
{more}
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
"""
JOB = "echo up >/cache/up; while [ ! -e /cache/go ]; do sleep 0.1; done; exit 6"


@pytest.fixture(scope="module")
def managers(engine: PrivateEngine) -> Iterator[Manager]:
    """One manager, for all tests here."""
    with Manager(engine.url) as one:
        (one.home / "cache").mkdir()
        (one.home / "cache").chmod(0o777)
        changed(one, 2, "")
        yield one


@pytest.fixture
def manager(managers: Manager) -> Manager:
    """A manager with two idle slots, of the same pool whatever a test before has made of it, and a cache."""
    for left in (managers.home / "cache").iterdir():
        left.unlink()
    changed(managers, 2, "")
    managers.rested()
    before = agents(managers)
    anew = reloaded(managers)["replaced"]
    until(lambda: all(agents(managers)[slot] != before[slot] for slot in anew), "all are new")
    until(lambda: len(agents(managers)) == 2, "there are two slots")
    managers.rested()  # a slot that had gone may have been cordoned
    return managers


def changed(manager: Manager, slots: int, more: str) -> None:
    """Write the same pool with other keys."""
    manager.configure(POOL.format(home=manager.home, slots=slots, more=more))


def reloaded(manager: Manager, *flags: str) -> dict[str, Any]:
    """What `reload --json` says."""
    document: dict[str, Any] = manager.json("reload", *flags)
    assert document.pop("schema") == "mayfly.reload/1"
    return document


def agents(manager: Manager) -> dict[str, str]:
    """Who is in each slot."""
    return {row["slot"]: row["agent"] for row in manager.get("/v1/status")["slots"]}


def test_a_dry_run_says_what_would_change_and_changes_nothing(manager: Manager) -> None:
    before = agents(manager)
    changed(manager, 3, 'env = { NEW = "1" }')
    expected = {"added": ["local-2"], "removed": [], "replaced": ["local-0", "local-1"], "held": {}}
    expected["restart"] = []
    assert reloaded(manager, "--dry-run") == {"dry_run": True, **expected}
    assert (
        manager.cli("reload", "--dry-run").stdout == "added: local-2\nreplaced: local-0, local-1\n"
    )
    assert agents(manager) == before
    assert reloaded(manager) == {"dry_run": False, **expected}
    until(lambda: len(agents(manager)) == 3, "the new slot is there")
    until(lambda: before.items().isdisjoint(agents(manager).items()), "both are replaced")
    assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
    done = manager.cli("submit", "--wait", "--", "sh", "-c", "echo $NEW")
    assert done.stdout == "1\n"


def test_a_key_that_is_not_in_containers_replaces_no_agent(manager: Manager) -> None:
    before = agents(manager)
    changed(manager, 2, 'limits = { job_timeout = "2s" }')
    assert reloaded(manager)["replaced"] == []
    assert manager.ended(manager.queue("sleep", "100"))["cause"] == "timeout"
    assert before.items() & agents(manager).items()


def test_a_busy_agent_ends_its_job_before_it_is_replaced(manager: Manager) -> None:
    job = manager.queue("sh", "-c", JOB)
    until((manager.home / "cache/up").exists, "the job runs")
    busy = manager.job(job)["slot"]
    before = agents(manager)
    changed(manager, 2, 'env = { NEW = "1" }')
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    until(lambda: len(before.items() - agents(manager).items()) == 1, "the idle one is replaced")
    assert agents(manager)[busy] == before[busy]
    (manager.home / "cache/go").touch()
    assert manager.ended(job)["exit_code"] == 6


def test_a_slot_that_is_lost_while_it_is_busy_is_shown_until_it_is_gone(manager: Manager) -> None:
    jobs = [manager.queue("sh", "-c", JOB) for _ in range(2)]
    until(
        lambda: all(manager.slot(f"local-{n}")["phase"] == "busy" for n in (0, 1)), "both are busy"
    )
    changed(manager, 1, "")
    assert reloaded(manager)["removed"] == ["local-1"]
    row = until(
        lambda: (found := manager.slot("local-1"))["note"] and found,
        "the lost slot says that it is",
    )
    assert row["note"] == "not configured any more: goes when its job has ended"
    assert manager.cli("drain", "--all").returncode == 0
    assert manager.cli("wait", "--for", "drained", "--timeout", "1").returncode == 5
    (manager.home / "cache/go").touch()
    assert [manager.ended(job)["exit_code"] for job in jobs] == [6, 6]
    assert manager.cli("wait", "--for", "drained", "--timeout", "100").returncode == 0
    assert manager.containers() == []
    assert list(agents(manager)) == ["local-0"]


@pytest.mark.parametrize("how", ["verb", "signal"])
def test_a_wrong_configuration_is_refused_and_the_old_one_goes_on(
    manager: Manager, how: str
) -> None:
    before = agents(manager)
    changed(manager, 2, "slotss = 3")
    if how == "verb":
        done = manager.cli("reload")
        assert done.returncode == 1
        assert "slotss" in done.stderr
        assert "slots" in done.stderr.replace("slotss", "")
    else:
        assert manager.process is not None
        said = len(manager.log.read_text())
        manager.process.send_signal(signal.SIGHUP)
        until(lambda: "config.rejected" in manager.log.read_text()[said:], "the log says so")
        assert "slotss" in manager.log.read_text()[said:]
    assert agents(manager) == before
    assert manager.ended(manager.queue("true"))["state"] == "succeeded"
