"""What ``mayfly idle --json`` prints, and what ``mayfly report`` says of the host's hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mayfly.core.host_hours import Hours, PeriodHours, by_period
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.quantities import rfc3339
from mayfly.service.usage_document import Wanted

SCHEMA = "mayfly.idle/1"
HOUR = 3600.0


def unconfigured() -> dict[str, object]:
    """The document of a host about which nothing is done when it is idle."""
    return {"schema": SCHEMA, "configured": False}


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
