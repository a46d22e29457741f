"""The ledger: the way to disk, and who waits for it.

What a commit did not take has not happened: whoever asked for it is told so, and what came of actions stays
with the loop, since it is true all the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mayfly.core.codec import decoded, encoded
from mayfly.core.command_result import CommandResult, refusal
from mayfly.core.commands import Payload
from mayfly.core.facts import Fact
from mayfly.core.gpu_health import Quiet
from mayfly.core.gpu_use import Tally
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Memory
from mayfly.core.model import HostSpec, JobId
from mayfly.edge.boot import host_boot
from mayfly.edge.faults import Fault
from mayfly.edge.history import History
from mayfly.edge.log import Log
from mayfly.engines.protocol import EventCursor
from mayfly.service.pending_command import PendingCommand

RETRY = 1.0  # seconds before the disk is tried again
SCRUB_EVERY = 1.0  # seconds that what was erased may still stand in the write-ahead log
PRUNE_EVERY = 600.0
NOTE_EVERY = 60.0
DAY = 86400.0
GPU_USE, GPU_QUIET = "gpu_use", "gpu_quiet"


class Ledger:
    """The way to disk; used by the loop's thread alone."""

    def __init__(self, history: History, log: Log) -> None:
        self._history = history
        self._log = log
        self._payloads: dict[JobId, Payload] = {}
        self._waiting: list[tuple[PendingCommand, CommandResult]] = []  # for the disk
        self._settled: list[tuple[PendingCommand, CommandResult]] = []  # to be told
        self._kept_cursor: EventCursor | None = None
        self._next_scrub = 0.0
        self._next_prune = 0.0
        self._next_note = self._next_quiet = 0.0
        self._quiet = Quiet()  # as it was kept last
        self.disk_error: str | None = None  # why the last commit failed; None: it did not
        self.gone = False  # somebody took the file away
        self.retry_at: float | None = None

    def load(self) -> Memory:
        """What is remembered on disk."""
        return self._history.load()

    def take(self, pending: PendingCommand, result: CommandResult) -> None:
        """Answer a command, at once or when its facts are on disk and everybody can see them."""
        if not result.facts:
            pending.answer(result.status, result.body)
            return
        self._payloads.update(result.payloads)
        self._waiting.append((pending, result))

    def promised(self, job: JobId) -> bool:
        """Whether a job of that id is pending."""
        return job in self._payloads

    def rests(self, now: float) -> bool:
        """Whether it is too early to try a disk again that took nothing; not while somebody waits."""
        return self.retry_at is not None and now < self.retry_at and not self._waiting

    def in_place(self) -> bool:
        """Whether the state file is where it was; nobody has to commit anything for that to be told."""
        return self._history.in_place()

    def commit(
        self, facts: Sequence[Fact], memory: Memory, now: float, cursor: EventCursor | None
    ) -> bool:
        """Put the facts on disk; False where it did not take them, and then nothing has happened.

        Without facts a disk that took nothing the last time is tried, so that it is known when it is well.

        ``cursor``: up to which event of the Engine the memory has everything; ``None``: not further than is
        kept already.
        """
        self.gone = not self._history.in_place()
        if not facts and self.disk_error is None and not self.gone:
            return True
        try:
            self._history.commit(facts, memory, self._payloads, cursor=_cursor_text(cursor))
        except Fault as fault:
            self._refuse(str(fault))
            self.retry_at = now + RETRY
            return False
        if self.disk_error is not None:
            self._log.event("disk.back")
        self.disk_error, self.retry_at = None, None
        self._kept_cursor = cursor or self._kept_cursor
        self._settled += self._waiting
        self._waiting, self._payloads = [], {}
        return True

    def answer(self) -> None:
        """Tell those whose commands were committed or refused, once what came of them is published.

        So nobody who was answered reads a state from before.
        """
        settled, self._settled = self._settled, []
        for pending, result in settled:
            pending.answer(result.status, result.body)

    def _refuse(self, reason: str) -> None:
        if self.disk_error is None:
            self._log.event("disk.lost", reason=reason)
        self.disk_error = reason
        refused = refusal(503, "no_disk", f"nothing was changed: {reason}")
        self._settled += [(pending, refused) for pending, _ in self._waiting]
        self._waiting, self._payloads = [], {}

    # -- upkeep -----------------------------------------------------------------------------------

    def host_restarted(self) -> bool:
        """Whether the host was started again since the last manager; asked once."""
        boot = host_boot()
        restarted = self._history.meta("host_boot") not in (None, boot)
        self._history.set_meta("host_boot", boot)
        return restarted

    def upkeep(self, now: float, host: HostSpec) -> None:
        """Erase what is to be erased, and forget what is old."""
        if now >= self._next_scrub:
            self._history.scrub()
            self._next_scrub = now + SCRUB_EVERY
        if now < self._next_prune:
            return
        self._next_prune = now + PRUNE_EVERY
        try:
            if self._history.prune(now - host.history_days * DAY, host.history_events):
                self._next_prune = now  # the rest after the next pass
        except Fault as fault:
            self._log.event("history.prune_failed", reason=str(fault))

    def reset_timers(self) -> None:
        """The clock has jumped: see to everything at the next chance."""
        self._next_scrub = self._next_prune = self._next_note = self._next_quiet = 0.0

    def keep_cursor(self, cursor: EventCursor | None) -> None:
        """Keep the last event of the Engine, for the next manager."""
        text = _cursor_text(cursor)
        if text is not None and cursor != self._kept_cursor:
            try:
                self._history.set_meta("engine_mark", text)
            except Fault as fault:
                self._log.event("disk.lost", reason=str(fault))

    def keep_gpu_use(self, tally: Tally) -> None:
        """Keep what jobs that go on have done with their GPUs, for the next manager."""
        if not tally.sums:
            return
        try:
            self._history.set_meta(GPU_USE, json.dumps(encoded(tally.kept)))
        except Fault as fault:
            self._log.event("disk.lost", reason=str(fault))

    def note_gpu_use(self, tally: Tally, now: float) -> None:
        """The same now and then while jobs work with GPUs, for a manager that is killed."""
        if tally.working and now >= self._next_note and self.disk_error is None:
            self._next_note = now + NOTE_EVERY
            self.keep_gpu_use(tally)

    def keep_gpu_quiet(self, quiet: Quiet) -> None:
        """Keep how little is in use on GPUs that nobody works on, for the next manager."""
        if not quiet.loading or quiet == self._quiet:
            return
        try:
            self._history.set_meta(GPU_QUIET, json.dumps(encoded(quiet)))
        except Fault as fault:
            self._log.event("disk.lost", reason=str(fault))
        else:
            self._quiet = quiet

    def note_gpu_quiet(self, gpus: Gpus, now: float) -> None:
        """The same now and then, for a manager that is killed."""
        if gpus.watching and now >= self._next_quiet and self.disk_error is None:
            self._next_quiet = now + NOTE_EVERY
            self.keep_gpu_quiet(gpus.quiet)

    def gpu_quiet(self) -> Quiet:
        """What was kept of that."""
        try:
            found = decoded(json.loads(self._history.meta(GPU_QUIET) or "null"))
        except ValueError:  # of another version of Mayfly
            found = None
        self._quiet = found if isinstance(found, Quiet) else Quiet()
        return self._quiet

    def take_gpu_use(self) -> Tally:
        """What was kept of that, once: of jobs that end meanwhile nothing comes back."""
        text = self._history.meta(GPU_USE)
        if not text:
            return Tally()
        self._history.set_meta(GPU_USE, "")
        try:
            found = decoded(json.loads(text))
        except ValueError:  # of another version of Mayfly
            return Tally()
        return found if isinstance(found, Tally) else Tally()


def _cursor_text(cursor: EventCursor | None) -> str | None:
    return f"{cursor.time_nano} {cursor.id} {cursor.action}" if cursor is not None else None


def mark_from(text: str | None) -> EventCursor | None:
    """The cursor that was kept as text; ``None`` where none was."""
    if text is None:
        return None
    time_nano, identity, action = text.split(" ", 2)
    return EventCursor(int(time_nano), identity, action)
