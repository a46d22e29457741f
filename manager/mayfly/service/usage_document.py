"""What ``mayfly report --json`` prints, and what it is asked by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import TypeVar

from mayfly.core.quantities import moment, rfc3339
from mayfly.core.usage_report import By, Per, Period, Sums, Work, default_since, periods, usage
from mayfly.edge.time_zones import NAME_MAX, time_zone
from mayfly.service import parameters
from mayfly.service.parameters import BadRequest

SCHEMA = "mayfly.report/1"
QUERY = ("by", "per", "since", "until", "zone")
MOST = 1000  # periods of one report
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which report."""

    by: By
    per: Per
    zone: str
    since: float
    until: float
    periods: tuple[Period, ...]


def wanted(query: Mapping[str, str], now: float) -> Wanted:
    """What a query asks for; ``BadRequest`` where it cannot be meant."""
    by, per = _one_of(By, query.get("by"), "by"), _one_of(Per, query.get("per"), "per")
    name = parameters.text(query.get("zone"), "zone", NAME_MAX) or "UTC"
    zone = time_zone(name)
    if zone is None:
        raise BadRequest(
            f"zone: the manager's host knows no time zone {name!r}; write for example Europe/Berlin or UTC"
        )
    since = _moment(query.get("since"), "since", zone)
    until = _moment(query.get("until"), "until", zone)
    last = min(now, until) if until is not None else now
    first = since if since is not None else default_since(per, zone, last)
    if first > now:
        raise BadRequest("since is still to come")
    if first >= last:
        raise BadRequest("until must be after since")
    found = periods(per, zone, first, last)
    if len(found) > MOST:
        raise BadRequest(
            f"from since to until are {len(found)} {per}s, and a report has at most {MOST}: write a later "
            "since, or ask per month"
        )
    return Wanted(by, per, name, first, last, found)


def document(
    asked: Wanted, works: Callable[[float], Iterable[Work]], known_from: float | None
) -> dict[str, object]:
    """The whole document, of what ended since a moment."""
    found = usage(works(asked.since), asked.by, asked.periods)
    return {
        "schema": SCHEMA,
        "by": asked.by,
        "per": asked.per,
        "zone": asked.zone,
        "since": rfc3339(asked.since),
        "until": rfc3339(asked.until),
        "known_from": rfc3339(known_from) if known_from is not None else None,
        "rows": [
            {**_period(period), "name": name, **_sums(sums)} for period, name, sums in found.rows
        ],
        "totals": [{**_period(period), **_sums(sums)} for period, sums in found.totals],
    }


def _period(period: Period) -> dict[str, object]:
    return {"period": period.name, "begin": rfc3339(period.begin), "end": rfc3339(period.end)}


def _sums(sums: Sums) -> dict[str, object]:
    return {
        "jobs": sums.jobs,
        "seconds": round(sums.seconds, 3),
        "gpu_seconds": round(sums.gpu_seconds, 3),
        "waited": round(sums.waited, 3),
        "waits": sums.waits,
        "joules": round(sums.joules, 3),
        "unmeasured": sums.unmeasured,
    }


def _one_of(kind: type[Choice], given: str | None, key: str) -> Choice:
    words = [str(one) for one in kind]
    if given is None:
        return next(iter(kind))
    if given not in words:
        raise BadRequest(f"{key} must be one of {', '.join(words)}")
    return kind(given)


def _moment(given: str | None, key: str, zone: tzinfo) -> float | None:
    """An RFC 3339 time; one that names no zone, or a date, is of that zone."""
    text = parameters.text(given, key)
    if text is None:
        return None
    found = moment(text, zone)
    if found is None:
        raise BadRequest(
            f'{key} is not a time of the years 1970 to 9999; write for example "2026-11-21T09:30:00Z" '
            'or "2026-11-21"'
        )
    return found
