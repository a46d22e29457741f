"""A manager has its host paused, which a script stands in for: the manager is killed, or held still."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mayfly.core.host_hours import FROZEN
from mayfly.edge.history_of_host import IdleRecord
from tests.engine import command
from tests.harness import POOL, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness import Manager

pytestmark = pytest.mark.engine
IDLE = """
[host.idle]
after = "{after}s"
command = ["/bin/sh", "{home}/pause"]
logins = "none"
price_per_hour = 2
currency = "EUR"
"""


def script(manager: Manager, text: str) -> Path:
    """What pauses the host; each time it is run it leaves a line in the file that is returned."""
    ran = manager.home / "ran"
    (manager.home / "pause").write_text(f"echo $MAYFLY_HOST >> {ran}\n{text}\n")
    return ran


def happened(manager: Manager) -> list[dict[str, Any]]:
    """What the history has of the host."""
    found = manager.get("/v1/events?limit=1000")["events"]
    return [event for event in found if event["event"].startswith("host.")]


def names(manager: Manager) -> list[str]:
    return [event["event"] for event in happened(manager)]


def stage(manager: Manager) -> str:
    return str(manager.get("/v1/idle")["stage"])


def cordons(manager: Manager) -> list[str]:
    rows = manager.get("/v1/status")["slots"]
    return [row["cordoned"]["by"] for row in rows if row["cordoned"] is not None]


def test_a_host_is_emptied_paused_and_fills_its_slots_again_when_it_is_back(
    make: Callable[..., Manager],
) -> None:
    manager = make(POOL, "")
    ran = script(manager, "exit 0")
    manager.configure(POOL, IDLE.format(after=1, home=manager.home))
    manager.start(wait="answer")
    until(lambda: stage(manager) == "awaited", "the host is to go")
    assert ran.read_text() == "box\n"
    assert cordons(manager) == ["[host.idle]"]
    with command.api(manager.docker_host) as api:
        mine = {"label": f"io.mayfly.host={manager.host_id()}"}
        assert api.containers(filters=mine) == [], "no agent is left that could be given a job"
    assert "about to be paused" in manager.health()["idle.closed"]
    late = manager.queue("true")

    manager.kill()
    manager.start(wait="answer")
    until(lambda: stage(manager) == "awaited", "the host may still go: another manager knows it")
    assert cordons(manager) == ["[host.idle]"]
    assert manager.job(late)["state"] == "queued"
    manager.kill()  # the host is gone
    record = IdleRecord(manager.state)
    kept = record.kept()
    assert kept is not None
    record.keep(replace(kept, moment=replace(kept.moment, boot="the one before")), {}, 0.0)
    manager.start(wait="answer")
    assert manager.ended(late)["state"] == "succeeded", "it has waited for the host"
    assert names(manager)[:3] == ["host.closing", "host.pausing", "host.returned"]
    assert happened(manager)[2]["how"] == "restarted"
    until(lambda: names(manager)[3:] == ["host.closing", "host.pausing"], "it is idle once more")
    told = manager.cli("idle").stdout
    assert "the command has been run, and the host is to go" in told
    done = manager.cli("uncordon", "--all")
    assert done.returncode == 0, done.stderr
    until(lambda: stage(manager) == "watching", "a person is obeyed")
    report = manager.json("report")["host"]
    row = report["rows"][-1]
    assert report["currency"] == "EUR"
    assert row["amount"] == round(row["up"] / 3600 * 2, 2)


def test_a_job_keeps_the_host_up_and_a_command_that_fails_is_a_condition(
    make: Callable[..., Manager],
) -> None:
    manager = make(POOL, "")
    ran = script(manager, "echo the cloud says no; exit 7")
    manager.configure(POOL, IDLE.format(after=1, home=manager.home))
    manager.start(wait="answer")
    job = manager.queue("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done")
    manager.started(job)
    runs = len(ran.read_text().splitlines()) if ran.exists() else 0
    until(
        lambda: [one["kind"] for one in manager.get("/v1/idle").get("reasons", ())] == ["work"],
        "the job is seen",
    )
    assert manager.get("/v1/idle")["idle_since"] is None
    manager.let_go(job)
    manager.ended(job)
    text = until(lambda: manager.health().get("idle.failing"), "it fails")
    assert "/bin/sh ended with 7: the cloud says no; again in" in text
    assert len(ran.read_text().splitlines()) == runs + 1
    until(manager.rests, "its slot is filled again")
    assert cordons(manager) == []


@pytest.mark.soak
def test_a_manager_that_was_held_still_knows_that_its_host_was_away(
    make: Callable[..., Manager],
) -> None:
    manager = make(POOL, "")
    # The host is frozen while its clocks go on, as by some hypervisors: a script outside wakes it.
    pid, held = manager.home / "pid", FROZEN + 3
    wake = f"sleep {held}; kill -CONT $(cat {pid})"
    hold = f"sleep 1; kill -STOP $(cat {pid})"
    ran = script(manager, f"setsid -f sh -c '{hold}; {wake}' >/dev/null 2>&1")
    manager.configure(POOL, IDLE.format(after=2, home=manager.home))
    manager.start(wait="answer")
    assert manager.process is not None
    pid.write_text(str(manager.process.pid))
    began = time.monotonic()
    until(ran.exists, "it is paused")
    until(lambda: "host.returned" in names(manager), "it is back", 240)
    assert time.monotonic() - began >= held
    back = next(one for one in happened(manager) if one["event"] == "host.returned")
    assert back["how"] == "stopped"
    assert back["seconds"] >= FROZEN
    away = manager.get("/v1/idle")["away"]
    assert away["how"] == "stopped"
    os.kill(manager.process.pid, signal.SIGCONT)
    until(lambda: manager.json("report")["host"]["rows"][0]["away"] >= FROZEN, "it is counted")
