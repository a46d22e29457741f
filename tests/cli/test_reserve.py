"""``reserve``, ``reservations`` and ``release``: the real command against a stand-in manager."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC

from mayfly.cli.render_reservations import reservations
from mayfly.core.commands import Command, ExtendReservation, ReleaseReservation, ReserveGpus
from mayfly.core.memory import Memory
from mayfly.core.model import JobId, PoolName, SlotName
from mayfly.core.reservations import Reservation
from mayfly.service.pending_command import Answer
from mayfly.service.reservation_document import document
from tests.cli.conftest import Answers, Mayfly
from tests.service.standin import StandIn

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
BOOKED = Reservation(
    *(JobId("r2"), PoolName("gpu"), 1002, "bob", 1, 1, NOW + 86_400.0, 7200.0, NOW), shell=False
)
ACTIVE = replace(
    BOOKED,
    id=JobId("r1"),
    owner="ann",
    start=NOW - 1800.0,
    shell=True,
    began=NOW - 1200.0,
    until=NOW + 5400.0,
    taken=(SlotName("gpu-0"),),
    devices=("GPU-3d8a52bd",),
)


def test_the_calendar_says_who_has_what_from_when_until_when() -> None:
    memory = Memory(reservations={one.id: one for one in (BOOKED, ACTIVE)})
    told = document(memory, ["GPU-3d8a52bd"], NOW)
    assert told["schema"] == "mayfly.reservations/1"
    assert reservations(told, NOW, 120, UTC) == [
        "ID  POOL  USER  STATE   FROM              UNTIL             LEFT  FORM     GPUS",
        "r1  gpu   ann   active  07:40             09:30             1h30  shell    GPU-3d8a52bd",
        "r2  gpu   bob   booked  2027-01-16 08:00  2027-01-16 10:00  -     outside  1 GPU",
    ]
    rows = told["reservations"]
    assert isinstance(rows, list)
    active = rows[0]
    assert (active["in_use"], active["idle_since"]) == (True, "2027-01-15T07:40:00.000Z")
    assert active["start"] == "2027-01-15T07:40:00.000Z"


def test_gpus_are_reserved_extended_and_released(
    manager: StandIn, answers: Answers, mayfly: Mayfly
) -> None:
    asked: list[Command] = []

    def act(command: Command) -> Answer:
        asked.append(command)
        told = {"reservation": "r1", "pool": "gpu", "start": "2027-01-15T08:00:00Z"}
        return Answer(201, {**told, "until": "2027-01-15T10:00:00Z", "shell": True})

    answers.by_verb = dict.fromkeys(("reserve", "extend", "release"), act)
    made = mayfly("reserve", "--gpus", 2, "--for", "2h", "--at", "2027-01-15T08:00:00Z", TZ="UTC")
    assert (made.code, made.out) == (0, "r1\n")
    assert "reserved in pool gpu from 2027-01-15 08:00 until 2027-01-15 10:00" in made.err
    assert "mayfly attach r1" in made.err
    longer = mayfly("reserve", "--extend", "r1", "--for", "30m", TZ="UTC")
    assert longer.err == "mayfly: reservation r1 ends at 2027-01-15 10:00\n"
    assert mayfly("release", "r1").err == "mayfly: reservation r1 is given back\n"
    first, second, third = asked
    by = first.by
    assert first == ReserveGpus(by, 2, 7200.0, NOW, None)
    assert second == ExtendReservation(by, "r1", 1800.0) or second.by.pid != by.pid
    assert isinstance(third, ReleaseReservation)
    assert third.reservation == "r1"


def test_who_waits_is_told_what_they_got(
    manager: StandIn, answers: Answers, mayfly: Mayfly
) -> None:
    answers.by_verb["reserve"] = lambda _: Answer(201, {"reservation": "r1", "pool": "gpu"})
    memory = Memory(reservations={ACTIVE.id: ACTIVE})
    rows = document(memory, (), NOW)["reservations"]
    assert isinstance(rows, list)
    manager.queue.reserved = rows
    ran = mayfly("reserve", "--for", "2h", "--outside", "--wait")
    assert (ran.code, ran.out) == (0, "r1\nGPU-3d8a52bd\n")
    listed = mayfly("reservations", "--json")
    assert json.loads(listed.out)["reservations"] == rows
    manager.queue.reserved = []
    assert mayfly("reservations").err == "mayfly: nothing is reserved\n"
