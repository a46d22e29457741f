"""How much of a pool each person had reserved in the last seven days, and what that leaves them.

Pure. What was had is remembered by the hour: GPU-seconds by when the hour began, of seven days and no more,
so that however many reservations somebody makes, little is kept of them. What is reserved now or booked
counts as it stands in the calendar. No seven days, wherever they begin, may have more than the pool allows a
person. See ADR 0065.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mayfly.core.model import PoolName
from mayfly.core.quantities import written_duration
from mayfly.core.reservations import Reservation, clock

HOUR = 3600.0
WEEK = 7 * 24 * HOUR
NEARLY = 1.0  # GPU-seconds too many that are none
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


def most(found: Sequence[Span], start: float, end: float) -> float:
    """GPU-seconds in those seven days that have most, of all that have a part of that time."""
    begins = {end - WEEK, start}
    for one in found:
        begins |= {one.start, one.end - WEEK}
    return max(
        sum(one.within(begin, begin + WEEK) for one in found)
        for begin in begins
        if start - WEEK <= begin <= end
    )


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
    then = _first(limit, found, start, end, wanted.gpus) if more is None else None
    later = f", and as much as this from {clock(then)} on" if then is not None else ""
    return (
        f"{wanted.owner} may reserve {allowed} in pool {wanted.pool}: {minutes} is left from "
        f"{clock(start)} on{later}"
    )


def _fits(limit: float, found: Sequence[Span], start: float, end: float, gpus: int) -> bool:
    return most([*found, Span(start, end, gpus)], start, end) <= limit + NEARLY


def _first(
    limit: float, found: Sequence[Span], start: float, end: float, gpus: int
) -> float | None:
    """The first moment after that at which it would fit, to the minute, as far as can be told now."""
    lasts = end - start
    edges = {
        edge + WEEK - lasts * part
        for one in found
        for edge in (one.start, one.end)
        for part in (0, 1)
    }
    edges |= {one.end for one in found}
    for then in sorted(edge for edge in edges if edge > start):
        if _fits(limit, found, then, then + lasts, gpus):
            return then
    return None


def rests(whose: Whose, had: AllHad, known: Iterable[Reservation], now: float) -> bool:
    """Whether they have one there now, or had until just now: others have their turn before the next."""
    last = had.get(whose)
    if last is not None and now - REST < last.ended <= now:
        return True
    return any((one.pool, one.uid) == whose and one.began is not None for one in known)
