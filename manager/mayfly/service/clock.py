"""The one place where the clock is read.

The wall clock may jump: set by hand, corrected after a boot without a battery, moved by a virtual machine's
host. Ages and limits must not jump with it, so this file notices a jump and reports it, and whoever
remembers times moves them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# seconds between wall and steady clock that count as a jump; less is a clock being slewed
JUMP = 2.0


class Clock:
    """The wall clock, watched against the steady one; used by the loop's thread alone."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._ahead = wall() - steady()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._wall()

    def steady(self) -> float:
        """Seconds on the clock that never jumps; only differences mean something."""
        return self._steady()

    def jumped(self) -> float:
        """By how many seconds the wall clock has jumped since the last call; 0.0 where it has not."""
        ahead = self._wall() - self._steady()
        by = ahead - self._ahead
        self._ahead = ahead
        return by if abs(by) > JUMP else 0.0
