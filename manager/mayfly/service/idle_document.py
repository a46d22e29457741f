"""What ``mayfly idle --json`` prints, and what ``mayfly report`` says of the host's hours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mayfly.core.host_hours import Hours, Moment, Passage, PeriodHours, by_period
from mayfly.core.idle_episodes import Asked, Seen, Watch
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.idleness import Reason
from mayfly.core.quantities import rfc3339
from mayfly.service.usage_document import Wanted

SCHEMA = "mayfly.idle/1"
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Known:
    """What was known at the last look, for whoever asks."""

    watch: Watch
    seen: Seen
    at: Moment
    asked: Asked | None = None
    # the last time that the host was away, as far as this manager knows
    away: Passage | None = None
    hours: Hours = Hours()  # noqa: RUF009  frozen; since this manager started


def unconfigured() -> dict[str, object]:
    """The document of a host about which nothing is done when it is idle."""
    return {"schema": SCHEMA, "configured": False}


def configured(
    settings: IdleSettings,
    known: Known | None,
    logins: Callable[[IdleSettings], Iterable[Reason]],
) -> dict[str, object]:
    """The document of one about which something is; ``known``: ``None`` before the first look. Asks for
    ``logins``, which takes time.
    """
    told = {"schema": SCHEMA, "configured": True, "after": settings.after, "by": settings.way}
    if known is None:
        return {**told, "stage": None}
    watch, at, asked = known.watch, known.at, known.asked

    def wall(steady: float | None) -> str | None:
        return None if steady is None else rfc3339(at.wall - at.awake + steady)

    away = known.away
    found = [*logins(settings)]
    found += [one for one in (asked.vetoes if asked is not None else ()) if one not in found]
    return {
        **told,
        "stage": watch.stage,
        "idle_since": wall(watch.since),
        "idle_seconds": round(at.awake - watch.since, 3) if watch.since is not None else None,
        "due": wall(watch.due(settings)),
        "reasons": [_told(one) for one in known.seen.reasons],
        "vetoes": [_told(one) for one in found],
        "asked": wall(asked.at) if asked is not None else None,
        "still_open": known.seen.still_open or None,
        "failure": watch.failure or None,
        "tries": watch.tries,
        "stayed": watch.spent,
        "why": watch.why or None,
        "away": None
        if away is None
        else {"since": rfc3339(away.begin), "seconds": round(away.away, 3), "how": away.how},
    }


def _told(reason: Reason) -> dict[str, str]:
    return {"kind": reason.kind, "text": reason.text}


class IdleHost(Protocol):
    """Who knows: the idle keeper."""

    @property
    def settings(self) -> IdleSettings | None:
        """``None``: nothing is done about an idle host."""

    def document(self) -> Mapping[str, object]:
        """How it stands now."""

    def hours(self, since: float, until: float) -> dict[int, Hours]:
        """By the quarter of an hour."""


def hours(idle: IdleHost | None, asked: Wanted) -> dict[str, object] | None:
    """The host's hours in each period of a report; ``None``: nobody counts them."""
    settings = idle.settings if idle is not None else None
    if idle is None or settings is None:
        return None
    found = by_period(idle.hours(asked.since, asked.until), asked.periods)
    return {
        "price_per_hour": settings.price_per_hour,
        "currency": settings.currency,
        "rows": [_row(one, settings.price_per_hour) for one in found],
    }


def _row(one: PeriodHours, price: float | None) -> dict[str, object]:
    sums = one.hours
    return {
        "period": one.period.name,
        "begin": rfc3339(one.period.begin),
        "end": rfc3339(one.period.end),
        "up": round(sums.up, 3),
        "idle": round(sums.idle, 3),
        "away": round(sums.away, 3),
        "amount": round(sums.up / HOUR * price, 2) if price is not None else None,
        "idle_amount": round(sums.idle / HOUR * price, 2) if price is not None else None,
    }
