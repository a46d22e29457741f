"""Who changes holds and reservations over and over again is braked, and nobody else."""

from __future__ import annotations

from mayfly.core.commands import (
    Caller,
    Command,
    ExtendHold,
    ExtendReservation,
    HoldJob,
    Payload,
    ReleaseHold,
    ReleaseReservation,
    ReserveGpus,
    SubmitJob,
)
from mayfly.core.model import JobId
from mayfly.service.brake import AT_ONCE, EACH, MANY, Brake

T = 1_800_000_000.0
ANN = Caller(7, 1000, 1000, "ann", operator=False)
BEN = Caller(7, 1001, 1001, "ben", operator=False)
ROOT = Caller(7, 0, 0, "root")
JOB = JobId("j1")


def changes(by: Caller) -> tuple[Command, ...]:
    return (
        HoldJob(by, JOB, is_slot=False),
        ExtendHold(by, JOB, is_slot=False, seconds=60.0),
        ReleaseHold(by, JOB, is_slot=False),
        ReserveGpus(by, 1, 60.0, None, None),
        ExtendReservation(by, "r1", 60.0),
        ReleaseReservation(by, "r1"),
    )


def made(brake: Brake, by: Caller, times: int, now: float) -> int:
    """How many of so many changes are let through."""
    kinds = changes(by)
    return sum(brake.stops(kinds[at % len(kinds)], now) is None for at in range(times))


def test_each_kind_of_change_counts_and_one_more_is_let_through_every_ten_seconds() -> None:
    brake = Brake()
    assert made(brake, ANN, 1000, T) == AT_ONCE
    assert made(brake, BEN, 1, T) == 1, "another person is not braked by that"
    why = brake.stops(changes(ANN)[0], T + 4.0)
    assert why is not None
    assert (why.status, why.kind) == (429, "too_often")
    assert why.sentence == (
        f"ann has changed holds and reservations {AT_ONCE} times in a row: one more in 6 s"
    )
    assert made(brake, ANN, 10, T + EACH) == 1
    assert made(brake, ANN, 1000, T + 1000 * EACH) == AT_ONCE


def test_operators_and_other_commands_are_not_braked() -> None:
    brake = Brake()
    assert made(brake, ROOT, 1000, T) == 1000
    made(brake, ANN, 1000, T)
    assert brake.stops(SubmitJob(ANN, Payload(("true",), {}), None, None), T) is None


def test_a_clock_that_is_set_back_brakes_nobody_for_long() -> None:
    brake = Brake()
    made(brake, ANN, 1000, T)
    assert made(brake, ANN, 1000, T - 86_400.0) == AT_ONCE


def test_of_many_people_those_are_forgotten_who_may_do_all_again() -> None:
    brake = Brake()
    for uid in range(3 * MANY):
        by = Caller(7, uid, uid, f"user{uid}", operator=False)
        assert made(brake, by, 1, T + uid * EACH) == 1
    assert len(brake._paid) <= MANY
