"""How long GPUs worked for whom, how long jobs waited, and how much energy they took, by week or month.

Pure. A job's time and energy are divided between the periods that it ran in, by their share of its time. It
is counted once, with its wait, in the period in which it ended. What people had without a job, held after
one or reserved for work outside of containers, is time of theirs, and no job. GPUs and MIG devices count
alike: an hour of either is a GPU-hour. A job whose person or repository is not known has a row, too, without
a name.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise

from mayfly.core.quantities import day_of

WEEKS, MONTHS = 4, 5  # that are shown before this one where nobody says since when


class By(StrEnum):
    """What a row is of."""

    PERSON = "person"
    REPOSITORY = "repository"
    POOL = "pool"
    GPU = "gpu"


class Per(StrEnum):
    """How long a period is."""

    WEEK = "week"  # from Monday on
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Work:
    """One run of a job."""

    pool: str
    began: float
    ended: float
    person: str | None = None  # None: not known
    repository: str | None = None  # None: it is of none, or not known
    waited: float | None = None  # seconds in the queue; None: not known
    devices: tuple[str, ...] = ()  # by UUID
    # Joules of each device that the job alone had, as far as they were measured.
    energy: Mapping[str, float] = field(default_factory=dict)
    measured: bool = True  # the energy of each device is known for all of the time
    job: bool = True  # False: a person had the devices, held after a job or reserved, and ran none

    def names(self, by: By) -> tuple[str | None, ...]:
        """The rows that it belongs to."""
        match by:
            case By.PERSON:
                return (self.person,)
            case By.REPOSITORY:
                return (self.repository,)
            case By.POOL:
                return (self.pool,)
            case By.GPU:
                return self.devices or (None,)


@dataclass(frozen=True, slots=True)
class Period:
    """A week or month, in seconds since the epoch."""

    name: str  # 2026-W48, 2026-11
    begin: float
    end: float


@dataclass(slots=True)
class Sums:
    """What jobs come to; changed by whoever adds them up, and by nobody after."""

    jobs: int = 0
    seconds: float = 0.0  # that jobs ran, or people had GPUs without one
    gpu_seconds: float = 0.0
    waited: float = 0.0  # seconds
    waits: int = 0  # jobs whose wait is known
    joules: float = 0.0
    unmeasured: int = 0  # jobs with GPUs whose energy is not known, or not all of it

    def add(self, work: Work, period: Period, devices: Sequence[str]) -> None:
        """A job's share of a period, as far as it had those devices."""
        own = max(0.0, min(work.ended, period.end) - max(work.began, period.begin))
        lasted = work.ended - work.began
        share = own / lasted if lasted > 0 else 1.0
        self.seconds += own
        self.gpu_seconds += own * len(devices)
        self.joules += sum(work.energy.get(device, 0.0) for device in devices) * share
        if work.job and period.begin <= work.ended < period.end:
            self.jobs += 1
            self.unmeasured += bool(devices) and not work.measured
            if work.waited is not None:
                self.waited += work.waited
                self.waits += 1


@dataclass(frozen=True, slots=True)
class Usage:
    """A report."""

    rows: tuple[tuple[Period, str | None, Sums], ...]  # by period, whoever had most first
    totals: tuple[tuple[Period, Sums], ...]  # each job once, whatever the rows are of


def usage(works: Iterable[Work], by: By, periods: Sequence[Period]) -> Usage:
    """What these jobs come to in each of these periods, which follow one another."""
    rows: dict[tuple[int, str | None], Sums] = {}
    totals: dict[int, Sums] = {}
    begins = [period.begin for period in periods]
    for work in works:
        if not periods or work.ended < begins[0]:
            continue
        first = max(0, bisect_right(begins, work.began) - 1)
        for number in range(first, len(periods)):
            period = periods[number]
            if period.begin > work.ended:
                break
            if period.end <= work.began:
                continue
            totals.setdefault(number, Sums()).add(work, period, work.devices)
            for name in work.names(by):
                devices = work.devices if by is not By.GPU else [name] if name is not None else []
                rows.setdefault((number, name), Sums()).add(work, period, devices)
    ordered = sorted(rows.items(), key=_order)
    return Usage(
        tuple((periods[number], name, sums) for (number, name), sums in ordered),
        tuple((periods[number], totals[number]) for number in sorted(totals)),
    )


def _order(row: tuple[tuple[int, str | None], Sums]) -> tuple[int, float, float, str]:
    (number, name), sums = row
    return number, -sums.gpu_seconds, -sums.seconds, name or ""


def periods(per: Per, zone: tzinfo, since: float, until: float) -> tuple[Period, ...]:
    """The weeks or months of that time zone between the two; the first and the last may be cut."""
    if until <= since:
        return ()
    day = _first_day(per, day_of(since, zone))
    begins: list[date] = [day]
    while _at(begins[-1], zone) < until:
        begins.append(_next(per, begins[-1]))
    return tuple(
        Period(_name(per, day), max(since, _at(day, zone)), min(until, _at(after, zone)))
        for day, after in pairwise(begins)
        if _at(after, zone) > since
    )


def default_since(per: Per, zone: tzinfo, now: float) -> float:
    """The begin of some periods before the one of now."""
    return begin_of_last(1 + (WEEKS if per is Per.WEEK else MONTHS), per, zone, now)


def begin_of_last(count: int, per: Per, zone: tzinfo, now: float) -> float:
    """The begin of the last so many periods, of which that of now is one."""
    day = _first_day(per, day_of(now, zone))
    for _ in range(count - 1):
        day = _first_day(per, day - timedelta(days=1))
    return _at(day, zone)


def _first_day(per: Per, day: date) -> date:
    return day - timedelta(days=day.weekday()) if per is Per.WEEK else day.replace(day=1)


def _next(per: Per, first: date) -> date:
    if per is Per.WEEK:
        return first + timedelta(days=7)
    return (first + timedelta(days=31)).replace(day=1)


def _at(day: date, zone: tzinfo) -> float:
    """When the day begins there."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _name(per: Per, first: date) -> str:
    if per is Per.MONTH:
        return f"{first.year}-{first.month:02d}"
    year, week, _ = first.isocalendar()
    return f"{year}-W{week:02d}"
