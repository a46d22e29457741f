"""Places at the control socket, by user: nobody, not even root, can have all of them.

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

    def has_room(self, taken: Counter[int], uid: int) -> bool:
        """Whether there is a place for one more of this user, beside those that each user has."""
        kept = max(0, self.kept_for_root - taken[ROOT])
        of_one = self.of_root if uid == ROOT else self.of_one
        room = self.all if uid == ROOT else self.all - kept
        return taken[uid] < of_one and taken.total() < room


class Places:
    """Who has a place now. From any thread."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._taken: Counter[int] = Counter()

    def take(self, uid: int) -> bool:
        """Whether there is a place for one more of this user; it is taken then."""
        with self._lock:
            if not self._bounds.has_room(self._taken, uid):
                return False
            self._taken[uid] += 1
            return True

    def give_back(self, uid: int) -> None:
        """One is gone."""
        with self._lock:
            self._taken[uid] -= 1
