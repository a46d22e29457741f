"""What Mayfly writes to a terminal is clean, be it of a job, a service, a label or a person's argument.

Standard output and standard error are wrapped once, at the edge, where they are terminals; no verb has to
think of it. Where a program reads nothing is changed. Only what Mayfly draws itself goes around, as ``draw``.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO, cast

from mayfly.core.plain_text import Cleaner, safe


class CleanTerminal:
    """A terminal's stream as its writers see it: ``write``, ``buffer.write``, and the rest as it is."""

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner
        self.buffer = _Bytes(inner)

    def write(self, text: str) -> int:
        """Text, without what moves a cursor, sets a title or reorders a line; our colours stay."""
        self.inner.write(safe(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Each of them."""
        for line in lines:
            self.write(line)

    def draw(self, text: str) -> None:
        """What Mayfly itself has made of clean text and its own moves."""
        self.inner.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _Bytes:
    """What a job printed: a sequence may be cut between two pieces."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner
        self._cleaner = Cleaner()

    def write(self, data: bytes) -> int:
        self._inner.write(self._cleaner.feed(data))
        return len(data)

    def flush(self) -> None:
        self._inner.flush()

    def end(self) -> None:
        """Print what was held back."""
        if rest := self._cleaner.feed(b"", final=True):
            self._inner.write(rest)


def guard() -> None:
    """Wrap standard output and standard error where they are terminals."""
    if sys.stdout.isatty():
        sys.stdout = cast("TextIO", CleanTerminal(sys.stdout))
    if sys.stderr.isatty():
        sys.stderr = cast("TextIO", CleanTerminal(sys.stderr))


def draw(text: str) -> None:
    """Put on standard output what Mayfly has made of clean text and its own moves."""
    if isinstance(sys.stdout, CleanTerminal):
        sys.stdout.draw(text)
    else:
        sys.stdout.write(text)


def finish() -> None:
    """Print what is still held back, and let go of it; ``OSError`` where standard output takes no more."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, CleanTerminal):
            stream.buffer.end()
    sys.stdout.flush()


def let_go() -> None:
    """Standard output takes no more, which is told: what is left for it goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
