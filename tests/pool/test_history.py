"""What is kept of the past: an agent's life, what a slot was told, and bounds."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.harness import Manager, until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Manager]

pytestmark = pytest.mark.engine

ONE = '[[pool]]\nname = "local"\nslots = 1\nnetwork = "none"\n'


def lives(manager: Manager, *words: str) -> list[dict[str, object]]:
    """The rows of `history --json`."""
    document = manager.json("history", *words)
    assert document["schema"] == "mayfly.history/1"
    rows: list[dict[str, object]] = document["agents"]
    return rows


def test_an_agent_s_life_is_one_row_with_all_that_an_operator_asks_for(make: Make) -> None:
    manager = make(ONE)
    manager.start()
    agent = manager.slot()["agent"]
    image = manager.docker("inspect", "-f", "{{.Image}}", "local-0").strip()
    began = time.monotonic()
    job = manager.queue("sh", "-c", "sleep 0.5; exit 3")
    assert manager.ended(job)["agent"] == agent
    passed = time.monotonic() - began
    (row,) = lives(manager)
    expected = {
        "agent": agent, "slot": "local-0", "pool": "local", "job": job, "exit_code": 3,
        "image": image, "gpus": [], "ended_for": None, "ended_by": None, "oom_kills": 0,
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    seconds = row["seconds"]
    assert isinstance(seconds, dict)
    assert set(seconds) == {"preparing", "idle", "enrolling", "busy"}
    assert 0.4 < seconds["busy"] <= passed


def test_who_ended_an_agent_and_what_for_is_kept_and_found(make: Make) -> None:
    manager = make(ONE)
    manager.start()
    first = manager.slot()["agent"]
    assert manager.cli("recycle", "local-0").returncode == 0
    until(lambda: manager.get("/v1/history")["agents"], "the recycled agent is over")
    manager.in_phase("idle")
    failed = manager.ended(manager.queue("false"))["agent"]
    manager.in_phase("idle")
    rows = {row["agent"]: row for row in lives(manager)}
    assert (rows[first]["ended_for"], rows[first]["ended_by"]) == ("recycled", "root")
    assert [row["agent"] for row in lives(manager, "--outcome", str(rows[failed]["outcome"]))][
        -1
    ] == failed
    assert lives(manager, "--slot", "local-0") == list(rows.values())
    nowhere = manager.cli("history", "--slot", "local-7")
    assert (nowhere.returncode, nowhere.stdout) == (4, "")
    assert "there is no slot local-7; there are: local-0" in nowhere.stderr
    assert lives(manager, "--since", "1h") == list(rows.values())
    assert lives(manager, "--since", datetime.now(UTC).isoformat(timespec="milliseconds")) == []
    assert manager.cli("history", "--since", "2100-01-01T00:00:00Z").returncode == 2
    assert [row["agent"] for row in lives(manager, "--limit", "1")] == [failed]


def test_the_bounds_of_the_configuration_are_kept_while_the_manager_runs(make: Make) -> None:
    manager = make(ONE, "history_events = 100\noutput_per_agent = 65536\noutput_total = 131072")
    manager.start()
    loud = "yes $(printf %0100d 7) | head -n 3000; echo the end"
    jobs = [manager.queue("sh", "-c", loud) for _ in range(5)]
    for job in jobs:
        manager.ended(job)
    kept = [len(manager.output(job)) for job in jobs]
    assert all(size <= 65536 + 200 for size in kept)
    assert manager.output(jobs[-1]).endswith("the end\n") or "the end" in manager.output(jobs[-1])
    files = [
        file.stat().st_size for file in (manager.state / "output").rglob("*") if file.is_file()
    ]
    assert sum(files) < 3 * 131072
    for _ in range(40):
        status, _ = manager.ask("POST", "/v1/cordon", json.dumps({"slots": ["local-0"]}))
        assert status == 200
        manager.ask("POST", "/v1/uncordon", json.dumps({"slots": ["local-0"]}))
    assert len(manager.get("/v1/events?limit=1000")["events"]) > 100
    manager.kill()
    manager.start(wait="answer")
    until(lambda: len(manager.get("/v1/events?limit=1000")["events"]) <= 110, "it is pruned")


def test_what_a_job_prints_cannot_move_the_cursor_of_who_reads_its_line(make: Make) -> None:
    manager = make(ONE)
    manager.start()
    note = "\x1b[2J\x1b]0;mine\x07boo\x9b31m"
    assert manager.cli("cordon", "local-0", "--note", note).returncode == 0
    for words in (("status",), ("describe", "local-0"), ("events",)):
        assert "\x1b" not in manager.cli(*words).stdout
        assert "\x9b" not in manager.cli(*words).stdout
