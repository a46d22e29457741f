"""Has Slurm asked, given back and looked at, on a thread of its own: where its controller is down a command
takes nine seconds, and nobody waits for that.

What is wanted comes from the loop, one request after the other; what Slurm says goes back to it. A request of
salloc's that ends rings: the queue is looked at once more, unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue

from mayfly.core.allocations import Allocations, AllocationsSeen, TendAllocations
from mayfly.core.memory import Memory
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.slurm import Slurm

BELL = 0.5  # seconds between looks whether a request that waits has its answer
GRACE = 15.0  # seconds that a manager that stops waits for what is under way


class SlurmKeeper:
    """One request after the other; ``send`` receives what Slurm said. It begins when it is first wanted."""

    def __init__(self, send: Callable[[AllocationsSeen], None]) -> None:
        self._send = send
        self._slurm = Slurm()
        self._asked: SimpleQueue[TendAllocations | None] = SimpleQueue()
        self._last: TendAllocations | None = None  # None: nothing was asked yet
        self._thread = LastingThread(self._run, "slurm")

    def tend(self, wanted: TendAllocations) -> None:
        """Have it done soon."""
        if self._thread.start_if_possible():
            self._asked.put(wanted)

    def leave(self, allocations: Allocations, memory: Memory) -> None:
        """End after what is under way, take back what waits in the queue, and give back what no agent is at
        work on: the next manager asks for its own.
        """
        if self._last is None:
            return
        self._asked.put(None)
        self._thread.join(GRACE)
        if allocations.problem:
            return
        idle = allocations.unused(memory)
        if idle:
            self._slurm.tend(replace(self._last, known=(), returns=idle, asks=()))

    def _run(self) -> None:
        while True:
            try:
                wanted = self._asked.get(timeout=BELL if self._slurm.waiting else None)
            except Empty:
                if not self._slurm.ended or self._last is None:
                    continue
                wanted = replace(self._last, returns=(), asks=())
            if wanted is None:
                self._slurm.close()
                return
            self._last = wanted
            self._send(self._slurm.tend(wanted))
