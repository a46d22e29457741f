"""The end of a pool's token, told a month, a fortnight and three days ahead.

Pure. When it ends is what the service says, or what the pool's ``token_expires`` says where it says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def token_conditions(ends: Mapping[PoolName, float], now: float) -> list[Condition]:
    """A condition for each pool whose token ends soon, or has ended."""
    found = []
    for pool, end in ends.items():
        left = (end - now) / DAY
        severity = next((one for days, one in TOLD if left <= days), None)
        if severity is None:
            continue
        written = rfc3339(end)
        day = f"{written[:10]} {written[11:16]} UTC"
        if left <= 0:
            text = (
                f"the token of pool {pool} has ended ({day}): its service refuses what Mayfly asks"
            )
        else:
            days = "1 day" if int(left) == 1 else f"{int(left)} days"
            text = f"the token of pool {pool} ends in {days if left >= 1 else 'less than a day'} ({day})"
        fix = "# at the service: make a new token, and write it where `token` points; then: mayfly reload"
        found.append(Condition("token.ends", severity, text, fix, pool))
    return found
