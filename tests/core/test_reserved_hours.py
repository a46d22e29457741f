"""What a person may have reserved in seven days, and whose turn it is: nobody is kept out for long."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.core.command_refusal import Refusal
from mayfly.core.model import JobId, PoolName
from mayfly.core.reservations import Reservation
from mayfly.core.reserved_hours import (
    WEEK,
    Had,
    Span,
    most,
    rests,
    room_from,
    spans,
    too_much,
    with_ended,
)
from tests.core.reserved_days import ReservedManager, reservable, reserved_box, whole
from tests.core.simulator import Manager
from tests.core.turn_days import BOX, HOUR, turning

GPU = PoolName("gpu")
NOW = 1_800_000_000.0  # a whole hour
ANN = (GPU, 1001)


def reserved(name: str, start: float, hours: float, gpus: int = 1, **more: object) -> Reservation:
    return Reservation(
        *(JobId(name), GPU, 1001, "ann", gpus, gpus),
        *(NOW + start * HOUR, hours * HOUR, NOW),
        **more,  # type: ignore[arg-type]
    )


def had(*ended: tuple[float, float, int]) -> Had:
    found: Had | None = None
    for start, hours, gpus in ended:
        begun = replace(reserved("past", start, hours, gpus), began=NOW + start * HOUR)
        found = with_ended(found, begun, NOW + (start + hours) * HOUR)
    assert found is not None
    return found


def running(manager: Manager) -> dict[str, str | None]:
    return {str(one.slot): one.job for one in manager.host.boxes.values() if one.running}


def ends(manager: Manager, slot: str) -> None:
    manager.host.ends(
        next(name for name, one in manager.host.boxes.items() if one.slot == slot and one.running),
        0,
    )
    manager.run()


def made(found: JobId | Refusal) -> JobId:
    assert isinstance(found, str), found
    return found


# -- seven days --------------------------------------------------------------------------------------


def test_what_was_had_is_kept_by_the_hour_for_seven_days_however_many_there_were() -> None:
    found: Had | None = None
    for part in range(14 * 24 * 4):
        one = replace(reserved("r", part / 4, 1 / 4), began=NOW + part * 900.0)
        found = with_ended(found, one, NOW + (part + 1) * 900.0)
    assert found is not None
    assert len(found.hours) == 7 * 24
    assert all(used == HOUR for _, used in found.hours)


def test_the_seven_days_with_most_count_wherever_they_begin() -> None:
    known = [reserved("a", 24, 8), reserved("b", 7 * 24 + 12, 8)]
    found = spans(ANN, {ANN: had((-48, 8, 2))}, known, NOW)
    assert most(found, NOW, NOW + HOUR) == 24 * HOUR, "what was had, and the next"
    assert most(found, NOW + 6 * 24 * HOUR, NOW + 7 * 24 * HOUR) == 16 * HOUR, "two that are booked"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (reserved("c", 0, 4), None),
        (reserved("c", 0, 4.5), "4h is left from 2027-01-15 08:00 UTC on"),
        (reserved("c", 0, 4.5), "and as much as this from 2027-01-15 16:00 UTC on"),
        (reserved("c", 0, 8, 8), "in pool gpu, and this is more"),
        # Before one that is booked, where what was had does not matter any more.
        (reserved("c", 120, 8), None),
        (reserved("c", 5 * 24 + 12, 8), None),
    ],
)
def test_more_than_that_is_refused_with_what_is_left_and_from_when_there_is_more(
    wanted: Reservation, says: str | None
) -> None:
    found = spans(ANN, {ANN: had((-6.5 * 24, 9, 4))}, [reserved("b", 24 * 7, 4)], NOW)
    why = too_much(40 * HOUR, wanted, found, NOW)
    if says is None:
        assert why is None
    else:
        assert why is not None
        assert says in why
        assert too_much(0.0, wanted, found, NOW) is None, "0 bounds nothing"


def in_a_window(found: list[Span], start: float, end: float) -> float:
    """What those seven days have that have most, by trying them all."""
    begins = range(int(start - WEEK), int(end) + 1, int(HOUR))
    return max(sum(one.within(begin, begin + WEEK) for one in found) for begin in begins)


HOURS = st.tuples(st.integers(-168, 336), st.integers(1, 8), st.integers(1, 4))


@settings(max_examples=50)
@given(st.lists(HOURS, max_size=6), HOURS)
def test_the_first_time_that_fits_is_found_and_there_is_none_before(
    others: list[tuple[int, int, int]], wish: tuple[int, int, int]
) -> None:
    limit = 40 * HOUR
    found: list[Span] = []
    for start, hours, gpus in others:
        own = Span(NOW + start * HOUR, NOW + (start + hours) * HOUR, gpus)
        if in_a_window([*found, own], own.start, own.end) <= limit:
            found.append(own)
    start, hours, gpus = abs(wish[0]), *wish[1:]
    begin, lasts = NOW + start * HOUR, hours * HOUR
    first = room_from(limit, found, begin, begin + lasts, gpus)
    assert first is not None
    assert first >= begin
    assert most([*found, Span(first, first + lasts, gpus)], first, first + lasts) <= limit + 1.0
    for hour in range(int((first - begin) // HOUR)):
        then = begin + hour * HOUR
        own = Span(then, then + lasts, gpus)
        assert in_a_window([*found, own], then, then + lasts) > limit


def test_a_refusal_is_found_fast_however_scattered_what_was_had() -> None:
    past: Had | None = None
    for part in range(7 * 24):
        one = replace(reserved("r", 0, 1 / 2, 2), began=NOW + part * HOUR)
        past = with_ended(past, one, NOW + part * HOUR + 1800.0 + part)
    found = spans(ANN, {ANN: past} if past is not None else {}, [], NOW + WEEK)
    calls = 0

    def count(frame: object, event: str, about: object) -> None:
        nonlocal calls
        del frame, about
        calls += event == "call"

    sys.setprofile(count)
    try:
        why = too_much(40 * HOUR, reserved("x", 7 * 24 + 1, 7.3, 5), found, NOW + WEEK)
    finally:
        sys.setprofile(None)
    assert "and as much as this from" in str(why)
    assert calls < 100_000, "the one thread that changes anything stood still for seconds"


def test_one_that_is_extended_counts_with_what_it_gets() -> None:
    one = replace(reserved("a", -2, 4), began=NOW - 2 * HOUR, until=NOW + 2 * HOUR)
    found = spans(ANN, {}, [one], NOW)
    assert too_much(5 * HOUR, one, found, NOW, more=HOUR) is None
    assert "nothing is left" in str(too_much(4 * HOUR, one, found, NOW, more=HOUR))


def test_who_has_one_or_had_one_until_just_now_rests() -> None:
    one = replace(reserved("a", -2, 4), began=NOW - 2 * HOUR, until=NOW + 2 * HOUR)
    assert rests(ANN, {}, [one], NOW)
    assert rests(ANN, {ANN: had((-2.5, 2, 1))}, [], NOW)
    assert not rests(ANN, {ANN: had((-4, 2, 1))}, [reserved("b", 1, 1)], NOW)


# -- its turn ----------------------------------------------------------------------------------------


def box(per_week: float = 0.0, slots: int = 1) -> ReservedManager:
    return reserved_box(
        reservable(whole("gpu", slots), idle=0.0, per_week=per_week), gpus=BOX[:slots]
    )


def test_one_that_was_not_booked_takes_the_turn_of_a_job_of_its_owner() -> None:
    manager = box()
    mine = manager.submit("gpu", uid=1001)
    manager.run()
    manager.host.now += 2 * HOUR
    other = manager.submit("gpu", uid=7)
    again = made(manager.reserves("gpu", 1001, HOUR))
    manager.run()
    assert running(manager) == {"gpu-0": mine}
    ends(manager, "gpu-0")
    assert running(manager) == {"gpu-0": other}, "who had less is first, as among jobs"
    manager.host.now += 3 * HOUR
    manager.submit("gpu", uid=7)
    ends(manager, "gpu-0")
    assert running(manager) == {"gpu-0": again}, "and then it is before who has had more since"


def test_with_equal_shares_whoever_came_first_is_first() -> None:
    for first in (True, False):
        manager = box()
        busy = manager.submit("gpu", uid=9)
        manager.run()
        assert running(manager) == {"gpu-0": busy}
        job = manager.submit("gpu", uid=7) if first else ""
        manager.host.now += 60.0
        mine = made(manager.reserves("gpu", 1001, HOUR))
        manager.host.now += 60.0
        if not first:
            manager.submit("gpu", uid=7)
        manager.run()
        ends(manager, "gpu-0")
        assert running(manager) == {"gpu-0": job if first else mine}


def test_one_that_was_booked_begins_on_time_whoever_waits() -> None:
    manager = box()
    manager.submit("gpu", uid=1001)
    manager.run()
    manager.host.now += 2 * HOUR
    mine = made(manager.reserves("gpu", 1001, HOUR, start=manager.now + HOUR))
    for _ in range(3):
        manager.submit("gpu", uid=7)
    manager.pass_time(HOUR)
    manager.run()
    ends(manager, "gpu-0")
    assert running(manager) == {"gpu-0": mine}


def test_who_books_one_after_the_other_lets_others_have_their_turn_between() -> None:
    manager = box()
    start = manager.now + HOUR
    first = made(manager.reserves("gpu", 1001, 2 * HOUR, start=start))
    second = made(manager.reserves("gpu", 1001, 2 * HOUR, start=start + 2 * HOUR))
    manager.pass_time(HOUR + 1.0)
    assert running(manager) == {"gpu-0": first}
    other = manager.submit("gpu", uid=7)
    manager.pass_time(2 * HOUR + 60.0)
    assert running(manager) == {"gpu-0": other}
    ends(manager, "gpu-0")
    assert running(manager) == {"gpu-0": second}, "it has its full time, late"
    one = manager.memory.reservations[second]
    assert one.until == manager.now + 2 * HOUR


def test_with_rolling_reservations_one_person_has_what_the_pool_allows_and_ci_the_rest() -> None:
    manager = box(per_week=10 * HOUR)
    manager.host.now += HOUR
    begin = manager.now
    taken = ci = 0.0
    while manager.now < begin + 30 * HOUR:
        for ahead in (HOUR, 6 * HOUR):
            manager.reserves("gpu", 1001, 5 * HOUR, start=manager.now + ahead)
        if len(manager.memory.jobs) < 4:
            manager.submit("gpu", uid=7)
        manager.pass_time(HOUR)
        for one in list(manager.host.boxes.values()):
            if one.running and one.job is not None:
                mine = one.job in manager.had
                taken += HOUR if mine else 0.0
                ci += 0.0 if mine else HOUR
                if not mine:
                    ends(manager, str(one.slot))
    assert 8 * HOUR <= taken <= 11 * HOUR
    assert ci >= 18 * HOUR


def test_what_was_had_is_charged_as_it_was_and_not_as_it_was_asked_for() -> None:
    manager = box(per_week=8 * HOUR)
    mine = made(manager.reserves("gpu", 1001, 8 * HOUR, shell=False))
    manager.run()
    assert isinstance(manager.reserves("gpu", 1001, HOUR, start=manager.now + 9 * HOUR), Refusal)
    manager.host.now += HOUR
    manager.gives_back(mine)
    manager.run()
    assert manager.memory.had[GPU, 1001].ended == manager.now
    made(manager.reserves("gpu", 1001, 6 * HOUR, start=manager.now + 9 * HOUR))
    why = manager.reserves("gpu", 1001, 2 * HOUR, start=manager.now + 20 * HOUR)
    assert isinstance(why, Refusal)
    assert "1h is left" in why.sentence
    made(manager.reserves("gpu", 1001, 2 * HOUR, start=manager.now + 9 * HOUR + WEEK))


# -- pools in turn -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", [True, False])
@pytest.mark.parametrize("idle", [0.0, 20 * HOUR])
def test_who_reserves_in_a_pool_in_turn_does_not_keep_another_pool_from_their_gpus(
    idle: float, *, shell: bool
) -> None:
    mine, other = reservable(turning("a", 1, 1), idle=0.0, per_week=0.0), turning("b", 1, 1)
    manager = reserved_box(mine, other, gpus=BOX[:1])
    manager.submit("b", uid=7)
    manager.run()
    manager.host.now += idle
    began = []
    for _ in range(3):
        for _ in range(2):
            manager.submit("b", uid=7)
        name = made(manager.reserves("a", 1001, 5 * HOUR, shell=shell))
        if "b-0" in running(manager):
            ends(manager, "b-0")
        manager.run()
        one = manager.memory.reservations[name]
        began.append(one.began is not None)
        if one.began is None:
            assert "b-0" in running(manager), "its turn, for the reservations had as much before"
            manager.host.now += 6 * HOUR
            ends(manager, "b-0")
            assert manager.memory.reservations[name].began is not None, "and then theirs"
        manager.pass_time(5 * HOUR + 60.0)
        if "a-0" in running(manager):
            ends(manager, "a-0")
        assert name not in manager.memory.reservations
    assert began == [True, False, False]


def test_two_reservations_that_end_at_once_are_both_charged() -> None:
    manager = reserved_box(
        reservable(turning("a", 2, 1), idle=0.0, per_week=0.0),
        turning("b", 2, 1),
        gpus=BOX[:2],
    )
    for _ in range(2):
        made(manager.reserves("a", 1001, HOUR, shell=False))
    manager.run()
    assert len(manager.memory.reserved) == 2
    manager.pass_time(HOUR + 1.0)
    assert not manager.memory.reservations
    (share,) = manager.memory.shares.values()
    assert share.used > 1.9 * HOUR
    assert manager.memory.turns[PoolName("a")].used == pytest.approx(2 * HOUR, abs=5.0)
