"""Sees that the kernel tells of the end of every agent, whichever run of the manager has made it.

Where it cannot, nothing is lost but time: the engine's own word comes later. It must never keep an agent from
being made or seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from mayfly.core.model import Container, ContainerId, Generation
from mayfly.edge.faults import Fault
from mayfly.edge.process_end import Failed, Over, ProcessEnds
from mayfly.engines.protocol import Engine


class EndWatch:
    """Asks the engine for first processes, and the kernel for their ends; ``over`` hears of them."""

    def __init__(self, engine: Engine, over: Over, failed: Failed) -> None:
        self._engine = engine
        self._ends = ProcessEnds(over, failed)
        self.start, self.stop = self._ends.start, self._ends.stop
        self.awaits, self.awaited = self._ends.awaits, self._ends.awaited

    def watch(self, generation: Generation, container: ContainerId) -> None:
        """Have its end told, if that is possible."""
        with suppress(Fault):  # the next look tries again
            process = self._engine.first_process(container)
            if process is not None:
                self._ends.watch(generation, container, process)

    def keep(self, running: Iterable[Container]) -> None:
        """Have the ends of all of these told: those that a look has shown running."""
        by_id = {one.id: one.generation for one in running}
        for container in self._ends.untried(by_id.keys()):
            self.watch(by_id[container], container)
