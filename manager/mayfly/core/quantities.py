"""Sizes, durations and times as people write them, and as JSON carries them.

One place decides what ``"8GiB"``, ``"30m"`` and ``"2026-11-21T09:30:00Z"`` mean, so that a
configuration key, a flag and a socket parameter cannot disagree. Nothing here reads a clock.
By hand, since no library is kept up that reads what it writes and knows bounds.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, tzinfo

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b?)", re.IGNORECASE)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_BYTES = 2**62
_MAX_SECONDS = 100 * 365 * 86400.0
_LONGEST = 9999 * 86400.0  # that is spoken of
_MOST = 2**64
LATEST = 253402300799.0  # 9999-12-31T23:59:59Z, the last second of the standard library's calendar
NOBODY_AT_ALL = 2**32 - 1  # of users, the kernel's word for "none"
_MIB, _GIB = 1024**2, 1024**3
_DIGITS = re.compile(r"[0-9]{1,18}")


def parse_size(text: str) -> int:
    """The bytes of ``"8GiB"``, ``"10GB"``, ``"512m"`` or ``"4096"``; ``ValueError`` otherwise.

    ``GiB`` and a bare ``G`` are powers of 1024, as Docker reads them; ``GB`` is a power of 1000.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError('is not a size; write for example "8GiB", "512MiB" or "10GB"')
    unit = match[2].lower()
    base = 1000 if unit.endswith("b") and "i" not in unit and unit != "b" else 1024
    amount = float(match[1]) * float(base ** _POWERS[unit.rstrip("b").rstrip("i")])
    if amount > _MAX_BYTES:
        raise ValueError("is larger than any disk")
    return int(amount)


def parse_duration(text: str) -> float:
    """The seconds of ``"90"``, ``"90s"``, ``"30m"``, ``"1h30m"`` or ``"2d"``; else ``ValueError``."""
    bare = text.strip()
    if _NUMBER.fullmatch(bare):
        return _bounded(float(bare))
    parts = _DURATION_PART.findall(bare)
    if not parts or _DURATION_PART.sub("", bare).strip():
        raise ValueError('is not a duration; write for example "90s", "30m" or "2h"')
    return _bounded(sum(float(amount) * _SECONDS[unit.lower()] for amount, unit in parts))


def _bounded(seconds: float) -> float:
    if not math.isfinite(seconds) or seconds > _MAX_SECONDS:
        raise ValueError("is longer than a hundred years")
    return seconds


def whole_number(text: str) -> int | None:
    """The number that somebody outside has written, from 0; ``None``: it is none, or has more than 18 digits.

    (``str.isdigit`` takes digits that ``int`` does not, and ``int`` no text that is long.)
    """
    return int(text) if _DIGITS.fullmatch(text) else None


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC with milliseconds.

    Total: what no calendar has (``in_calendar``) is its nearest end, and what is no number its begin. Whoever
    shows a time must not fail at one that a stranger gave, or that an older Mayfly wrote.
    """
    at = min(max(0.0, seconds), LATEST) if seconds == seconds else 0.0  # noqa: PLR0124  not a number
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def number(value: object) -> float | None:
    """The number that somebody outside has given; ``None``: it is none, or of more than 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_MOST <= value <= _MOST else None


def in_calendar(seconds: float) -> float | None:
    """The seconds since the epoch, where they are of the years 1970 to 9999 in UTC; ``None``: they are not.

    (Outside of them, and of "not a number", the standard library's calendar raises.)
    """
    return float(seconds) if 0 <= seconds <= LATEST else None


def moment(value: object, zone: tzinfo = UTC) -> float | None:
    """Seconds since the epoch of an RFC 3339 time or a date (of that zone) from outside; ``None`` where it is
    none.
    """
    if not isinstance(value, str):
        return None
    try:
        return epoch(datetime.fromisoformat(value.strip()), zone)
    except (ValueError, OverflowError):
        return None


def epoch(at: datetime, zone: tzinfo = UTC) -> float | None:
    """Seconds since the epoch (of that zone where it says none); ``None`` of what ``in_calendar`` refuses."""
    try:
        return in_calendar((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp())
    except (ValueError, OverflowError):
        return None


def minute_of(seconds: float, now: float, zone: tzinfo | None) -> str:
    """A moment for people of that zone (``None``: of this process's), to the minute: of today by the clock
    alone, else with its day; total, as ``rfc3339`` is.
    """
    there, here = (
        datetime.fromtimestamp(min(max(86400.0, at), LATEST - 86400.0), zone)
        for at in (seconds, now)
    )
    return there.strftime("%H:%M" if there.date() == here.date() else "%Y-%m-%d %H:%M")


def day_of(seconds: float, zone: tzinfo) -> date:
    """The day in that zone; total, as ``rfc3339`` is."""
    at = min(max(86400.0, seconds), LATEST - 86400.0)
    return datetime.fromtimestamp(at, zone).date()


def time_of_day(seconds: float, *, day: bool = False) -> str:
    """``14:05`` as this process's clocks show it then, also after a change to or from summer time; behind the
    ``day`` of the week where that is wanted; total, as ``rfc3339``.
    """
    at = min(max(86400.0, seconds), LATEST - 86400.0)
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%a %H:%M" if day else "%H:%M")


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time or a date (UTC); else ``ValueError``."""
    seconds = moment(text)
    if seconds is None:
        raise ValueError(
            'is not a time of the years 1970 to 9999; write for example "2026-11-21T09:30:00Z"'
        )
    return seconds


def spoken_age(seconds: float) -> str:
    """A duration in at most five characters: ``4s``, ``12m``, ``3h05``, ``2d``; total, ``9999d`` at most."""
    whole = int(min(seconds, _LONGEST)) if seconds > 0 else 0
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours}h{minutes:02d}"
    return f"{whole // 86400}d"


def spoken_size(size: int) -> str:
    """Bytes with one unit, as ``parse_size`` reads them back when they are round: ``8GiB``."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:g}{unit}" if amount == int(amount) else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:g}TiB" if amount == int(amount) else f"{amount:.1f}TiB"


def rounded_size(size: int) -> str:
    """The same in whole MiB below a GiB, and with one digit behind the point above."""
    return spoken_size(size // _MIB * _MIB if size < _GIB else round(size / _GIB * 10) * _GIB // 10)


def written_size(size: int) -> str | int:
    """Bytes as a file has them: ``8GiB`` where they are so many exactly, else the number."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return size


def written_duration(seconds: float) -> str | float:
    """Seconds as a file has them: ``6h``, ``1h30m``, ``90s``; the number where not whole, or none."""
    if not seconds or seconds != int(seconds):
        return seconds
    left, parts = int(seconds), ""
    for unit in "dhm":
        size = int(_SECONDS[unit])
        if left >= size:
            parts += f"{left // size}{unit}"
            left %= size
    return parts + (f"{left}s" if left else "")
