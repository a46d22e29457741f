"""What the loop says of itself after each pass: published status, log, metrics, and one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from manager.core.facts import Fact
from manager.core.memory import Memory
from manager.core.model import Desired, Health, HostSpec, Severity, World
from manager.core.slots import SlotStatus
from manager.edge.engine_facts import EngineInfo
from manager.edge.log import Log
from manager.service import status
from manager.service.board import Board
from manager.service.metrics import Metrics


class Report:
    """The loop's voice; used by its thread alone."""

    def __init__(
        self, board: Board, log: Log, metrics: Metrics, heard: Callable[[str], None]
    ) -> None:
        """``heard`` is told the sentence of each pass."""
        self._board = board
        self._log = log
        self._heard = heard
        self.metrics = metrics
        self.headline = ""

    def publish(
        self,
        host: HostSpec,
        desired: Desired,
        memory: Memory,
        world: World,
        now: float,
        health: Iterable[Health],
    ) -> list[SlotStatus]:
        """Make the state known; the rows that were shown."""
        rows = status.statuses(desired, memory, now)
        headline = status.headline(rows, memory, world)
        lines = [*status.health_of(rows, memory, world, now), *health]
        self.metrics.healthy(lines)
        self._board.publish(status.document(host, rows, memory, world, headline, lines))
        if headline != self.headline:
            self._log.event("pass.ended", headline)
            self.headline = headline
        self._heard(headline)
        return rows

    def recorded(self, facts: Iterable[Fact], before: Memory, after: Memory) -> None:
        """Facts are on disk."""
        facts = tuple(facts)
        self.metrics.facts(facts, before, after)
        for fact in facts:
            self._log.fact(fact, after)


def own_health(disk_error: str | None, info: EngineInfo | None) -> list[Health]:
    """The lines about the manager's own ground: its disk and its Engine."""
    lines = []
    if disk_error is not None:
        text = f"{disk_error}; no gate is opened until it can be written, running jobs go on"
        lines.append(Health("disk.refused", Severity.ERROR, text, "df -h"))
    if info is not None and not info.live_restore:
        lines.append(
            Health(
                "engine.restart_ends_jobs",
                Severity.INFO,
                "live-restore is off: a restart of Docker ends the jobs that run",
                'set "live-restore": true in /etc/docker/daemon.json, then reload Docker',
            )
        )
    return lines
