"""What three clocks say of a host between two looks, and the hours that it comes to."""

from __future__ import annotations

from datetime import UTC

import pytest

from mayfly.core.host_hours import (
    FROZEN,
    QUARTER,
    Hours,
    Moment,
    Passage,
    by_period,
    passage,
    spread,
)
from mayfly.core.usage_report import Per, periods

THEN = Moment(1_000_000.0, 500.0, 700.0, "boot-1")


def later(wall: float, awake: float, since_boot: float, boot: str = "boot-1") -> Moment:
    return Moment(THEN.wall + wall, THEN.awake + awake, THEN.since_boot + since_boot, boot)


@pytest.mark.parametrize(
    ("now", "leaving", "looked", "found"),
    [
        (later(1, 1, 1), False, True, Passage(1)),
        (later(3600, 60, 3600), False, True, Passage(60, 3540, "suspended", THEN.wall)),
        (later(3600, 60, 3600), True, True, Passage(60, 3540, "suspended", THEN.wall)),
        # A hypervisor stops both clocks, and sets the wall clock afterwards: as somebody may at any time.
        (later(3600, 1, 1), True, True, Passage(1, 3599, "suspended", THEN.wall)),
        (later(3600, 1, 1), False, True, Passage(1)),
        (later(-3600, 1, 1), True, True, Passage(1)),
        # What stops its processes and none of its clocks.
        (later(FROZEN, FROZEN, FROZEN), True, True, Passage(0, FROZEN, "stopped", THEN.wall)),
        (later(FROZEN, FROZEN, FROZEN), True, False, Passage(FROZEN)),
        (later(FROZEN, FROZEN, FROZEN), False, True, Passage(FROZEN)),
        # Less than a look is late on a busy host, and clocks are slewed.
        (later(4, 3, 4), True, True, Passage(3)),
        (
            Moment(THEN.wall + 7200, 30.0, 30.0, "boot-2"),
            *(True, False, Passage(30, 7170, "restarted", THEN.wall)),
        ),
        (
            Moment(THEN.wall + 7200, 30.0, 30.0, "boot-2"),
            *(False, False, Passage(30, 7170, "restarted", THEN.wall)),
        ),
        # A clock without a battery: nobody knows how long it was.
        (Moment(10.0, 30.0, 30.0, "boot-2"), True, False, Passage(30, 0, "restarted", THEN.wall)),
        (Moment(4e9, 30.0, 30.0, "boot-2"), True, False, Passage(30, 0, "restarted", THEN.wall)),
    ],
)
def test_what_became_of_a_host(now: Moment, leaving: bool, looked: bool, found: Passage) -> None:
    assert passage(THEN, now, leaving=leaving, looked=looked) == found


def test_no_second_is_counted_twice_or_lost() -> None:
    begin = 1_000_000.0
    end = begin + 3 * QUARTER
    passed = Passage(up=QUARTER * 1.5, away=QUARTER * 1.5, how="suspended", begin=begin)
    found = spread(passed, end, idle=True)
    total = sum(found.values(), Hours())
    assert total == Hours(QUARTER * 1.5, QUARTER * 1.5, QUARTER * 1.5)
    assert all(one.up + one.away <= QUARTER + 1e-6 for one in found.values())


def test_periods_have_what_lies_in_them() -> None:
    weeks = periods(Per.WEEK, UTC, 1_000_000_000.0, 1_000_000_000.0 + 14 * 86400)
    first, second = weeks[0], weeks[1]
    quarters = {
        int(second.begin // QUARTER) - 1: Hours(900, 900, 0),
        int(second.begin // QUARTER): Hours(300, 0, 600),
    }
    found = by_period(quarters, weeks)
    assert [(one.period, one.hours) for one in found] == [
        (first, Hours(900, 900, 0)),
        (second, Hours(300, 0, 600)),
    ]


def test_a_quarter_before_or_after_all_periods_is_in_none() -> None:
    first, second = periods(Per.MONTH, UTC, 1_762_300_800.0, 1_765_800_000.0)
    outside = [first.begin - QUARTER, second.end, second.end + QUARTER]
    quarters = {
        int(at // QUARTER): Hours(900) for at in (*outside, first.begin, second.end - QUARTER)
    }
    assert [one.hours.up for one in by_period(quarters, (first, second))] == [900, 900]
    assert by_period(quarters, ()) == ()
