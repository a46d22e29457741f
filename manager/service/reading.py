"""What the control socket's threads read from disk: jobs, events, history and kept output.

Read-only; times become RFC 3339 here, on the way out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from manager.core.model import Generation
from manager.edge import history
from manager.edge.output import OutputKeeper
from manager.service.control import Chunk, HistoryFilter
from manager.service.status import timestamp

TIMES = ("at", "submitted", "started", "finished", "born", "opened", "exited")


class Disk:
    """The ``Reader`` of the control socket."""

    def __init__(self, reader: history.Reader, output: OutputKeeper) -> None:
        self._reader = reader
        self._output = output

    def jobs(self, limit: int) -> Sequence[Mapping[str, object]]:
        """All queued and running jobs, and the last ``limit`` ended."""
        return [_told(row) for row in self._reader.jobs(limit)]

    def job(self, job: str) -> Mapping[str, object] | None:
        """One job."""
        found = self._reader.job(job)
        return _told(found) if found is not None else None

    def events(self, after: int, limit: int, slot: str | None) -> Sequence[Mapping[str, object]]:
        """Events in order; ``after`` 0 means the last ``limit``."""
        return [_told(row) for row in self._reader.events(after, limit, slot, last=after == 0)]

    def history(self, wanted: HistoryFilter) -> Sequence[Mapping[str, object]]:
        """Ended agents, the latest last."""
        rows = self._reader.history(
            wanted.since, wanted.slot, wanted.outcome, wanted.gpu, wanted.limit
        )
        return [_told(row) for row in reversed(rows)]

    def generation_of_job(self, job: str) -> str | None:
        """The agent that has, or had, the job."""
        return self._reader.generation_of_job(job)

    def generation_of_slot(self, slot: str, previous: bool) -> str | None:
        """The slot's agent, or the one before it."""
        return self._reader.generation_of_slot(slot, previous=previous)

    def output(self, generation: str, follow: bool, stop: threading.Event) -> Iterator[Chunk]:
        """The kept output of an agent."""
        position = 0
        for chunk in self._output.read(
            Generation(generation), follow=follow, stop=stop.is_set
        ):
            yield Chunk(chunk.stream, chunk.time, chunk.data, position)
            position += len(chunk.data)


def _told(row: Mapping[str, object]) -> dict[str, object]:
    return {
        key: timestamp(value) if key in TIMES and isinstance(value, (int, float)) else value
        for key, value in row.items()
    }
