"""Throws away what people sent, and what was kept for them, once it is old: at the start, and once a day.

On a thread of its own, since it looks at each file that is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mayfly.edge.lasting_thread import LastingThread

DAY = 24 * 3600.0


class OldContent:
    """Has it thrown away until it is stopped; ``failed`` hears of what went wrong, which is tried again."""

    def __init__(
        self,
        throw_away: Sequence[Callable[[], None]],
        failed: Callable[[str, BaseException], None],
        every: float = DAY,
    ) -> None:
        self._throw_away = throw_away
        self._failed = failed
        self._every = every
        self._stopping = threading.Event()
        self._thread = LastingThread(self._run, "old-content")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what it does now."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for throw_away in self._throw_away:
                try:
                    throw_away()
                except Exception as error:  # noqa: BLE001  what is old is to go another day
                    self._failed("a look for what is old of what was kept for people", error)
            self._stopping.wait(self._every)
