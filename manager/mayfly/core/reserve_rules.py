"""How much of a pool people may reserve for themselves: the table ``[pool.reserve]``, checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReserveRules:
    """What bounds reservations in a pool."""

    longest: float = 8 * 3600.0  # seconds of one, also of one that is extended, from that moment on
    ahead: float = 14 * 24 * 3600.0  # seconds from now until one begins, at the most
    per_person: int = 2  # that one person may have at once, begun or not
    at_once: int | None = None  # slots that are reserved at any moment; None: all of them
    # GPU-seconds that one person may have reserved in any seven days; 0: as many as they like
    per_week: float = 40 * 3600.0
    # seconds without use after which one is given back; 0: never
    idle: float = 3600.0
    # seconds before one begins in which no job begins where it is to be
    clear: float = 0.0
