"""How long to wait before what failed is tried again: twice as long each time, up to a bound."""

from __future__ import annotations

ENOUGH = 16  # doublings after which any bound is reached


def doubling(first: float, most: float, times: int) -> float:
    """Seconds after so many failures in a row (1 or more): ``first``, doubled each time, ``most`` at most."""
    return min(most, first * 2.0 ** min(times - 1, ENOUGH))
