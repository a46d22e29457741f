"""What jobs a service has: one thread a pool whose service hands them out waits for its answers.

It asks one question when it is told to, with what the core says in it, and sends what was answered; the pace
is decided in ``core/dispatch.py``. An answer may be a minute away, so nobody else waits here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeAlias

from mayfly.core.model import PoolName
from mayfly.core.requests import Listen
from mayfly.core.stimuli import JobsTold, JobsUntold
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.lasting_thread import LastingThread, begun
from mayfly.providers import Dispatching
from mayfly.service.bugs import Bug, bug
from mayfly.service.failures import failure_of

Told: TypeAlias = JobsTold | JobsUntold
EVERY_TURN = sys.maxsize
LEFT = 10.0  # seconds that whoever listens next waits until the one before has left


class JobWatch:
    """Listens to one pool's service until stopped."""

    def __init__(
        self,
        pool: PoolName,
        provider: Dispatching,
        send: Callable[[Told | Bug], None],
        before: JobWatch | None = None,
    ) -> None:
        """``before`` is the one that was stopped for this one: a service lets in one at a time."""
        self._pool = pool
        self._before = before
        self._leaving: threading.Thread | None = None  # once it is stopped
        self._provider = provider
        self._send = send
        self._words: SimpleQueue[Listen | None] = SimpleQueue()  # None: end
        self._stopping = False
        self._thread = LastingThread(self._run, f"jobs-{pool}")
        self._thread.start_if_possible()

    def listen(self, word: Listen) -> None:
        """Ask that, after what is being asked."""
        self._words.put(word)
        self._thread.start_if_possible()  # where there was none to be had before

    def leave(self, turn: int) -> threading.Thread:
        """Have the service hand out no more, at once; the thread that sees to it."""
        thread = threading.Thread(
            target=self._leave, args=(turn,), name=f"leave-{self._pool}", daemon=True
        )
        if not begun(thread):
            self._leave(turn)
        return thread

    def stop(self) -> threading.Thread:
        """Leave, and end after the question under way; whoever listens next is told of nothing that comes of
        it.
        """
        self._stopping = True
        self._words.put(None)
        self._leaving = self.leave(EVERY_TURN)
        return self._leaving

    def gone(self) -> None:
        """Wait until it has left and asks nothing more, but not for ever; it was stopped."""
        ends = time.monotonic() + LEFT
        if self._leaving is not None and self._leaving.ident is not None:
            self._leaving.join(LEFT)
        self._thread.join(max(0.0, ends - time.monotonic()))

    def _leave(self, turn: int) -> None:
        try:
            with suppress(Fault):  # it ends by itself where nobody listens any more
                self._provider.leave(turn)
        except Exception as error:  # noqa: BLE001  a bug in there must not end anybody's thread
            self._send(bug(f"leaving the jobs of pool {self._pool}", error))

    def _run(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            before.gone()
        while (word := self._words.get()) is not None and not self._stopping:
            told = self._asked(word)
            if not self._stopping:
                self._send(told)

    def _asked(self, word: Listen) -> Told:
        try:
            return JobsTold(self._pool, self._provider.listen(word), word.acknowledge)
        except Fault as fault:
            return JobsUntold(self._pool, failure_of(fault))
        except Exception as error:  # noqa: BLE001  a bug in here must not leave the pool without its jobs
            self._send(bug(f"the jobs of pool {self._pool}", error))
            unexpected = Passing(f"{type(error).__name__}: {error}")
            return JobsUntold(self._pool, failure_of(unexpected))
