"""What stands in a pool's way: things that are missing, others on the same Engine, a full disk."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.engine.go_between import GoBetween
from tests.harness import NETWORKED, POOL, TWO, Manager, disk, full, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.engine.private_engine import PrivateEngine

pytestmark = [pytest.mark.long, pytest.mark.engine]

ONE = """
[[pool]]
name = "{name}"
provider = "local"
slots = 1
standby = false
network = "none"
{more}
"""
DATASET = """
[[pool.dataset]]
source = "{source}"
target = "/data"
{more}
"""
TAKE_OVER = (sys.executable, "-m", "mayfly.cli.app", "run", "--take-over")


def held(manager: Manager, slot: str) -> str:
    """The sentence that holds the slot."""
    return str(manager.in_phase("held", slot)["note"])


def test_what_is_missing_holds_a_slot_in_one_sentence_until_it_appears(
    make: Callable[..., Manager], engine: PrivateEngine
) -> None:
    manager = make()
    home = manager.home
    (home / "nested").mkdir()
    version = engine.docker("version", "--format", "{{.Server.Version}}")
    nested = DATASET.format(source=home / "nested", more="")
    allowed = DATASET.format(source=home / "nested", more='nested = "allow"')
    manager.configure(
        POOL
        + ONE.format(name="data", more=DATASET.format(source=home / "absent", more=""))
        + ONE.format(name="nested", more=nested)
        + ONE.format(name="allowed", more=allowed)
        + ONE.format(name="image", more='image = "mayfly/late:1"')
        + ONE.format(name="bare", more='image = "debian:bookworm-slim"')
    )
    with disk(home / "nested/inner", "1m"):
        manager.start(wait="answer")
        assert f"{home}/absent" in held(manager, "data-0")
        assert "mayfly/late:1" in held(manager, "image-0")
        assert "gate" in held(manager, "bare-0")
        assert "FROM" in held(manager, "bare-0")
        if int(version.split(".")[0]) < 25:
            assert f"{home}/nested/inner" in held(manager, "nested-0")
            assert '"allow"' in held(manager, "nested-0")
        manager.in_phase("idle", "allowed-0")
        manager.in_phase("idle", "local-0")
        for slot in ("data-0", "image-0", "bare-0"):
            assert "\n" not in held(manager, slot)
        assert manager.cli("submit", "--pool", "local", "--wait", "--", "true").returncode == 0
        waits = manager.queue("true", pool="data")
        engine.docker("tag", "mayfly/local:cpu", "mayfly/late:1")
        try:
            manager.in_phase("idle", "image-0", 20)
            (home / "absent").mkdir()
            assert manager.ended(waits, 60)["state"] == "succeeded"
            _replaced(manager, home / "absent")
        finally:
            engine.docker("rmi", "mayfly/late:1")
    manager.in_phase("idle", "nested-0", 60)
    assert held(manager, "bare-0")


def _replaced(manager: Manager, source: Path) -> None:
    """Whatever stands at the path when a job begins is what the job sees, though its agent stood ready."""
    sees = ("--pool", "data", "--wait", "--", "ls", "/data")
    for kind in ("another directory", "a link", "the link switched"):
        manager.in_phase("idle", "data-0")
        fresh = source.with_name(f"of-{kind.replace(' ', '-')}")
        fresh.mkdir()
        (fresh / kind).touch()
        if kind == "another directory":
            source.rename(source.with_name("old"))
            fresh.rename(source)
        else:
            link = source.with_name("link")
            link.symlink_to(fresh)
            if source.is_dir() and not source.is_symlink():
                source.rename(source.with_name("older"))
            link.rename(source)
        assert manager.cli("submit", *sees).stdout == f"{kind}\n"


def test_a_foreign_container_with_a_slots_name_is_left_alone(
    make: Callable[..., Manager], engine: PrivateEngine
) -> None:
    foreign = engine.docker("create", "--name", "local-0", "debian:bookworm-slim", "sleep", "5")
    try:
        manager = make(TWO)
        manager.start(wait="answer")
        manager.in_phase("idle", "local-1")
        manager.in_phase("idle", "local-0")
        assert manager.containers().count("local-0") == 0
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
        assert engine.docker("ps", "-aq", "--no-trunc", "--filter", "name=^local-0$") == foreign
    finally:
        engine.docker("rm", foreign)
    manager.in_phase("idle", "local-0")
    until(lambda: "local-0" in manager.containers(), "the slot's agent bears its name")


def test_a_network_that_has_not_let_go_of_a_slots_name_holds_no_slot(
    make: Callable[..., Manager], engine: PrivateEngine, tmp_path: Path
) -> None:
    with GoBetween(tmp_path, engine.url) as between:
        manager = make()
        manager.docker_host = between.url
        manager.configure(NETWORKED)
        left = "endpoint with name local-0 already exists in network mayfly-x-local"
        between.refusals[r"POST .*/containers/[^/]+/start"] = left
        manager.start()
        assert not between.refusals, "no start was refused"
        assert "slot.cooled" not in manager.log.read_text()
        until(lambda: manager.containers() == ["local-0"], "its agent bears the slot's name")
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
        manager.close()


def test_a_second_manager_on_the_same_state_is_refused(make: Callable[..., Manager]) -> None:
    manager = make()
    manager.start()
    assert manager.process is not None
    second = manager.cli("run")
    assert second.returncode == 1
    assert f"pid {manager.process.pid}" in second.stderr
    assert manager.cli("status").returncode == 0


def test_another_mayfly_on_the_engine_is_refused_unless_it_takes_over(
    make: Callable[..., Manager],
) -> None:
    first, second = make(), make()
    first.start()
    (first.home / "cache").mkdir()
    job = first.queue("sh", "-c", "sleep 1000")
    first.started(job)
    first.kill()
    theirs = first.host_id()
    refused = second.cli("run")
    assert refused.returncode == 1
    assert str(theirs) in refused.stderr
    assert str(second.host_id()) in refused.stderr
    assert "--take-over" in refused.stderr
    assert second.containers() == []
    busy = first.docker(
        "ps", "-q", "--filter", f"label=io.mayfly.generation={first_busy(first, job)}"
    ).split()
    assert len(busy) == 1
    second.start(*TAKE_OVER, wait="answer")
    until(lambda: len(first.containers()) == 1, "only the busy one of the other is left")
    assert first.docker("ps", "-q", "--filter", f"label=io.mayfly.host={theirs}").split() == busy
    first.docker("rm", "-f", *busy)
    assert second.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
    assert second.ended(second.queue("true"))["state"] == "succeeded"


def first_busy(manager: Manager, job: str) -> str:
    """The agent that has the job, from the state of a manager that does not run."""
    import sqlite3

    db = sqlite3.connect(f"file:{manager.state}/mayfly.sqlite?mode=ro", uri=True)
    try:
        return str(db.execute("SELECT agent FROM jobs WHERE id = ?", (job,)).fetchone()[0])
    finally:
        db.close()


def test_networks_of_a_mayfly_without_containers_are_removed(make: Callable[..., Manager]) -> None:
    first, second = make(NETWORKED), make()
    first.start()
    first.kill(signal.SIGTERM)  # what it has begun at the Engine, it ends
    first.docker("rm", "-f", *first.containers())
    mine = ("network", "ls", "-q", "--filter", f"label=io.mayfly.host={first.host_id()}")
    assert first.docker(*mine)
    second.start()
    assert first.docker(*mine) == ""


@contextmanager
def at_work(manager: Manager) -> Iterator[str]:
    """A job that ends with code 3 once it is told to (``let_go``), while the state's disk has 12 MiB."""
    with disk(manager.state, "12m"):
        (manager.home / "cache").mkdir()
        (manager.home / "cache").chmod(0o777)
        cache = f'[[pool.caches]]\nsource = "{manager.home}/cache"\ntarget = "/cache"\n'
        manager.configure(POOL + cache)
        manager.start()
        job = manager.queue(
            "sh", "-c", "echo up >/cache/up; while [ ! -e /cache/go ]; do sleep 0.1; done; exit 3"
        )
        until((manager.home / "cache/up").exists, "the job runs")
        until(
            lambda: (
                (manager.slot(manager.job(job)["slot"])["standby"] or {}).get("phase") == "armed"
            ),
            "armed",
        )
        yield job
        manager.close()


def let_go(manager: Manager) -> None:
    """The job ends."""
    (manager.home / "cache/go").touch()


def test_without_room_no_gate_opens_and_what_runs_goes_on(make: Callable[..., Manager]) -> None:
    manager = make()
    with at_work(manager) as job:
        with full(manager.state):
            refused = manager.cli("submit", "--", "true")
            assert refused.returncode == 1
            assert "mayfly.sqlite" in refused.stderr
            assert len(refused.stderr.splitlines()) <= 2
            until(lambda: "disk.refused" in manager.health(), "the health line is there")
            assert manager.slot(manager.job(job)["slot"])["phase"] == "busy"
        let_go(manager)
        row = manager.ended(job)
        assert (row["state"], row["exit_code"]) == ("failed", 3)
        until(lambda: "disk.refused" not in manager.health(), "there is room again")
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"


@pytest.mark.parametrize("dies", [False, True])
def test_a_job_that_ends_while_the_disk_is_full_has_its_account_once_there_is_room(
    make: Callable[..., Manager], dies: bool
) -> None:
    manager = make()
    with at_work(manager) as job:
        agent = f"label=io.mayfly.generation={manager.job(job)['agent']}"
        with full(manager.state):
            let_go(manager)
            until(
                lambda: not manager.docker("ps", "-q", "--filter", agent), "its container has ended"
            )
            if dies:
                manager.kill(signal.SIGKILL)
        if dies:
            manager.start(wait="answer")
        row = manager.ended(job)
        assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "exit", 3)
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
