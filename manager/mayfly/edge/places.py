"""Places at the control socket, counted by user: nobody, not even root, can have all of them.

Who finds none is told so and comes again; nothing here waits.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

ROOT = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many places there are, and how many one user may have."""

    all: int
    of_one: int
    of_root: int
    kept_for_root: int = 0  # of all; others together cannot have these


class Places:
    """Who has a place now. From any thread."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._taken: Counter[int] = Counter()

    def take(self, uid: int) -> bool:
        """Whether there is a place for one more of this user; it is taken then."""
        with self._lock:
            kept = max(0, self._bounds.kept_for_root - self._taken[ROOT])
            of_one = self._bounds.of_root if uid == ROOT else self._bounds.of_one
            room = self._bounds.all if uid == ROOT else self._bounds.all - kept
            if self._taken[uid] >= of_one or self._taken.total() >= room:
                return False
            self._taken[uid] += 1
            return True

    def give_back(self, uid: int) -> None:
        """One is gone."""
        with self._lock:
            self._taken[uid] -= 1
