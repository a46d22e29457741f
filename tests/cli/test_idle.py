"""``mayfly idle``: how a host stands, whether it would be paused, and the hours in the report."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.host_hours import QUARTER, Hours
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.quantities import parse_time, rfc3339
from tests.cli.conftest import Mayfly
from tests.pages import consoles
from tests.service.standin import StandIn

PAGE = [console for console in consoles() if console.page == "docs/how-to/idle.md"]
STANDS = {
    "schema": "mayfly.idle/1", "configured": True, "after": 1800.0, "by": "command",
    "stage": "watching", "idle_since": None, "idle_seconds": None, "due": None, "reasons": [],
    "vetoes": [], "asked": None, "still_open": None, "failure": None, "tries": 0, "stayed": False,
    "why": None, "away": None,
}  # fmt: skip


def ago(seconds: float) -> str:
    return rfc3339(time.time() - seconds)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({}, ["there is something to do; after 30m without, this host is paused by the command"]),
        (
            {
                "reasons": [{"kind": "work", "text": "slot a-0 runs job \x1b[2Jj1"}],
                "vetoes": [{"kind": "kept", "text": "ann on pts/1 is logged in"}],
            },
            ["KEPT UP BY", "work        slot a-0 runs job j1", "kept        ann on pts/1 is"],
        ),
        (
            {"idle_since": ago(3.5 * 86400), "due": ago(-5.5 * 86400)},
            [
                "nothing to do for 3d, since 20",
                "this host is paused by the command in 5d at the earliest",
            ],
        ),
        (
            {"idle_since": ago(7200), "due": ago(60)},
            ["this host is paused by the command as soon as nothing keeps it up"],
        ),
        (
            {"stage": "closing", "idle_since": ago(1900), "still_open": "slot a-0: it runs"},
            [
                "gates are closed, and its services let go of its agents",
                "awaited: slot a-0: it runs",
            ],
        ),
        (
            {"idle_since": ago(1900), "failure": "it ended with 3: no quota", "tries": 2},
            ["the last time: it ended with 3: no quota (2 times in a row)"],
        ),
        (
            {"away": {"since": ago(7200), "seconds": 3600.0, "how": "suspended"}},
            ["it was suspended for 1h00, from 20"],
        ),
        ({"stage": None}, ["the manager has not looked yet"]),
        ({"configured": False}, ["nothing is done about an idle host"]),
    ],
)
def test_how_a_host_stands_is_read_off(
    manager: StandIn, mayfly: Mayfly, told: dict[str, Any], says: list[str]
) -> None:
    manager.idle.told = {**STANDS, **told}
    ran = mayfly("idle")
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    for line in says:
        assert line in ran.out
    found = json.loads(mayfly("idle", "--json").out)
    assert found["schema"] == "mayfly.idle/1"
    assert found == {**STANDS, **told}


def test_the_report_ends_with_the_hours_and_the_money_as_the_page_shows(
    manager: StandIn, mayfly: Mayfly
) -> None:
    first = int(parse_time("2025-11-03T00:00Z") // QUARTER)
    kinds = [Hours(900, 900, 0)] * 26 + [Hours(900, 0, 0)] * 134 + [Hours(0, 0, 900)] * 512
    manager.idle.quarters = {first + place: hours for place, hours in enumerate(kinds)}
    manager.idle.settings = IdleSettings(price_per_hour=2.49, currency="EUR")
    (typed,) = [line for console in PAGE for line in console.typed if "report" in line[0]]
    line, shown = typed
    ran = mayfly(*shlex.split(line)[1:])
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [*shown]
    host = json.loads(mayfly(*shlex.split(line)[1:], "--json").out)["host"]
    (row,) = host["rows"]
    assert (row["up"], row["idle"], row["away"]) == (160 * 900, 26 * 900, 512 * 900)
    assert (host["price_per_hour"], host["currency"], row["amount"]) == (2.49, "EUR", 99.6)
    manager.idle.settings = IdleSettings()
    assert "EUR" not in mayfly(*shlex.split(line)[1:]).out


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A host whose program notes that it was run, and as what."""
    program = tmp_path / "pause"
    program.write_text(f"#!/bin/sh\necho test=$MAYFLY_IDLE_TEST >> {tmp_path}/ran\n")
    program.chmod(0o755)
    file = tmp_path / "config.toml"
    file.write_text(
        f'[host]\nname = "box"\n[host.idle]\nlogins = "none"\ncommand = ["{program}"]\n'
        f'veto = ["/bin/sh", "-c", "echo not now; exit 1"]\n[[pool]]\nname = "cpu"\n'
    )
    return file


def test_a_test_tells_of_vetoes_and_runs_the_command_only_where_that_is_wanted(
    manager: StandIn, mayfly: Mayfly, config: Path
) -> None:
    manager.idle.told = STANDS
    told = mayfly("idle", "test", "--config", str(config))
    assert told.code == 0
    assert told.out.splitlines() == [
        "kept: the veto command /bin/sh ended with 1: not now",
        f"the command is {config.parent}/pause",
        "the command was not run: --yes runs it",
    ]
    ran = config.parent / "ran"
    assert not ran.exists()
    words = ("--socket", str(manager.path), "--config", str(config))
    manager.idle.told = {**STANDS, "reasons": [{"kind": "work", "text": "slot a-0 runs job j1"}]}
    told = mayfly("idle", "test", "--yes", *words)
    assert (told.code, "nothing was run: slot a-0 runs job j1" in told.err) == (1, True)
    assert not ran.exists()
    manager.idle.told = STANDS
    told = mayfly("idle", "test", "--yes", *words)
    assert (told.code, told.out.splitlines()[-1]) == (0, "the command succeeded")
    assert ran.read_text() == "test=1\n"


def test_a_test_says_what_cannot_be_run(manager: StandIn, mayfly: Mayfly, config: Path) -> None:
    manager.idle.told = STANDS
    text = config.read_text()
    config.write_text(text.replace(f"{config.parent}/pause", "/no/such/program"))
    told = mayfly("idle", "test", "--config", str(config))
    assert (told.code, "/no/such/program is no program that can be run" in told.err) == (1, True)
    config.write_text(text.replace('"/bin/sh", "-c"', '"/no/veto"'))
    told = mayfly("idle", "test", "--config", str(config))
    assert told.code == 1
    assert "unknown: the veto command /no/veto cannot be run" in told.out
    (config.parent / "pause").write_text("#!/bin/sh\necho no quota; exit 3\n")
    config.write_text(text)
    told = mayfly("idle", "test", "--yes", "--socket", str(manager.path), "--config", str(config))
    assert (told.code, "ended with 3: no quota" in told.err) == (1, True)
