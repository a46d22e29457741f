"""Looking again and again at what is soon to be so, without keeping busy who is asked.

For moments alone: what may take longer is an event's or the loop's to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from mayfly.core.doubling import doubling

T = TypeVar("T")
MOST = 0.3  # seconds between two looks


def comes_true(look: Callable[[], bool], *, within: float, first: float) -> bool:
    """Whether ``look`` is true within so many seconds; ``first`` seconds after the first look, then after
    twice as long each time, up to ``MOST``. It is asked at least once.
    """
    return known(lambda: look() or None, within=within, first=first) is not None


def known(look: Callable[[], T | None], *, within: float, first: float) -> T | None:
    """What ``look`` says within so many seconds, if anything by then; it is asked as by ``comes_true``."""
    last = time.monotonic() + within
    looks = 1
    while (found := look()) is None and time.monotonic() <= last:
        time.sleep(doubling(first, MOST, looks))
        looks += 1
    return found
