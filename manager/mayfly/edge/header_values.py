"""What the headers of a service's answer say in numbers and dates, all bounded; ``None`` of what is neither.

The words are a stranger's. Nothing here raises, and nothing that it returns is endless or no number.
Sources: RFC 9110 (``Date``, ``Retry-After``), draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from mayfly.core.quantities import epoch, number


def remaining(headers: Mapping[str, str]) -> float | None:
    """How many calls the service still allows."""
    for name in ("X-RateLimit-Remaining", "RateLimit-Remaining"):
        value = number_of(headers.get(name))
        if value is not None:
            return value
    return None


def until_reset(headers: Mapping[str, str], server_now: float) -> float | None:
    """Seconds until it allows more, 1 at least."""
    for name in ("X-RateLimit-Reset", "RateLimit-Reset"):
        value = number_of(headers.get(name))
        if value is not None:
            return max(1.0, value - server_now if value > 1e9 else value)
    return None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds for which the service wants to be left alone, 1 at least."""
    told = headers.get("Retry-After")
    seconds = number_of(told)
    if seconds is None:
        date = date_of(told)
        seconds = date - now if date is not None else None
    return max(1.0, seconds) if seconds is not None else None


def number_of(value: str | None) -> float | None:
    """The number that a header has."""
    try:
        return number(float(value)) if value is not None else None
    except ValueError:
        return None


def date_of(value: str | None) -> float | None:
    """Seconds since the epoch of the date that a header has."""
    try:
        return epoch(parsedate_to_datetime(value)) if value else None
    except (TypeError, ValueError, OverflowError):
        return None
