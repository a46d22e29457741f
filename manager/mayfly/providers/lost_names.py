"""Names that may be taken at a service by a registration whose answer never reached us.

What is lost is taken back when it is seen there; a service that never shows it fills nothing.
"""

from __future__ import annotations

import threading

MOST = 1_000  # that are kept, the last ones


class LostNames:
    """The lost names of one pool, the oldest of too many forgotten; to be used from any thread."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str) -> None:
        """It was asked for, and nobody knows whether it was given."""
        with self._lock:
            self._names[name] = None
            if len(self._names) > MOST:
                del self._names[next(iter(self._names))]

    def discard(self, name: str) -> None:
        """It is free, or ours."""
        with self._lock:
            self._names.pop(name, None)
