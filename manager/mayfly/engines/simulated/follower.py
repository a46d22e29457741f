"""Who hears of the simulated engine's events, on the thread on which they happen."""

from __future__ import annotations

from collections.abc import Callable

from mayfly.engines.protocol import EngineEvent, EventCursor, StreamTurn


class SimulatedFollower:
    """Who is told of events, on the thread on which they happen."""

    def __init__(
        self,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        cursor: EventCursor | None,
    ) -> None:
        self._ring = ring
        self.turned = turned
        self._cursor = cursor
        self._stopped = False

    @property
    def cursor(self) -> EventCursor | None:
        """The last event seen."""
        return self._cursor

    def take(self, event: EngineEvent) -> None:
        """One more event."""
        if not self._stopped:
            self._cursor = EventCursor(event.time_nano, event.id, event.action)
            self._ring(event)

    def stop(self) -> None:
        """Hear of nothing more."""
        self._stopped = True
