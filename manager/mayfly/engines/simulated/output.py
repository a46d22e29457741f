"""What the simulated engine's agents printed, kept in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from mayfly.core.model import ContainerId, Generation
from mayfly.edge.output_kept import OUT, Chunk
from mayfly.edge.output_meter import OutputMeter
from mayfly.engines.protocol import OutputListener


class SimulatedOutput:
    """What agents printed, in memory: the last ``most`` bytes of each."""

    def __init__(
        self,
        listener: OutputListener,
        most: int,
        known: Callable[[Generation], bytes],
        ended: Callable[[Generation], bool],
    ) -> None:
        self.listener = listener
        self._most = most
        self._known = known
        self._ended = ended
        self._kept: dict[Generation, bytearray] = {}
        self._meters: dict[Generation, OutputMeter] = {}
        self._lines: set[Generation] = set()
        self._over: set[Generation] = set()
        self._changed = threading.Condition()

    def start(self) -> None:
        """There is nothing from before."""

    def close(self) -> None:
        """Readers are let go."""
        with self._changed:
            self._over |= self._kept.keys()
            self._changed.notify_all()

    def follow(
        self, generation: Generation, container: ContainerId, *, lines: bool = False
    ) -> None:
        """Keep what it printed so far and will print."""
        del container
        if generation in self._kept:
            return
        self._kept[generation] = bytearray()
        self._meters[generation] = OutputMeter(generation, self.listener.printed)
        if lines:
            self._lines.add(generation)
        self.printed(generation, self._known(generation))
        if self._ended(generation):
            self.over(generation)

    def printed(self, generation: Generation, data: bytes) -> None:
        """Some more output of an agent that is followed."""
        if generation not in self._kept or not data:
            return
        with self._changed:
            kept = self._kept[generation]
            kept += data
            del kept[: max(0, len(kept) - self._most)]
            self._changed.notify_all()
        self._meters[generation].add(data.count(b"\n"), len(data))
        if generation in self._lines:
            for line in data.splitlines():
                self.listener.line(generation, OUT, line)

    def over(self, generation: Generation) -> None:
        """The agent has ended: no more comes."""
        with self._changed:
            self._over.add(generation)
            self._changed.notify_all()
        if generation in self._kept:
            self.listener.ended(generation)

    def read(
        self,
        generation: Generation,
        *,
        follow: bool,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Chunk]:
        """What is kept, without the gate's and the launcher's own lines."""
        at = 0
        while True:
            with self._changed:
                data = bytes(self._kept.get(generation, b""))[at:]
                over = generation in self._over or generation not in self._kept
                if not data and follow and not over and not stop():
                    self._changed.wait(0.05)
            at += len(data)
            own = b"".join(
                line for line in data.splitlines(keepends=True) if not line.startswith(b"mayfly: ")
            )
            if own:
                yield Chunk(OUT, time.time(), own)
            elif not data and (over or not follow or stop()):
                return
