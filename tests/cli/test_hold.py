"""``mayfly hold``, ``release`` and what ``attach`` asks of a held job, against a stand-in manager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.commands import (
    AttachAgent,
    Command,
    ExtendHold,
    HoldJob,
    ReleaseHold,
    ReleaseReservation,
    SubmitJob,
)
from mayfly.service.pending_command import Answer
from tests.cli.conftest import Mayfly
from tests.service.standin import StandIn, job, slot, status

LATER = "2026-11-21T14:05:00.000Z"
NO_SLOT = Answer(404, {"error": "there is no slot j1; there are: a-0", "kind": "no_such_slot"})


def answered(command: Command) -> Answer:
    told: dict[str, object] = {"job": "j1", "slot": "a-0"}
    match command:
        case HoldJob(is_slot=True) | ExtendHold(is_slot=True) | ReleaseHold(is_slot=True):
            return NO_SLOT
        case ReleaseReservation():
            return Answer(404, {"error": "there is none", "kind": "no_such_reservation"})
        case HoldJob(seconds=seconds):
            more = {"user": "ann", "until": None, "seconds": seconds or 1800.0}
            return Answer(200, told | more)
        case ExtendHold():
            return Answer(200, told | {"user": "ann", "until": LATER, "seconds": 3600.0})
        case SubmitJob():
            return Answer(201, {"job": "j2", "group": None, "jobs": ["j2"]})
        case _:
            return Answer(200, told)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[StandIn]:
    made = StandIn(tmp_path / "control.sock", answered)
    held = {"job": "j1", "user": "ann", "until": LATER, "over": False}
    note = "held for ann until 14:05"
    made.publish(status(slot("a-0", phase="held", job="j1", held=held, note=note)))
    yield made
    made.close()


def test_a_job_is_to_be_held_for_so_long(manager: StandIn, mayfly: Mayfly) -> None:
    ran = mayfly("hold", "j1", "--for", "2h")
    assert (ran.code, ran.out) == (0, "")
    take_back = "to take that back: mayfly release j1"
    assert ran.err == f"mayfly: when j1 ends it is held for ann for 2h; {take_back}\n"
    asked = manager.commands[-1]
    assert isinstance(asked, HoldJob)
    assert (asked.to, asked.is_slot, asked.seconds) == ("j1", False, 7200.0)


@pytest.mark.parametrize(
    "words", [("j1", "--extend", "1h"), ("--extend", "1h", "j1"), ("j1", "--extend=1h")]
)
def test_it_is_extended_where_the_option_stands_before_the_job_or_behind(
    manager: StandIn, mayfly: Mayfly, words: tuple[str, ...]
) -> None:
    ran = mayfly("attach", *words)
    assert ran.code == 0, ran.err
    assert ran.err.startswith("mayfly: j1 is held until ")
    asked = manager.commands[-1]
    assert isinstance(asked, ExtendHold)
    assert asked.seconds == 3600.0


@pytest.mark.parametrize("words", [("release", "j1"), ("attach", "j1", "--resume")])
def test_it_is_given_up(manager: StandIn, mayfly: Mayfly, words: tuple[str, ...]) -> None:
    ran = mayfly(*words)
    assert (ran.code, ran.err) == (0, "mayfly: j1 is held no longer; slot a-0 goes on\n")
    assert isinstance(manager.commands[-1], ReleaseHold)


def test_what_opens_nothing_goes_with_no_command(manager: StandIn, mayfly: Mayfly) -> None:
    for words in (("--resume", "j1", "--", "id"), ("--resume", "--extend", "1h", "j1")):
        ran = mayfly("attach", *words)
        assert ran.code == 2
        assert "say one of them, and no command" in ran.err
    assert not any(isinstance(one, AttachAgent | ReleaseHold) for one in manager.commands)


def test_a_submitted_job_is_held_when_it_ends(manager: StandIn, mayfly: Mayfly) -> None:
    assert mayfly("submit", "--hold", "--", "true").out == "j2\n"
    asked = manager.commands[-1]
    assert isinstance(asked, SubmitJob)
    assert asked.hold


def test_the_jobs_row_says_that_it_is_held(manager: StandIn, mayfly: Mayfly) -> None:
    manager.account.rows["j1"] = job("j1", agent="g1", state="failed", exit_code=3, cause="exit")
    assert "failed, held" in mayfly("jobs").out
    told = mayfly("jobs", "--why", "j1").out
    assert "it is held for ann until 14:05: mayfly attach j1" in told
