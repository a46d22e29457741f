"""How long a host was up, had nothing to do, and was away: what lies between two looks, and sums of it.

Pure. Between two looks at three clocks: CLOCK_MONOTONIC stands still while the host is suspended,
CLOCK_BOOTTIME goes on, the wall clock may be set, and a boot has an id (proc(5), clock_gettime(2)). A
hypervisor that stops a guest stops both of the first; that is told from a clock that was set by whether the
host was to go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mayfly.core.usage_report import Period

QUARTER = 900  # seconds: the zones of the world begin their days at such times
# seconds that the clocks are apart by after a suspension; less is a clock being slewed
SUSPENDED = 2.0
FROZEN = 30.0  # seconds without a look after which a host that was to go was away
LONGEST = 366 * 86400.0  # seconds that a host may have been away: more is a clock that was wrong

How = Literal["", "suspended", "restarted", "stopped"]


@dataclass(frozen=True, slots=True)
class Moment:
    """What the clocks said."""

    wall: float
    awake: float  # CLOCK_MONOTONIC
    since_boot: float  # CLOCK_BOOTTIME
    boot: str


@dataclass(frozen=True, slots=True)
class Passage:
    """What lies between two moments."""

    up: float = 0.0  # seconds
    away: float = 0.0
    how: How = ""  # it was away; "": it was not
    begin: float = 0.0  # when it went, on the wall clock


def passage(before: Moment, now: Moment, *, leaving: bool, looked: bool = True) -> Passage:
    """What became of the host between two moments; ``leaving``: it was to go, and ``looked``: somebody looked
    all the time, which whoever starts has not.
    """
    if before.boot != now.boot:
        gone = max(0.0, now.wall - now.since_boot - before.wall)
        return Passage(now.since_boot, gone if gone < LONGEST else 0.0, "restarted", before.wall)
    up = max(0.0, now.awake - before.awake)
    slept = max(0.0, now.since_boot - before.since_boot - up)
    jumped = max(0.0, now.wall - before.wall - up - slept)
    jumped = jumped if leaving and SUSPENDED <= jumped < LONGEST else 0.0
    if slept >= SUSPENDED or jumped:
        slept = slept if slept >= SUSPENDED else 0.0
        return Passage(up, slept + jumped, "suspended", before.wall)
    if leaving and looked and up >= FROZEN:
        return Passage(0.0, up, "stopped", before.wall)
    return Passage(up)


@dataclass(frozen=True, slots=True)
class Hours:
    """Seconds of a quarter of an hour, or of more."""

    up: float = 0.0
    idle: float = 0.0  # of those, with nothing to do
    away: float = 0.0

    def __add__(self, other: Hours) -> Hours:
        return Hours(self.up + other.up, self.idle + other.idle, self.away + other.away)


def spread(passed: Passage, end: float, *, idle: bool) -> dict[int, Hours]:
    """The seconds by the quarter of an hour (its number since the epoch) that they fall into."""
    found: dict[int, Hours] = {}
    for quarter, seconds in _quarters(end - passed.up, end):
        found[quarter] = Hours(up=seconds, idle=seconds if idle else 0.0)
    for quarter, seconds in _quarters(passed.begin, passed.begin + passed.away):
        found[quarter] = found.get(quarter, Hours()) + Hours(away=seconds)
    return found


def _quarters(begin: float, end: float) -> Iterable[tuple[int, float]]:
    at = begin
    while at < end:
        quarter = int(at // QUARTER)
        until = min(end, float((quarter + 1) * QUARTER))
        yield quarter, until - at
        at = until


@dataclass(frozen=True, slots=True)
class PeriodHours:
    """What a period comes to."""

    period: Period
    hours: Hours = field(default_factory=Hours)


def by_period(quarters: Mapping[int, Hours], periods: Sequence[Period]) -> tuple[PeriodHours, ...]:
    """The sums of each period that has any, of periods in order; a quarter belongs to where it begins."""
    begins = [period.begin for period in periods]
    sums: dict[int, Hours] = {}
    for quarter, hours in quarters.items():
        at = bisect_right(begins, quarter * QUARTER) - 1
        if at >= 0 and quarter * QUARTER < periods[at].end:
            sums[at] = sums.get(at, Hours()) + hours
    return tuple(PeriodHours(periods[at], sums[at]) for at in sorted(sums) if sums[at] != Hours())
