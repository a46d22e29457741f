"""Bytes that are held in memory for requests: of one agent, and of all together.

Whoever wants more than there is is told so at once and waits for nothing: a request that waits holds what it
has already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

OF_ALL = 256 * 1024**2
OF_ONE = 32 * 1024**2
PARSED = 4  # bytes in memory for each of a text that is JSON, beside it
FULL = "the requests of this job are too large to be served at once; try again in a moment"


class Full(Exception):
    """There is no room; in a sentence for the agent."""


class Memory:
    """So many bytes, which are also a part of those ``above`` it."""

    def __init__(self, most: int, above: Memory | None = None) -> None:
        self._most = most
        self._above = above
        self.taken = 0

    def take(self, count: int) -> None:
        """``Full`` where that is more than there is, here or above."""
        if self.taken + count > self._most:
            raise Full(FULL)
        if self._above is not None:
            self._above.take(count)
        self.taken += count

    def give(self, count: int) -> None:
        """They are not held any more."""
        self.taken -= count
        if self._above is not None:
            self._above.give(count)

    @contextmanager
    def held(self) -> Iterator[Held]:
        """What one request holds, until its end."""
        held = Held(self)
        try:
            yield held
        finally:
            held.end()


class Held:
    """Of one request."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._count = 0
        self._ended = False

    def more(self, count: int) -> None:
        """So many bytes more; ``Full``. Of a request that goes on without its client nothing is counted."""
        if not self._ended:
            self._memory.take(count)
            self._count += count

    def end(self) -> None:
        """All of it is free again."""
        self._memory.give(self._count)
        self._count, self._ended = 0, True
