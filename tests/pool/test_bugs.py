"""An error that only a bug explains is counted and told, and ends nothing but what it struck.

An Engine that answers what no Engine answers makes such errors without a line of Mayfly being touched.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mayfly.core.model import PoolName, Roster, Severity
from mayfly.core.stimuli import EnrolmentTried, RosterFailed, RosterSeen
from mayfly.edge.log import Log
from mayfly.service.bugs import Bug, Bugs, watch_threads
from mayfly.service.roster_watch import RosterWatch
from tests.engine.go_between import GoBetween
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager, until


def errors(manager: Manager) -> float:
    """The counter, as Prometheus reads it."""
    found = re.search(
        r"^mayfly_loop_errors_total ([0-9.]+)$", manager.text("/v1/metrics"), re.MULTILINE
    )
    assert found is not None
    return float(found[1])


@pytest.mark.engine
@pytest.mark.parametrize(
    ("request_line", "nonsense", "struck"),
    [
        ("POST .*/containers/create", b"[]", "prepare of local-"),
        ("GET .*/containers/json", b"[1]", "a look at the Engine"),
    ],
)
def test_a_bug_is_counted_told_by_status_and_doctor_and_got_over(
    make: Callable[..., Manager],
    engine: PrivateEngine,
    tmp_path: Path,
    request_line: str,
    nonsense: bytes,
    struck: str,
) -> None:
    with GoBetween(tmp_path, engine.url) as between:
        manager = make()
        manager.docker_host = between.url
        manager.configure(
            '[[pool]]\nname = "local"\nprovider = "local"\nslots = 1\nnetwork = "none"\n'
        )
        between.nonsense[request_line] = nonsense
        manager.start(wait="answer")
        told = until(lambda: manager.health().get("manager.bug"), "status tells of it")
        assert struck in told
        assert "Error: " in told
        assert errors(manager) >= 1
        between.nonsense.clear()
        assert manager.cli("wait", "--for", "idle", "--timeout", "100").returncode == 0
        rows = json.loads(manager.cli("doctor", "--json").stdout)["checks"]
        said = [row for row in rows if row["code"] == "manager.health" and row["state"] == "warn"]
        assert any("a bug in Mayfly" in row["text"] for row in said)
        assert any("MAYFLY_EVENT=loop.failed" in row["fix"] for row in said)
        log = manager.log.read_text()
        assert "loop.failed" in log
        assert "Traceback" in log
        assert manager.ended(manager.queue("true"))["state"] == "succeeded"
        manager.close()


class Crooked:
    """A provider whose roster fails as none should, and then does not."""

    roster_interval = 0.05

    def __init__(self) -> None:
        self.tries = 0

    def roster(self) -> Roster | None:
        self.tries += 1
        if self.tries == 1:
            raise KeyError("id")
        return None


def test_a_bug_in_a_roster_is_told_and_the_next_one_is_asked_for() -> None:
    sent: list[RosterSeen | RosterFailed | EnrolmentTried | Bug] = []
    watch = RosterWatch(PoolName("gh"), Crooked(), sent.append)  # type: ignore[arg-type]
    try:
        watch.ask()
        until(lambda: len(sent) >= 2, "it asked")
        watch.ask()
        until(lambda: len(sent) >= 3, "it asked again")
    finally:
        watch.stop()
    assert isinstance(sent[0], Bug)
    assert sent[0].where == "the roster of pool gh"
    assert isinstance(sent[1], RosterFailed)
    assert isinstance(sent[2], RosterSeen)


def test_a_thread_that_a_bug_ended_is_told_until_the_manager_is_started_again() -> None:
    sent: list[Bug] = []
    undo = watch_threads(sent.append)
    try:
        none: dict[str, str] = {}
        thread = threading.Thread(target=lambda: none["nvml"], name="nvml")
        thread.start()
        thread.join()
    finally:
        undo()
    bugs = Bugs(Log())
    bugs.take(sent[0], 100.0)
    for now in (101.0, 1e6):
        (line,) = bugs.health(now)
        assert line.severity is Severity.ERROR
        assert "thread nvml: KeyError" in line.text
        assert line.fix == "sudo systemctl restart mayfly"


def test_a_bug_is_told_for_an_hour_with_how_many_there_were() -> None:
    bugs = Bugs(Log())
    assert bugs.health(0.0) == []
    for now in (100.0, 200.0):
        bugs.take(Bug("open of local-0", "KeyError: 'id'", "trace"), now)
    (line,) = bugs.health(3700.0)
    assert line.severity is Severity.WARNING
    assert "open of local-0 failed with KeyError: 'id' (2 such errors" in line.text
    assert bugs.health(3801.0) == []
