"""A thread that does one thing when it is asked to, once for all that asked meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mayfly.edge.lasting_thread import LastingThread


class Asked:
    """Does ``act`` on a thread of that name; may be asked from any thread."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        """``act`` lets nothing out: an exception would end the thread."""
        self._act = act
        self._asked = threading.Event()
        self._stopping = False
        self._thread = LastingThread(self._run, name)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what it does now."""
        self._stopping = True
        self._asked.set()

    def ask(self) -> None:
        """Have it done soon."""
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._stopping:
                return
            self._act()
