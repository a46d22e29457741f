"""How fast the output of agents is read that print more than a manager can carry for all.

A pod cannot be frozen, as a container is on a box (core/throttle.py). But its node keeps of its log what fits
(`containerLogMaxSize`), so it costs nobody anything there to be read slowly: the same allowance is kept by
whoever reads, and what the node throws away meanwhile is told where it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mayfly.core.throttle import FULL_RATE, LONGEST, OUTPUT, weight


class OutputBrake:
    """The allowances of all slots; each is asked by the one thread that reads its agent's output.

    A slot's next agent takes over what the last one owes, so that many short jobs get no more than a long
    one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._owed: dict[str, tuple[float, float]] = {}  # of a slot, in bytes, and as of when
        self._waiting: set[str] = set()  # slots that have none left

    def read(self, slot: str, lines: int, size: int) -> float:
        """So much more was read of it; seconds for which no more is to be (0: none)."""
        now = self._clock()
        owed, at = self._owed.get(slot, (0.0, now))
        # Of more than two that flood all counts for more: what they do together is bounded.
        dear = max(1.0, len(self._waiting | {slot}) / FULL_RATE)
        owed = max(0.0, owed - OUTPUT.rate * max(0.0, now - at)) + weight(lines, size) * dear
        self._owed[slot] = owed, now
        if owed <= OUTPUT.burst:
            self._waiting.discard(slot)
            return 0.0
        self._waiting.add(slot)
        return min(LONGEST, (owed - OUTPUT.burst + OUTPUT.room) / OUTPUT.rate)

    def forget(self, slot: str) -> None:
        """Nobody reads of it now."""
        self._waiting.discard(slot)
        now = self._clock()
        for name, (owed, at) in tuple(self._owed.items()):
            if owed <= OUTPUT.rate * (now - at):
                self._owed.pop(name, None)
