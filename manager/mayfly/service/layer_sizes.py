"""Measures what agents have written, one after the other, on a thread of its own.

The Engine counts a layer's files one by one; a job may make millions of them in no room at all (hard
links), or a path on which the count fails. So each is asked for by itself and in bounded time, and what takes
too long or fails is asked for ever more seldom: it delays neither the looks at the Engine nor, for long, the
measure of others. A layer that is not measured is never taken for an empty one: which they are is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mayfly.core.doubling import doubling
from mayfly.core.model import ContainerId
from mayfly.core.stimuli import LayersMeasured
from mayfly.edge.faults import Fault
from mayfly.engines.protocol import Engine, Gone, Unmeasured
from mayfly.service.asked import Asked
from mayfly.service.bugs import Bug, bug

SOON, SELDOM = 60.0, 900.0  # seconds until one that was not measured is asked for again


@dataclass(frozen=True, slots=True)
class _Slow:
    tries: int
    rests_until: float  # monotonic


class LayerSizes:
    """Measures when asked; ``send`` receives what was found."""

    def __init__(
        self,
        engine: Engine,
        send: Callable[[LayersMeasured | Bug], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._send = send
        self._clock = clock
        self._wanted: Mapping[ContainerId, bool] = {}
        self._slow: dict[ContainerId, _Slow] = {}
        self._told = LayersMeasured({}, frozenset())
        self._asked = Asked("layer-sizes", self._once)
        self.start, self.stop = self._asked.start, self._asked.stop

    def measure(self, containers: Mapping[ContainerId, bool]) -> None:
        """Measure these soon, and no others; with each whether its agent has made containers or volumes."""
        self._wanted = dict(containers)
        self._asked.ask()

    def _once(self) -> None:
        try:
            self._round()
        except Exception as error:  # noqa: BLE001  a bug in here must not leave disks unwatched for good
            self._send(bug("a look at what agents have written", error))

    def _round(self) -> None:
        wanted = self._wanted
        self._slow = {one: slow for one, slow in self._slow.items() if one in wanted}
        sizes: dict[ContainerId, int] = {}
        # Who was quick comes first.
        for one in sorted(wanted, key=lambda one: one in self._slow):
            slow = self._slow.get(one)
            if slow is not None and self._clock() < slow.rests_until:
                continue
            try:
                size = self._engine.size(one, made=wanted[one])
            except Gone:
                continue
            except Fault as fault:
                if not isinstance(fault, Unmeasured) and not self._serves():
                    return  # nothing is known, and nothing new told
                tries = slow.tries + 1 if slow is not None else 1
                rest = doubling(SOON, SELDOM, tries)
                self._slow[one] = _Slow(tries, self._clock() + rest)
                self._tell(sizes)
                continue
            self._slow.pop(one, None)
            if size is not None:
                sizes[one] = size
        self._tell(sizes)

    def _serves(self) -> bool:
        """Whether the Engine is there: if so, what failed is of that one container alone."""
        try:
            self._engine.ping()
        except Fault:
            return False
        return True

    def _tell(self, sizes: dict[ContainerId, int]) -> None:
        found = LayersMeasured(dict(sizes), frozenset(self._slow))
        if found != self._told:
            self._told = found
            self._send(found)
