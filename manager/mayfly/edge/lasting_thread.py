"""Threads, of which there may be none: what is to run for ever begins again, and what cannot begin is told.

An error that ends such a thread is handed to ``threading.excepthook``, and a moment later the thread goes
on with what is asked of it next. A process that may have no more threads gets them later: who asks again is
served then. Nothing here waits but the thread itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mayfly.edge.faults import Passing

REST = 1.0  # seconds before it goes on after an error
TOLD = 30.0  # seconds that a thread that could not be had is told


class LastingThread:
    """Runs ``run`` until it returns; to be started from one thread."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._run = run
        self._name = name
        self._life: Life | None = None

    def start(self) -> None:
        """Begin; ``Passing`` where no thread is to be had now."""
        if not self.start_if_possible():
            raise Passing(f"no thread is to be had for {self._name}: raise TasksMax of the unit")

    def start_if_possible(self) -> bool:
        """Begin, or see that it has begun; False where no thread is to be had now."""
        if self._life is not None:
            return True
        life = Life(self._run, self._name)
        if not begun(life):
            return False
        self._life = life
        return True

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has returned."""
        if self._life is not None:
            self._life.join(timeout)


class Life(threading.Thread):
    """The thread itself."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._to_run = run

    def run(self) -> None:
        """Go on whatever happens."""
        while True:
            try:
                self._to_run()
            except Exception as error:  # noqa: BLE001  it must not end what others wait for
                threading.excepthook(
                    threading.ExceptHookArgs((type(error), error, error.__traceback__, self))
                )
                time.sleep(REST)
            else:
                return


_refused_at: float | None = None  # when a thread could not be had last; None: never


def begun(thread: threading.Thread) -> bool:
    """Start a thread; False where there is none to be had."""
    global _refused_at  # noqa: PLW0603  of the process, as its threads are
    try:
        thread.start()
    except RuntimeError:
        _refused_at = time.monotonic()
        return False
    return True


def lacking() -> bool:
    """Whether a thread could not be had of late."""
    return _refused_at is not None and time.monotonic() - _refused_at < TOLD


def is_lack_of_threads(error: BaseException) -> bool:
    """Whether an error only says that no thread was to be had."""
    return isinstance(error, RuntimeError) and "start new thread" in str(error)
