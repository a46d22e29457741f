"""How much of a pool each person had reserved in the last seven days, and what that leaves them.

Pure. What was had is remembered by the hour: GPU-seconds by when the hour began, of seven days and no more,
so that however many reservations somebody makes, little is kept of them. What is reserved now or booked
counts as it stands in the calendar. No seven days, wherever they begin, may have more than the pool allows a
person. See ADR 0065.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from mayfly.core.model import PoolName
from mayfly.core.quantities import written_duration
from mayfly.core.reservations import Reservation, clock

HOUR = 3600.0
WEEK = 7 * 24 * HOUR
NEARLY = 1.0  # GPU-seconds too many that are none
TRIES = 300  # moments at which it is looked whether a reservation would fit, at the most
REST = HOUR  # seconds after one in which a person's next one takes its turn


@dataclass(frozen=True, slots=True)
class Had:
    """What a person has had reserved of a pool."""

    ended: float  # when the last one did
    hours: tuple[tuple[float, float], ...] = ()  # when each hour began, and GPU-seconds in it


Whose = tuple[PoolName, int]  # a pool and a uid
AllHad = Mapping[Whose, Had]


@dataclass(frozen=True, slots=True)
class Span:
    """GPUs that a person has from then to then."""

    start: float
    end: float
    gpus: float

    def within(self, start: float, end: float) -> float:
        """GPU-seconds of it between the two."""
        return max(0.0, min(self.end, end) - max(self.start, start)) * self.gpus


def with_ended(had: Had | None, one: Reservation, now: float) -> Had:
    """What its owner has had with that reservation, which ends now."""
    assert one.began is not None
    hours = dict(had.hours) if had is not None else {}
    at, end = one.began, max(one.began, now)
    while at < end:
        hour = at - at % HOUR
        until = min(end, hour + HOUR)
        hours[hour] = hours.get(hour, 0.0) + (until - at) * one.gpus
        at = until
    kept = sorted((hour, used) for hour, used in hours.items() if hour + HOUR > now - WEEK)
    return Had(end, tuple(kept))


def moved(had: Had, by: float) -> Had:
    """The same, with the clock set by so many seconds."""
    hours = tuple((hour + by, used) for hour, used in had.hours)
    return replace(had, ended=had.ended + by, hours=hours)


def spans(whose: Whose, had: AllHad, known: Iterable[Reservation], now: float) -> list[Span]:
    """All that a person had, has and is to have in a pool."""
    found = [
        Span(hour, hour + HOUR, used / HOUR)
        for hour, used in (had[whose].hours if whose in had else ())
    ]
    for one in known:
        if (one.pool, one.uid) == whose:
            start = max(one.start, now) if one.began is None else one.began
            found.append(Span(start, one.end(now), one.gpus))
    return found


class _Used:
    """What somebody has over time: GPU-seconds until any moment, found by halves. A refusal is asked of the
    one thread that changes anything, as often as somebody likes.
    """

    def __init__(self, found: Sequence[Span]) -> None:
        steps: dict[float, float] = {}
        for one in found:
            steps[one.start] = steps.get(one.start, 0.0) + one.gpus
            steps[one.end] = steps.get(one.end, 0.0) - one.gpus
        self._moments = sorted(steps)
        self._gpus: list[float] = []  # from each moment to the next
        self._until: list[float] = []  # GPU-seconds until each moment
        gpus = used = 0.0
        last = self._moments[0] if self._moments else 0.0
        for moment in self._moments:
            used += gpus * (moment - last)
            gpus += steps[moment]
            last = moment
            self._gpus.append(gpus)
            self._until.append(used)
        # Of all windows those that have most begin with a span, or end with one.
        begins = {one.start for one in found} | {one.end - WEEK for one in found}
        self._begins = sorted(begins)

    def until(self, moment: float) -> float:
        at = bisect_right(self._moments, moment) - 1
        if at < 0:
            return 0.0
        return self._until[at] + self._gpus[at] * (moment - self._moments[at])

    def week(self, begin: float) -> float:
        """GPU-seconds in the seven days that begin then."""
        return self.until(begin + WEEK) - self.until(begin)

    def begins(self, start: float, end: float) -> Iterator[float]:
        """When those seven days begin that can have most, of all that have a part of that time."""
        yield start
        yield end - WEEK
        after = bisect_right(self._begins, start - WEEK)
        yield from self._begins[after : bisect_left(self._begins, end)]


def most(found: Sequence[Span], start: float, end: float) -> float:
    """GPU-seconds in those seven days that have most, of all that have a part of that time."""
    used = _Used(found)
    return max(used.week(begin) for begin in used.begins(start, end))


def too_much(
    limit: float, wanted: Reservation, found: Sequence[Span], now: float, more: float | None = None
) -> str | None:
    """Why a person may not have that as well; ``None``: they may. ``found``: what they have without it;
    ``more``: the seconds by which it is to be longer, where it is reserved already.
    """
    end = wanted.end(now) if more is None else wanted.ends + more
    start = wanted.since if more is None else wanted.ends
    if limit <= 0 or _fits(limit, found, start, end, wanted.gpus):
        return None
    allowed = f"{written_duration(round(limit))} of GPUs in seven days (reserve.per_week)"
    if (end - start) * wanted.gpus > limit + NEARLY:
        return f"a person may reserve {allowed} in pool {wanted.pool}, and this is more"
    left = max(0.0, limit - most(found, start, end))
    minutes = written_duration(int(left // 60) * 60) if left >= 60.0 else "nothing"
    then = room_from(limit, found, start, end, wanted.gpus) if more is None else None
    later = f", and as much as this from {clock(then)} on" if then is not None else ""
    return (
        f"{wanted.owner} may reserve {allowed} in pool {wanted.pool}: {minutes} is left from "
        f"{clock(start)} on{later}"
    )


def _fits(limit: float, found: Sequence[Span], start: float, end: float, gpus: int) -> bool:
    return most([*found, Span(start, end, gpus)], start, end) <= limit + NEARLY


def room_from(
    limit: float, found: Sequence[Span], start: float, end: float, gpus: int
) -> float | None:
    """The first moment from then on at which it would fit, to the minute, as far as can be told now;
    ``None``: it was not found.
    """
    used, lasts, then = _Used(found), end - start, start
    for _ in range(TRIES):
        later = then
        for begin in used.begins(then, then + lasts):
            had = used.week(begin)
            own = Span(then, then + lasts, gpus).within(begin, begin + WEEK)
            if had + own > limit + NEARLY:
                # Nothing that begins sooner has less of these seven days than there is room for in them.
                room = max(0.0, limit - had) / gpus
                later = max(later, begin + WEEK - room)
        if later <= then:
            return then
        then = ceil(later / 60.0) * 60.0
    return None


def rests(whose: Whose, had: AllHad, known: Iterable[Reservation], now: float) -> bool:
    """Whether they have one there now, or had until just now: others have their turn before the next."""
    last = had.get(whose)
    if last is not None and now - REST < last.ended <= now:
        return True
    return any((one.pool, one.uid) == whose and one.began is not None for one in known)
