"""Counts what an agent prints, and says so as soon as it is much; whoever prints little is never heard of."""

from __future__ import annotations

from collections.abc import Callable

from mayfly.core.model import Generation
from mayfly.core.throttle import MIB, weight

EACH = MIB  # of weight


class OutputMeter:
    """Of one agent; ``tell(generation, lines, bytes)`` hears of what came since the last time."""

    def __init__(
        self, generation: Generation, tell: Callable[[Generation, int, int], None]
    ) -> None:
        self._generation = generation
        self._tell = tell
        self._lines = 0
        self._size = 0

    def add(self, lines: int, size: int) -> bool:
        """Some more has come; whether that was much, together with what came before."""
        self._lines += lines
        self._size += size
        if weight(self._lines, self._size) < EACH:
            return False
        lines, self._lines = self._lines, 0
        size, self._size = self._size, 0
        self._tell(self._generation, lines, size)
        return True
