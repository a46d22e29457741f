"""What the loop last published, for everyone else to read.

The loop's thread replaces one reference to one finished document after each pass; readers take the
reference without a lock and never see half of a pass. A document is never changed once published.

The one lock here guards no state: ``Condition`` needs it so that a long poll can sleep until the next
publication instead of asking again and again. The loop holds it for the length of a ``notify_all``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """One publication: its number, which only grows, and the document."""

    rev: int
    document: Mapping[str, object]


class StatusBoard:
    """One writer, any number of readers."""

    def __init__(self) -> None:
        self._latest: Published | None = None
        self._at = time.monotonic()
        self._changed = threading.Condition()

    def publish(self, document: Mapping[str, object]) -> int:
        """Make this document the current one and wake the waiting; its number. Loop thread only."""
        rev = 1 if self._latest is None else self._latest.rev + 1
        self._latest, self._at = Published(rev, document), time.monotonic()
        with self._changed:
            self._changed.notify_all()
        return rev

    def read(self) -> Published | None:
        """The current publication; ``None`` before the first pass has ended."""
        return self._latest

    def silent(self) -> float:
        """For how many seconds nothing has been published."""
        return time.monotonic() - self._at

    def wait(self, after: int, timeout: float) -> Published | None:
        """The current publication once its number is above ``after``, or after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._latest is None or self._latest.rev <= after:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        return self._latest
