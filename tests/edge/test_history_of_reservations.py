"""What is reserved outlives the manager, and what is over leaves nothing behind."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from mayfly.core.apply import apply
from mayfly.core.facts import (
    Fact,
    ReservationBegan,
    ReservationEnded,
    ReservationExtended,
    ReservationIdled,
    ReservationMade,
    ReservationUsed,
    ReservationWarned,
)
from mayfly.core.memory import Memory
from mayfly.core.model import JobId, PoolName, SlotName
from mayfly.core.reservations import Reservation
from mayfly.core.reserved_hours import Had
from mayfly.edge.history import History

MINE = JobId("mine")
ONE = Reservation(*(MINE, PoolName("gpu"), 1001, "ann", 1, 1, 100.0, 3600.0, 50.0), shell=False)
FACTS: tuple[Fact, ...] = (
    ReservationMade(50.0, ONE),
    ReservationBegan(120.0, MINE, (SlotName("gpu-0"),), ("GPU-0",), 3720.0),
    ReservationUsed(130.0, MINE),
    ReservationExtended(140.0, MINE, 4000.0, "ann"),
    ReservationWarned(150.0, MINE, 30),
    ReservationIdled(155.0, MINE, 1800.0, 1800.0),
    ReservationEnded(160.0, MINE, "it was given back", "ann", 40.0),
)


def test_each_step_of_a_reservation_is_as_it_was_in_the_next_manager(tmp_path: Path) -> None:
    memory = Memory()
    for fact in FACTS:
        with closing(History(tmp_path)) as history:
            assert history.load() == memory
            memory = apply(memory, [fact])
            history.commit([fact], memory)
    with closing(History(tmp_path)) as history:
        after = history.load()
        assert (after.reservations, after.shares) == ({}, memory.shares)
        assert after.had == {(ONE.pool, ONE.uid): Had(160.0, ((0.0, 40.0),))}
        (share,) = after.shares.values()
        assert share.used == 40.0
        rows = history._db.execute("SELECT event, fields FROM events ORDER BY seq").fetchall()
        assert [row[0] for row in rows] == [
            f"reservation.{word}"
            for word in ("made", "began", "used", "extended", "warned", "idled", "ended")
        ]
        assert {json.loads(row[1])["reservation"] for row in rows} == {"mine"}
        keys = [row[0] for row in history._db.execute("SELECT key FROM meta")]
        assert not [key for key in keys if key.startswith("reservation ")]
