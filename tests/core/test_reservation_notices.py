"""Whom a reservation is told of elsewhere, and when."""

from __future__ import annotations

import pytest

from mayfly.core.facts import (
    Fact,
    ReservationBegan,
    ReservationEnded,
    ReservationIdled,
    ReservationUsed,
    ReservationWarned,
)
from mayfly.core.memory import Memory
from mayfly.core.model import JobId, PoolName, SlotName
from mayfly.core.notice_targets import Target
from mayfly.core.notices import message, wanted
from mayfly.core.reservation_notices import of_reservation
from mayfly.core.reservations import Reservation

MINE = JobId("r1")
ONE = Reservation(MINE, PoolName("gpu"), 1001, "ann", 1, 1, 1_800_000_000.0, 7200.0, 0.0)
AT = 1_800_003_600.0
KNOWN = Memory(reservations={MINE: ONE})
OWNERS = Target("owners", webhook="http://x", conditions="none", reservations=True)


@pytest.mark.parametrize(
    ("fact", "title", "text"),
    [
        (
            ReservationBegan(AT, MINE, (SlotName("gpu-0"),), ("GPU-0",), AT + 3600.0),
            "r1 began",
            "it has begun, and ends at 2027-01-15 10:00 UTC",
        ),
        (ReservationWarned(AT, MINE, 15), "r1 ends", "it ends in 15 minutes"),
        (
            ReservationIdled(AT, MINE, 1800.0, 1800.0),
            "r1 idle",
            "nobody has used it for 30m, and it is given back in 30m",
        ),
        (ReservationEnded(AT, MINE, "its time is over"), "r1 over", "it is over: its time is over"),
        (
            ReservationEnded(AT, MINE, "it was given back", "root"),
            "r1 over",
            "it is over: it was given back, by root",
        ),
    ],
)
def test_its_owner_is_told(fact: Fact, title: str, text: str) -> None:
    notice = of_reservation(fact, KNOWN, "box")
    assert notice is not None
    assert (notice.user, notice.pool, notice.job) == ("ann", "gpu", "r1")
    told = message(OWNERS, notice)
    assert told.title == f"box, pool gpu: reservation {title}"
    assert told.text == f"reservation r1 of ann in pool gpu: {text}"


@pytest.mark.parametrize(
    "fact", [ReservationUsed(AT, MINE), ReservationEnded(AT, MINE, "it was given back", "ann")]
)
def test_nobody_is_told_of_what_they_did_themselves(fact: Fact) -> None:
    assert of_reservation(fact, KNOWN, "box") is None


def test_only_who_wants_them_is_told_and_with_users_of_theirs_alone() -> None:
    notice = of_reservation(ReservationWarned(AT, MINE, 5), KNOWN, "box")
    assert notice is not None
    assert wanted(OWNERS, notice)
    assert not wanted(Target("ops", webhook="http://x", jobs="all"), notice)
    of_bob = Target("bob", webhook="http://x", reservations=True, users=("bob",))
    assert not wanted(of_bob, notice)
