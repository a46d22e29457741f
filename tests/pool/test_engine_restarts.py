"""The Engine stops, dies and comes back under a pool at work."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.engine.private_engine import PrivateEngine, why_not
from tests.harness import Manager, until
from tests.hurried import BRISK, hurried

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

POOL = """
[[pool]]
name = "local"
provider = "local"
slots = {slots}
{more}
[[pool.caches]]
source = "{home}/cache"
target = "/cache"
"""
JOB = 'echo "$MAYFLY_JOB" >>/cache/ran; while [ ! -e /cache/go ]; do sleep 0.1; done; exit 6'


@pytest.fixture(scope="module")
def living() -> Iterator[PrivateEngine]:
    """An Engine with live-restore on, for tests that restart it."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine(live_restore=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def mortal() -> Iterator[PrivateEngine]:
    """An Engine with live-restore off."""
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine(live_restore=False) as engine:
        yield engine


@contextmanager
def made(engine: PrivateEngine, more: str = "", slots: int = 1) -> Iterator[Manager]:
    """A manager with a cache, not yet started; afterwards nothing of it is left.

    An Engine that was killed while it started a container may list it for ever and not be able to remove it:
    it is restarted then, and forgets it.
    """
    manager = Manager(engine.url)
    (manager.home / "cache").mkdir()
    (manager.home / "cache").chmod(0o777)
    manager.configure(POOL.format(home=manager.home, more=more, slots=slots))
    try:
        yield manager
    finally:
        try:
            manager.close(patience=30)
        except AssertionError:
            engine.restart()
            manager.close()


def written(file: Path) -> str:
    """The file's text once it has some."""
    return until(lambda: file.read_text() if file.exists() else None, f"{file.name} is written")


def agents(manager: Manager) -> list[str]:
    """The agents of all slots."""
    return [row["agent"] for row in manager.get("/v1/status")["slots"]]


def knows_the_engine(manager: Manager) -> bool:
    """Whether the last look at the Engine succeeded."""
    return "engine.unknown" not in manager.health()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_with_live_restore_jobs_and_idle_agents_outlive_the_engine(
    living: PrivateEngine, sig: signal.Signals
) -> None:
    with made(living, slots=2) as manager:
        manager.start(*hurried(BRISK))
        assert "engine.restart_ends_jobs" not in manager.health()
        job = manager.queue("sh", "-c", JOB)
        written(manager.home / "cache/ran")
        until(
            lambda: (manager.slot()["standby"] or {}).get("phase") == "armed",
            "the standby is armed",
        )
        before = agents(manager)
        living.stop(sig)
        until(lambda: not knows_the_engine(manager), "the manager misses the Engine")
        assert agents(manager) == before
        living.start()
        until(lambda: knows_the_engine(manager), "the manager has found the Engine again")
        manager.passed()
        assert agents(manager) == before
        (manager.home / "cache/go").touch()
        row = manager.ended(job)
        assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "exit", 6)
        for number in range(4):
            assert manager.ended(manager.queue("sh", "-c", f"exit {number}"))["exit_code"] == number
        assert (manager.home / "cache/ran").read_text().split() == [job]


def test_with_live_restore_a_job_may_end_while_the_engine_is_away(living: PrivateEngine) -> None:
    with made(living) as manager:
        manager.start()
        job = manager.queue("sh", "-c", JOB)
        written(manager.home / "cache/ran")
        living.stop()
        until(lambda: not knows_the_engine(manager), "the manager misses the Engine")
        (manager.home / "cache/go").touch()
        try:
            row = manager.ended(job)
        finally:
            living.start()
        assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "exit", 6)
        assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0


def test_neither_manager_nor_engine_runs_while_a_job_ends(living: PrivateEngine) -> None:
    with made(living) as manager:
        manager.start()
        job = manager.queue("sh", "-c", JOB)
        written(manager.home / "cache/ran")
        manager.kill()
        living.stop(signal.SIGKILL)
        (manager.home / "cache/go").touch()
        try:
            until(lambda: list((manager.state / "agents").glob("*/exit")), "the job ends")
        finally:
            living.start()
        manager.start(wait="answer")
        row = manager.ended(job)
        assert (row["state"], row["cause"], row["exit_code"]) == ("failed", "exit", 6)


@pytest.mark.parametrize(
    ("sig", "removal"),
    [
        (signal.SIGTERM, "engine"),
        (signal.SIGKILL, "manager"),
        pytest.param(signal.SIGTERM, "manager", marks=pytest.mark.soak),
        pytest.param(signal.SIGKILL, "engine", marks=pytest.mark.soak),
    ],
)
def test_without_live_restore_the_manager_warns_and_the_account_names_the_engine(
    mortal: PrivateEngine, sig: signal.Signals, removal: str
) -> None:
    with made(mortal, f'removal = "{removal}"') as manager:
        manager.start()
        assert "live-restore is off" in manager.health()["engine.restart_ends_jobs"]
        job = manager.queue("sh", "-c", JOB)
        written(manager.home / "cache/ran")
        mortal.restart(sig)
        row = manager.ended(job)
        assert (row["state"], row["cause"]) == ("lost", "engine_stopped")
        assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
        assert (manager.home / "cache/ran").read_text().split() == [job]


def test_the_engine_stops_while_no_manager_runs(mortal: PrivateEngine) -> None:
    with made(mortal) as manager:
        manager.start()
        job = manager.queue("sh", "-c", JOB)
        written(manager.home / "cache/ran")
        manager.kill()
        mortal.restart(signal.SIGTERM)
        manager.start(wait="answer")
        row = manager.ended(job)
        assert (row["state"], row["cause"]) == ("lost", "engine_stopped")
        assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0


def test_an_engine_that_answers_nothing_stops_no_job(mortal: PrivateEngine) -> None:
    with made(mortal, slots=2) as manager:
        manager.start(*hurried(BRISK))
        job = manager.queue("sh", "-c", JOB)
        written(manager.home / "cache/ran")
        before = agents(manager)
        mortal.freeze()
        try:
            manager.passed(3)
            (manager.home / "cache/go").touch()
            assert manager.cli("status").returncode in (0, 1)
            row = manager.ended(job)
        finally:
            mortal.thaw()
        assert (row["state"], row["exit_code"]) == ("failed", 6)
        assert agents(manager)[1] == before[1]
        assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0


@pytest.mark.parametrize("lives_on", [True, False])
def test_a_kept_network_outlives_the_engine_or_is_made_again(
    living: PrivateEngine, mortal: PrivateEngine, lives_on: bool
) -> None:
    engine = living if lives_on else mortal
    with made(engine, 'sandbox = "slot"') as manager:
        manager.start()
        before = manager.slot()["sandbox"]["container"]
        if lives_on:
            job = manager.queue("sh", "-c", JOB)
            written(manager.home / "cache/ran")
        engine.restart()
        until(lambda: knows_the_engine(manager), "the manager has found the Engine again")
        if lives_on:
            (manager.home / "cache/go").touch()
            assert manager.ended(job)["exit_code"] == 6

        def there() -> str | None:
            row = manager.slot()
            usable = row["phase"] == "idle" and (row["sandbox"] or {}).get("usable")
            again = usable and row["sandbox"]["container"]
            return again if again and again != before else None  # what had left it nobody saw

        until(there, "the slot's agent stands in a sandbox")
        for number in range(2):
            assert manager.ended(manager.queue("sh", "-c", f"exit {number}"))["exit_code"] == number
        until(there, "it stands in one that may be used still")
