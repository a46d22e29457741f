"""Looking again and again at what is soon to be so, without keeping busy who is asked.

For moments alone: what may take longer is an event's or the loop's to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mayfly.core.doubling import doubling

MOST = 0.3  # seconds between two looks


def comes_true(look: Callable[[], bool], *, within: float, first: float) -> bool:
    """Whether ``look`` is true within so many seconds; ``first`` seconds after the first look, then after
    twice as long each time, up to ``MOST``. It is asked at least once.
    """
    last = time.monotonic() + within
    looks = 1
    while not look():
        if time.monotonic() > last:
            return False
        time.sleep(doubling(first, MOST, looks))
        looks += 1
    return True
