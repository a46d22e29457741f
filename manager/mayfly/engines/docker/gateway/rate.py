"""How many requests one agent may make in a second: who makes more waits, and nobody else does."""

from __future__ import annotations

import time
from collections.abc import Callable


class Rate:
    """``each_second`` requests in the long run, and as many at once."""

    def __init__(self, each_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = 1.0 / each_second
        self._burst = 1.0  # seconds' worth that may be had at once
        self._clock = clock
        self._free_at = (
            clock() - self._burst
        )  # when all that was asked for would have been had, one by one

    def wait(self) -> float:
        """Seconds that the next request has to wait for its turn, which is taken by this."""
        now = self._clock()
        self._free_at = max(self._free_at, now - self._burst) + self._each
        return max(0.0, self._free_at - now)

    def charge(self, requests: float) -> None:
        """What was done for one was as much as so many more: those that follow wait for it."""
        self._free_at = max(self._free_at, self._clock() - self._burst) + self._each * requests
