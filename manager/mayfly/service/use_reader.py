"""What jobs use now, for whoever watches: read once a second at the most, however many they are.

Asked from the threads of the control socket. The engine is asked for a container's first process once in
the container's life; the rest is read from the kernel's own files, and of GPUs what the loop has published.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from mayfly.core.model import ContainerId, Generation
from mayfly.core.quantities import rfc3339
from mayfly.core.state import State
from mayfly.core.use import Use, at_work, rows
from mayfly.edge.faults import Fault

REST = 1.0  # seconds between two readings
ASKED = 4  # containers that the engine is asked about in one reading


class Processes(Protocol):
    """Who knows first processes: an engine."""

    def first_process(self, container: ContainerId) -> int | None:
        """This host's number of it; ``None`` where there is none here."""


class Kernel(Protocol):
    """Who reads what a container uses: ``edge.cgroup_use.ControlGroups``."""

    def use(self, process: int, container: ContainerId) -> Use | None:
        """``None`` where it is not to be seen."""


class UseReader:
    """The last reading, made again where it is old."""

    def __init__(
        self,
        engine: Processes,
        kernel: Kernel,
        state: Callable[[], State],
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._kernel = kernel
        self._state = state
        self._now = now
        self._steady = steady
        self._lock = threading.Lock()
        self._processes: dict[ContainerId, int | None] = {}
        self._read = -REST
        self._document: dict[str, object] = {}

    def document(self) -> dict[str, object]:
        """What ``mayfly top --json`` is made of."""
        with self._lock:
            if self._steady() - self._read >= REST:
                self._document = self._made()
                self._read = self._steady()
            return self._document

    def _made(self) -> dict[str, object]:
        state = self._state()
        uses = self._uses(state)
        found = rows(state, uses)
        for row in found:
            since = row["since"]
            row["since"] = rfc3339(since) if isinstance(since, float | int) else None
        return {"schema": "mayfly.top/1", "at": rfc3339(self._now()), "rows": found}

    def _uses(self, state: State) -> dict[Generation, Use]:
        agents = {agent.generation: agent.container for agent in at_work(state)}
        containers = {one for one in agents.values() if one is not None}
        self._processes = {one: n for one, n in self._processes.items() if one in containers}
        for new in list(containers - self._processes.keys())[:ASKED]:
            try:
                self._processes[new] = self._engine.first_process(new)
            except Fault:
                break  # it has no time for this now
        found = {}
        for generation, container in agents.items():
            process = self._processes.get(container) if container is not None else None
            if container is not None and process is not None:
                use = self._kernel.use(process, container)
                if use is not None:
                    found[generation] = use
        return found
