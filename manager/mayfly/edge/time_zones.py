"""Time zones by name, as this host has them."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NAME_MAX = 64


def time_zone(name: str) -> tzinfo | None:
    """The zone of that name (``UTC``, ``Europe/Berlin``); ``None`` where this host has none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name[:NAME_MAX])
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of them is no zone
        return None
