"""Looks how much agents begin of what no limit of theirs counts: processes, and connections to the outside;
and how much their own containers print. Whatever a container of an agent's does the agent does.

Two numbers of the whole host are read once a second; only where one of them is high, or was a moment ago,
somebody is looked at. What it means is decided in the core. Where the kernel cannot be asked (an engine on
another machine) nothing is said.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from mayfly.core.activity import CROWDED, Traffic, is_busy, opened
from mayfly.core.model import ContainerId, Generation
from mayfly.core.stimuli import ActivitySeen, Begun, Printed
from mayfly.edge.faults import Fault
from mayfly.edge.inner_containers import InnerContainers
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.network_namespace import namespace, tracked_by, traffic
from mayfly.edge.output_meter import OutputMeter
from mayfly.edge.process_numbers import MOUNTED, PROC, ProcessNumbers, last_number, number_limit

QUIET = 1.0  # seconds between two looks
CLOSE = 0.5  # while there is something to see
ENGINE_KEPT = 30.0  # seconds after which the engine's process is asked for again
IN_TURN = 4  # of those that wait at their gates, at each look: most begin nothing, and there may be hundreds
FEW = 25  # processes that are not worth a word
# seconds that agents are looked at then: as long as one may be frozen, and begin again
LASTING = 90.0


class Served(Protocol):
    """Who knows its own process: an engine."""

    def own_process(self) -> int | None:
        """This host's number of it; ``None`` where it is none of this host."""

    def printed_inside(self, container: ContainerId) -> tuple[int, int]:
        """Lines and bytes that containers which it has made have printed since the last time."""


Watched = Mapping[Generation, tuple[ContainerId, int]]


class ActivityWatch:
    """A thread; ``agents`` names those that may have a job, with their containers and first processes, and
    the others, whose image does what it likes, too.
    """

    def __init__(
        self,
        engine: Served,
        agents: Callable[[], tuple[Watched, Watched]],
        send: Callable[[ActivitySeen | Printed], None],
        *,
        processors: int | None = None,
        proc: Path = PROC,
        mounted: Path = MOUNTED,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._agents = agents
        self._turn = Generation("")  # the last of those that wait that was looked at
        self._send = send
        self._stopping = threading.Event()
        self._thread = LastingThread(self._run, "activity-watch")
        self._processors = processors or os.cpu_count() or 1
        self._proc, self._mounted, self._steady = proc, mounted, steady
        self._inner = InnerContainers(proc, mounted)
        self._meters: dict[Generation, OutputMeter] = {}
        self._numbers: dict[ContainerId, ProcessNumbers] = {}
        self._traffic: dict[ContainerId, Traffic] = {}
        self._until = 0.0
        self._last: tuple[int, float] | None = None  # of the host's numbers, and when
        self._engine_at: tuple[int | None, float] = (None, -ENGINE_KEPT)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(CLOSE)

    def _run(self) -> None:
        rest = QUIET
        while not self._stopping.wait(rest):
            rest = CLOSE if self.look() else QUIET

    def look(self) -> bool:
        """Look once; whether there is something to see."""
        agents, waiting = self._agents()
        if not agents and not waiting:
            self._numbers, self._traffic, self._last, self._meters = {}, {}, None, {}
            return False
        self._look_at_prints(agents)
        busy, crowd = self._is_busy(), self._crowd()
        if busy or crowd >= CROWDED:
            self._until = self._steady() + LASTING
        if self._steady() > self._until:
            self._numbers, self._traffic = {}, {}
            return False
        begun = {}
        there = {container for container, _ in (*agents.values(), *waiting.values())}
        for generation, (container, process) in (*agents.items(), *self._next(waiting)):
            inner = self._inner.beside(process, container)
            there |= {one for one, _ in inner}
            all_of_it = [(container, process), *inner]
            processes = sum(self._processes(*one) for one in all_of_it)
            connections = opened(self._looks(all_of_it), crowd)
            if processes >= FEW or connections:
                begun[generation] = Begun(processes, connections)
        if begun:
            self._send(ActivitySeen(self._processors, begun))
        for gone in self._numbers.keys() - there:
            del self._numbers[gone]
        for gone in self._traffic.keys() - there:
            del self._traffic[gone]
        return True

    def _next(self, waiting: Watched) -> list[tuple[Generation, tuple[ContainerId, int]]]:
        """The next few, each in its turn."""
        names = sorted(waiting)
        names = [name for name in names if name > self._turn] + [
            name for name in names if name <= self._turn
        ]
        chosen = names[:IN_TURN]
        if chosen:
            self._turn = chosen[-1]
        return [(name, waiting[name]) for name in chosen]

    def _is_busy(self) -> bool:
        number, now = last_number(self._proc), self._steady()
        before, self._last = self._last, (number, now) if number is not None else None
        if number is None or before is None:
            return False
        begun = (number - before[0]) % number_limit(self._proc)
        return is_busy(begun, now - before[1], self._processors)

    def _crowd(self) -> int:
        """How many connections are in the table that the engine reads."""
        process, at = self._engine_at
        if self._steady() - at > ENGINE_KEPT:
            try:
                process = self._engine.own_process()
            except Fault:
                process = None
            self._engine_at = (process, self._steady())
        return tracked_by(process, self._proc) if process is not None else 0

    def _processes(self, container: ContainerId, process: int) -> int:
        known = self._numbers.get(container)
        if known is None:
            known = self._numbers[container] = ProcessNumbers(
                process, container, self._proc, self._mounted
            )
        return known.begun()

    def _looks(
        self, containers: list[tuple[ContainerId, int]]
    ) -> Iterator[tuple[Traffic, Traffic]]:
        """Before and now, at each network namespace once: containers may share one."""
        known: set[str] = set()
        for container, process in containers:
            shared = namespace(process, self._proc)
            seen = traffic(process, container, self._proc) if shared not in known else None
            if seen is None:
                continue
            known.add(shared)
            before, self._traffic[container] = self._traffic.get(container), seen
            if before is not None:
                yield before, seen

    def _look_at_prints(self, agents: Watched) -> None:
        """What their own containers have printed counts as what they print."""
        for generation, (container, _) in agents.items():
            try:
                lines, size = self._engine.printed_inside(container)
            except Fault:
                continue  # it has no time for this now
            if lines or size:
                meter = self._meters.get(generation)
                if meter is None:
                    meter = self._meters[generation] = OutputMeter(generation, self._tell_printed)
                meter.add(lines, size)
        for gone in self._meters.keys() - agents.keys():
            del self._meters[gone]

    def _tell_printed(self, generation: Generation, lines: int, size: int) -> None:
        self._send(Printed(generation, lines, size))
