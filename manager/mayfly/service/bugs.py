"""Errors that only a bug in Mayfly explains: counted, logged with their trace, and shown for a while.

A broad ``except`` keeps such an error from ending more than what it happened in; it must not keep it quiet.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mayfly.core.model import Condition, Severity
from mayfly.edge.descriptors import USED_UP
from mayfly.edge.lasting_thread import Life, is_lack_of_threads
from mayfly.edge.log import Log

SHOWN = 3600.0  # seconds that the last error is shown after it happened


@dataclass(frozen=True, slots=True)
class Bug:
    """An unexpected exception, reported to the loop."""

    where: str  # what was being done
    error: str  # its type and its words
    trace: str
    thread: str | None = None  # the thread that it ended; None: the thread goes on
    # no bug: no file descriptor or thread was to be had, which is told elsewhere
    starved: bool = False


def bug(where: str, error: BaseException, *, thread: str | None = None) -> Bug:
    """The error as a message."""
    trace = "".join(traceback.format_exception(error))
    starved = is_lack_of_threads(error) or getattr(error, "errno", None) in USED_UP
    return Bug(where, f"{type(error).__name__}: {error}", trace, thread, starved)


class Bugs:
    """All of them since the manager started; used by the loop's thread alone."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._count = 0
        self._last: tuple[Bug, float] | None = None
        self._ended: dict[str, Bug] = {}  # threads that are gone, and why

    def take(self, met: Bug, now: float) -> None:
        """One more."""
        if met.starved and met.thread is None:
            self._log.event("loop.starved", where=met.where, reason=met.error)
            return
        self._count += 1
        self._last = met, now
        if met.thread is not None:
            self._ended[met.thread] = met
        self._log.event("loop.failed", where=met.where, reason=met.error, trace=met.trace)

    def health(self, now: float) -> list[Condition]:
        """The conditions that show them; an ended thread is shown until the manager is started again."""
        lines = [
            Condition(
                "manager.thread_ended",
                Severity.ERROR,
                f"a bug in Mayfly ended its thread {name}: {met.error}; agents and their jobs go on",
                "sudo systemctl restart mayfly",
            )
            for name, met in self._ended.items()
        ]
        if self._last is not None and now - self._last[1] < SHOWN and self._last[0].thread is None:
            met, _ = self._last
            times = "" if self._count == 1 else f" ({self._count} such errors since it started)"
            text = f"a bug in Mayfly: {met.where} failed with {met.error}{times}; the rest goes on"
            fix = "sudo journalctl MAYFLY_EVENT=loop.failed -o verbose -n 1   # and report it"
            lines.append(Condition("manager.bug", Severity.WARNING, text, fix))
        return lines


def watch_threads(send: Callable[[Bug], None]) -> Callable[[], None]:
    """Report it too when an error ends a thread; returns how to stop that."""
    before = threading.excepthook
    threading.excepthook = partial(_ended, send)

    def undo() -> None:
        threading.excepthook = before

    return undo


def _ended(send: Callable[[Bug], None], ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread is not None else "unknown"
    error = ended.exc_value or ended.exc_type()
    goes_on = isinstance(ended.thread, Life)
    send(bug(f"the thread {name}", error, thread=None if goes_on else name))
