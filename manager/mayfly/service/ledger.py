"""The ledger: what is remembered, what is still to be put on disk, and who waits for that.

The memory changes only with a commit that returned. Where the disk takes nothing, what came of actions stays
pending, since it is true all the same, and what people ordered is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from mayfly.core.apply import ahead, apply
from mayfly.core.command_effects import CommandResult
from mayfly.core.commands import Payload
from mayfly.core.facts import AgentOpened, ClockJumped, Fact
from mayfly.core.memory import Memory
from mayfly.core.model import HostSpec, JobId
from mayfly.core.slots import CLOCK_SLACK
from mayfly.edge.boot import host_boot
from mayfly.edge.faults import Fault
from mayfly.edge.history import History
from mayfly.edge.log import Log
from mayfly.engines.protocol import EventCursor
from mayfly.service.pending_command import PendingCommand

RETRY = 1.0  # seconds before the disk is tried again
SCRUB_EVERY = 1.0  # seconds that what was erased may still stand in the write-ahead log
PRUNE_EVERY = 600.0
DAY = 86400.0


class Ledger:
    """The memory and the way to disk; used by the loop's thread alone, but for ``memory``."""

    def __init__(self, history: History, log: Log) -> None:
        self._history = history
        self._log = log
        self._memory = history.load()
        self._facts: list[Fact] = []
        self._ordered: list[Fact] = []
        self._payloads: dict[JobId, Payload] = {}
        self._answers: list[tuple[PendingCommand, CommandResult]] = []
        self._cursor: Callable[[Memory], EventCursor | None] = lambda _: None
        self._kept_mark: EventCursor | None = None
        self._next_scrub = 0.0
        self._next_prune = 0.0
        self.disk_error: str | None = None
        self.retry_at: float | None = None

    def watch(self, cursor: Callable[[Memory], EventCursor | None]) -> None:
        """Where to learn up to which event of the Engine a memory has everything; it is kept with every
        commit. ``None``: not further than the cursor that is kept already.
        """
        self._cursor = cursor

    @property
    def memory(self) -> Memory:
        """What is remembered, as of the last commit; a value that never changes."""
        return self._memory

    @property
    def pending(self) -> list[Fact]:
        """What the next commit is to hold, so far."""
        return [*self._facts, *self._ordered]

    @property
    def drafted(self) -> Memory:
        """The memory as it will be when what is pending is on disk."""
        return apply(self._memory, self.pending)

    def note(self, *facts: Fact) -> None:
        """Something has happened."""
        self._facts.extend(facts)

    def take(self, pending: PendingCommand, result: CommandResult) -> None:
        """Answer a command, at once or when its facts are on disk."""
        if not result.facts:
            pending.answer(result.status, result.body)
            return
        self._ordered.extend(result.facts)
        self._payloads.update(result.payloads)
        self._answers.append((pending, result))

    def promised(self, job: JobId) -> bool:
        """Whether a job of that id is pending."""
        return job in self._payloads

    def rests(self, now: float) -> bool:
        """Whether it is too early to try a disk again that took nothing; not while somebody waits."""
        return self.retry_at is not None and now < self.retry_at and not self._answers

    def commit(self, facts: list[Fact], memory: Memory, now: float) -> bool:
        """Put the facts on disk; False where it did not take them, and then nothing has happened."""
        cursor = self._cursor(memory)
        try:
            self._history.commit(facts, memory, self._payloads, cursor=_mark_text(cursor))
        except Fault as fault:
            self._refuse(str(fault))
            self.retry_at = now + RETRY
            return False
        if self.disk_error is not None:
            self._log.event("disk.back")
        self.disk_error, self.retry_at = None, None
        self._kept_mark, self._memory = cursor or self._kept_mark, memory
        answers, self._answers = self._answers, []
        self._facts, self._ordered, self._payloads = [], [], {}
        for pending, result in answers:
            pending.answer(result.status, result.body)
        return True

    def _refuse(self, reason: str) -> None:
        if self.disk_error is None:
            self._log.event("disk.lost", reason=reason)
        self.disk_error = reason
        for pending, _ in self._answers:
            pending.answer(503, {"error": f"nothing was changed: {reason}", "kind": "no_disk"})
        self._ordered, self._payloads, self._answers = [], {}, []

    # -- upkeep -----------------------------------------------------------------------------------

    def detect_host_boot(self, now: float) -> bool:
        """Whether the host was started again since the last manager; then its crash is accounted for.

        After a crash a missing ``opened`` proves nothing: it may not have reached the disk. An agent whose
        gate was being opened counts as opened, so that its job is never run twice.
        """
        boot = host_boot()
        crashed = self._history.meta("host_boot") not in (None, boot)
        if crashed:
            self.note(
                *(
                    AgentOpened(now, agent.generation)
                    for agent in self._memory.agents.values()
                    if agent.committed is not None and agent.opened is None and not agent.settled
                )
            )
        self._history.set_meta("host_boot", boot)
        return crashed

    def detect_clock_set_back(self, now: float) -> None:
        """Nothing was remembered in the future: the clock was set back while no manager ran."""
        by = ahead(self._memory, now)
        if by > CLOCK_SLACK:
            self.note(ClockJumped(now, -by))

    def upkeep(self, now: float, host: HostSpec) -> None:
        """Erase what is to be erased, and forget what is old."""
        if now >= self._next_scrub:
            self._history.scrub()
            self._next_scrub = now + SCRUB_EVERY
        if now < self._next_prune:
            return
        self._next_prune = now + PRUNE_EVERY
        try:
            self._history.prune(now - host.history_days * DAY, host.history_events)
        except Fault as fault:
            self._log.event("history.prune_failed", reason=str(fault))

    def reset_timers(self) -> None:
        """The clock has jumped: see to everything at the next chance."""
        self._next_scrub = self._next_prune = 0.0

    def keep_cursor(self) -> None:
        """Keep the last event of the Engine, for the next manager."""
        cursor = self._cursor(self._memory)
        text = _mark_text(cursor)
        if text is not None and cursor != self._kept_mark:
            try:
                self._history.set_meta("engine_mark", text)
            except Fault as fault:
                self._log.event("disk.lost", reason=str(fault))


def _mark_text(cursor: EventCursor | None) -> str | None:
    return f"{cursor.time_nano} {cursor.id} {cursor.action}" if cursor is not None else None


def mark_from(text: str | None) -> EventCursor | None:
    """The cursor that was kept as text; ``None`` where none was."""
    if text is None:
        return None
    time_nano, identity, action = text.split(" ", 2)
    return EventCursor(int(time_nano), identity, action)
