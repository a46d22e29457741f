"""Doors on disk: made, granted, shut once and for ever, and what is found behind them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mayfly.core.model import Closing, Generation
from mayfly.edge.doors import MOST, SENTENCE, Doors
from mayfly.edge.faults import Passing, Refused

AGENT = Generation("mywpiww03hg4s")


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return Doors(tmp_path)


def test_a_door_is_made_granted_shut_and_removed(doors: Doors) -> None:
    door = doors.make(AGENT)
    assert stat.S_IMODE(door.stat().st_mode) == 0o755
    assert stat.S_IMODE(doors.root.stat().st_mode) == 0o700
    assert doors.make(AGENT) == door
    doors.grant(AGENT, '{"it": "may"}')
    live = doors.path(AGENT) / "live"
    assert json.loads((live / "grant.json").read_text()) == {"it": "may"}
    assert doors.close(AGENT) == Closing()
    assert not live.exists()
    assert doors.close(AGENT) == Closing(), "shut already"
    doors.remove(AGENT)
    doors.remove(AGENT)
    assert not doors.path(AGENT).exists()


def test_what_was_made_is_known_when_the_door_is_shut(doors: Doors) -> None:
    doors.make(AGENT)
    doors.grant(AGENT, "{}")
    assert not doors.has_made(AGENT)
    (doors.path(AGENT) / "live" / "made").touch()
    assert doors.has_made(AGENT)
    assert doors.close(AGENT).made
    assert doors.close(AGENT).made


def test_a_shut_door_is_never_opened_again(doors: Doors) -> None:
    doors.make(AGENT)
    doors.grant(AGENT, "{}")
    doors.close(AGENT)
    with pytest.raises(Passing, match="is shut"):
        doors.grant(AGENT, "{}")
    with pytest.raises(FileNotFoundError):  # by path, as the gateway does it
        (doors.path(AGENT) / "live" / "made").touch()


def test_of_a_door_that_is_not_there_anything_may_be_left(doors: Doors) -> None:
    assert doors.close(AGENT) == Closing(made=True)


def test_who_was_never_let_in_has_made_nothing(doors: Doors) -> None:
    doors.make(AGENT)
    assert doors.close(AGENT) == Closing()


def test_what_is_not_known_is_not_nothing(doors: Doors) -> None:
    doors.agents.mkdir(parents=True)
    (doors.agents / AGENT).write_text("no directory")
    with pytest.raises(Passing, match="cannot shut the door"):
        doors.close(AGENT)


def test_what_is_no_generation_has_no_door(doors: Doors) -> None:
    for name in ("../../etc", "", "MYWPIWW03HG4S"):
        with pytest.raises(Refused, match="no generation"):
            doors.make(Generation(name))


HOSTILE = (
    b"\xff\xfe not text\n",
    b"[1, 2]\n",
    b'{"at": 1}\n',
    b'{"text": 7}\n',
    b'{"text": "\\u001b[2J\\u202eseen"}\n',
    b"[" * 5000 + b"\n",
)


def test_refusals_are_read_as_anybodys_text(doors: Doors) -> None:
    doors.make(AGENT)
    doors.grant(AGENT, "{}")
    place = doors.path(AGENT) / "live" / "refusals"
    place.write_bytes(b"".join(HOSTILE))
    found = doors.close(AGENT)
    assert found.refused == 1
    assert found.refusals == ("?[2J?seen",)


def test_refusals_are_bounded_each_told_once_and_all_counted(doors: Doors) -> None:
    doors.make(AGENT)
    doors.grant(AGENT, "{}")
    lines = [{"text": "no privileged container"}] * 5
    lines += [{"text": f"{number} {'x' * 1000}"} for number in range(30)]
    place = doors.path(AGENT) / "live" / "refusals"
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = doors.close(AGENT)
    assert found.refusals[0] == "no privileged container"
    assert len(found.refusals) == MOST
    assert all(len(one) <= SENTENCE for one in found.refusals)
    assert found.refused == 35
