"""The end of a token, told a month, a fortnight and three days ahead.

Pure. When a pool's ends is what the service says, or what its ``token_expires`` says where that says nothing;
when that of the manager at its engine ends, the token says itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from mayfly.core.model import Condition, PoolName, Severity
from mayfly.core.quantities import rfc3339

DAY = 86400.0
# Days ahead, and how much it matters then.
TOLD = ((3.0, Severity.ERROR), (14.0, Severity.WARNING), (30.0, Severity.INFO))


def end_of(day: str) -> float:
    """The first moment after that day (YYYY-MM-DD), in UTC."""
    midnight = datetime.combine(date.fromisoformat(day), time(), UTC)
    return midnight.timestamp() + DAY


@dataclass(frozen=True, slots=True)
class Credential:
    """By which an engine knows who the manager is."""

    place: str  # where it stands
    end: float  # seconds since the epoch
    fix: str  # what a person types for another
    renewed: bool = False  # somebody else sees to that, in time


def token_conditions(ends: Mapping[PoolName, float], now: float) -> list[Condition]:
    """A condition for each pool whose token ends soon, or has ended."""
    found = []
    for pool, end in ends.items():
        severity = severity_of(end, now)
        if severity is None:
            continue
        text = f"the token of pool {pool} {told_of(end, now)}"
        if end <= now:
            text += ": its service refuses what Mayfly asks"
        fix = (
            "# at the service: make a new token, and write it where `token` points; then: sudo systemctl "
            "restart mayfly, which costs no job"
        )
        found.append(Condition("token.ends", severity, text, fix, pool))
    return found


def credential_conditions(one: Credential | None, now: float) -> list[Condition]:
    """A condition where what the engine knows the manager by ends soon, or has ended."""
    severity = severity_of(one.end, now) if one is not None else None
    if one is None or severity is None or (one.renewed and one.end > now):
        return []
    text = f"the token in {one.place} {told_of(one.end, now)}"
    if one.end <= now:
        text += ": the cluster refuses what Mayfly asks"
    return [Condition("engine.token_ends", severity, text, one.fix)]


def severity_of(end: float, now: float) -> Severity | None:
    """How much it matters now that a token ends then; ``None``: not yet."""
    left = (end - now) / DAY
    return next((one for days, one in TOLD if left <= days), None)


def told_of(end: float, now: float) -> str:
    """That it ends, and when."""
    written = rfc3339(end)
    day, left = f"{written[:10]} {written[11:16]} UTC", int((end - now) / DAY)
    if end <= now:
        return f"has ended ({day})"
    days = "less than a day" if left < 1 else "1 day" if left == 1 else f"{left} days"
    return f"ends in {days} ({day})"
