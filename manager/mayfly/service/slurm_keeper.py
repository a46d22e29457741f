"""Has Slurm asked, given back and looked at, on a thread of its own: where its controller is down a command
takes nine seconds, and nobody waits for that.

What is wanted comes from the loop, one request after the other; what Slurm says goes back to it. A request of
salloc's that ends rings: the queue is looked at once more, unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from mayfly.core.allocations import AllocationsSeen, TendAllocations, in_use
from mayfly.core.memory import Memory
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.slurm import Slurm

BELL = 0.5  # seconds between looks whether a request that waits has its answer
GRACE = 15.0  # seconds that a manager that stops waits for what is under way


@dataclass(frozen=True, slots=True)
class _Leave:
    """Give all back but what is in use, and end."""

    in_use: frozenset[str]


class SlurmKeeper:
    """One request after the other; ``send`` receives what Slurm said. It begins when it is first wanted."""

    def __init__(self, send: Callable[[AllocationsSeen], None], slurm: Slurm | None = None) -> None:
        self._send = send
        self._slurm = slurm or Slurm()
        self._asked: SimpleQueue[TendAllocations | _Leave] = SimpleQueue()
        self._begun = False  # whether anything was wanted of it
        self._last: TendAllocations | None = None  # the thread's own; None: it has done nothing yet
        self._thread = LastingThread(self._run, "slurm")

    def tend(self, wanted: TendAllocations) -> None:
        """Have it done soon."""
        if self._thread.start_if_possible():
            self._begun = True
            self._asked.put(wanted)

    def leave(self, memory: Memory) -> None:
        """End after what is under way, take back what waits in the queue, and give back what no agent is at
        work on, by a look of its own: the next manager asks for its own. Bounded; a controller that does
        not answer leaves them to the next manager, or to their time limit.
        """
        if self._begun:
            self._asked.put(_Leave(in_use(memory)))
            self._thread.join(GRACE)

    def _run(self) -> None:
        while True:
            try:
                wanted = self._asked.get(timeout=BELL if self._slurm.waiting else None)
            except Empty:
                if not self._slurm.ended or self._last is None:
                    continue
                wanted = replace(self._last, returns=(), asks=())
            if isinstance(wanted, _Leave):
                self._leave(wanted.in_use)
                return
            self._last = wanted
            self._send(self._slurm.tend(wanted))

    def _leave(self, kept: frozenset[str]) -> None:
        self._slurm.close()
        if self._last is None:
            return
        try:
            self._slurm.give_back_all(self._last.host, kept)
        except (Passing, Refused, OSError):
            return  # nobody is there any more to be told
