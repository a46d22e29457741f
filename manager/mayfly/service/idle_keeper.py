"""Has a host paused that has nothing to do (``[host.idle]``), and sees when it is back; on its own thread.

What is idle and what is to be done next is decided in ``core/idleness.py`` and ``core/idle_episodes.py``.
Gates are closed and opened by commands to the loop, which looks once more whether there is something to do.
The command of the configuration is run here: nothing else waits for it. How far it has come is on disk
before it is run, so that the next manager opens what this one has closed, or awaits the host's going as long
as this one would have.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mayfly.core import host_closing
from mayfly.core.commands import Caller, CloseGates, Command, LeaveHost, OpenGates, RecycleSlots
from mayfly.core.facts import Fact
from mayfly.core.host_hours import Hours, Moment, Passage, passage, spread
from mayfly.core.idle_episodes import (
    LEAVING,
    Asked,
    Ran,
    Seen,
    Stage,
    Want,
    Watch,
    conditions,
    resumed,
)
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.idleness import CLOSER, Reason, is_activity, reasons, still_open, wanted_at
from mayfly.core.memory import Memory
from mayfly.core.model import Condition, HostSpec
from mayfly.core.state import State
from mayfly.edge.faults import Passing
from mayfly.edge.history_of_host import IdleRecord, Kept
from mayfly.edge.idle_call import Call, login_vetoes, pause_host, vetoes
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.moments import moment
from mayfly.service import idle_document
from mayfly.service.idle_document import Known
from mayfly.service.pending_command import Send, ask

LOOK = 1.0  # seconds between two looks
KEEP = 60.0  # seconds that are lost of the hours at most where a manager is killed
KEEP_LEAVING = 5.0  # the same while the host may go at any moment
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Outside:
    """What the keeper asks of the host; a test has its own."""

    vetoes: Callable[[IdleSettings, Call], tuple[Reason, ...]] = vetoes
    pause: Callable[[IdleSettings, Call], Ran] = pause_host
    logins: Callable[[IdleSettings], Iterable[Reason]] = login_vetoes
    moment: Callable[[], Moment] = moment


OUTSIDE = Outside()


class IdleKeeper:
    """All of ``[host.idle]``; ``recorded`` and ``conditions`` are for the loop's thread, and never wait."""

    subject = "an idle host"

    def __init__(
        self,
        host: HostSpec,
        state: Callable[[], State],
        send: Send,
        outside: Outside = OUTSIDE,
        look: float = LOOK,
    ) -> None:
        self._host = host
        self._state = state
        self._send = send
        self._outside = outside
        self._look_each = look
        self._record = IdleRecord(Path(host.state_dir))
        self._stopping = threading.Event()
        self._by = Caller(os.getpid(), os.getuid(), os.getgid(), CLOSER)
        self._watch = Watch()
        self._asked: Asked | None = None
        self._active: float | None = None  # on the steady clock
        self._last: Moment | None = None  # None: not begun
        self._owed: OpenGates | None = None  # what the loop has not done yet
        self._paused_at = 0.0
        self._unkept: dict[int, Hours] = {}
        self._kept_at = 0.0
        self._hours = Hours()
        self._away: Passage | None = None
        self._known: Known | None = None
        self._thread = LastingThread(self._run, "idle")

    # -- for others --

    def start(self) -> None:
        """Begin; without ``[host.idle]`` what an earlier manager closed for it is opened, and that is all."""
        if self._host.idle is None:
            if not host_closing.is_closed(self._state().memory):
                return
            self._owed = OpenGates(self._by, "the configuration has no [host.idle] any more")
        self._thread.start()

    def stop(self) -> None:
        """End; nobody waits for a command that runs, which may be what stops this host."""
        self._stopping.set()

    def recorded(self, facts: Iterable[Fact], before: Memory) -> None:
        """Facts are on disk."""
        del before
        if any(is_activity(fact) for fact in facts):
            self._active = time.monotonic()

    def conditions(self) -> list[Condition]:
        """What a person should know of it."""
        known = self._known
        if known is None:
            return []
        seen = replace(known.seen, asked=known.asked)
        return conditions(known.watch, seen, known.at.awake)

    def seconds(self) -> Hours | None:
        """Since this manager started; ``None``: nobody counts."""
        return self._known.hours if self._known is not None else None

    def hours(self, since: float, until: float) -> dict[int, Hours]:
        """By the quarter of an hour; a ``Fault`` where the disk does not say."""
        return self._record.hours(since, until)

    @property
    def settings(self) -> IdleSettings | None:
        """``None``: nothing is done about an idle host."""
        return self._host.idle

    def document(self) -> Mapping[str, object]:
        """What ``mayfly idle --json`` prints; asks who is logged in."""
        settings = self._host.idle
        if settings is None:
            return idle_document.unconfigured()
        return idle_document.configured(settings, self._known, self._outside.logins)

    # -- the thread --

    def _run(self) -> None:
        settings = self._host.idle
        if settings is None:
            self._open_for_good()
            return
        if self._last is None:
            self._resume(settings)
        while not self._stopping.wait(self._look_each):
            self._look(settings)

    def _open_for_good(self) -> None:
        """Open what is closed, as soon as the loop can: nobody else would."""
        self._open()
        while self._owed is not None and not self._stopping.wait(self._look_each):
            self._open()

    def _resume(self, settings: IdleSettings) -> None:
        """Go on where the last manager was: whatever it had closed is opened, and idleness begins anew. A
        host that is still to go is awaited on.
        """
        now = self._outside.moment()
        kept = None
        with suppress(Passing):
            kept = self._record.kept()
        self._last = now
        self._watch = Watch(entered=now.awake)
        if kept is None:
            return
        self._paused_at = kept.paused_at
        passed = passage(kept.moment, now, leaving=kept.stage in LEAVING, looked=False)
        self._count(passed, now, idle=False)
        if passed.how:
            self._back(passed)
            return
        self._watch = resumed(kept.stage, now.wall - kept.paused_at, settings, now.awake)
        if self._watch.stage is Stage.WATCHING:
            self._owed = OpenGates(self._by, "the manager has started again")

    def _back(self, passed: Passage) -> None:
        self._away = passed
        self._owed = OpenGates(self._by, "", passed.away, passed.how)
        self._recycle()

    def _look(self, settings: IdleSettings) -> None:
        passed = self._tick(looked=True)
        state, now = self._state(), self._last
        assert now is not None
        if passed.how:
            self._back(passed)
        if self._owed is not None or self._is_closed_for_nothing(state):
            self._open()
        seen = self._seen(state, now, away=bool(passed.how))
        want = self._step(seen, settings)
        while want is not None and not self._stopping.is_set():
            want = self._do(want, settings)
        self._publish(seen)

    def _seen(self, state: State, now: Moment, *, away: bool) -> Seen:
        stage = self._watch.stage
        closed = stage is not Stage.WATCHING
        return Seen(
            reasons=reasons(state, now.wall),
            still_open=still_open(state) if closed else "",
            refused=host_closing.opened_by_others(state.desired, state.memory) if closed else "",
            active=self._active,
            asked=self._asked,
            ran=Ran("it was not seen to its end") if stage is Stage.PAUSING else None,
            away=away,
        )

    def _step(self, seen: Seen, settings: IdleSettings) -> Want | None:
        assert self._last is not None
        before = self._watch
        self._watch, want = before.step(seen, settings, self._last.awake)
        if self._watch.stage is not before.stage:
            with suppress(Passing):
                self._keep()
            self._publish(seen)
        return want

    def _do(self, want: Want, settings: IdleSettings) -> Want | None:
        """Do it; what is wanted next, where that is known at once."""
        match want:
            case Want.ASK:
                self._asked = Asked(time.monotonic(), self._outside.vetoes(settings, self._call()))
                return None
            case Want.CLOSE:
                since = self._wall(self._watch.since)
                refused = self._command(CloseGates(self._by, since))
                return self._step(Seen(refused=refused), settings) if refused else None
            case Want.OPEN:
                if self._owed is None:
                    self._owed = OpenGates(self._by, self._watch.why)
                self._open()
                return None
            case Want.RUN:
                return self._pause(settings)

    def _pause(self, settings: IdleSettings) -> Want | None:
        if refused := self._command(LeaveHost(self._by, self._wall(self._watch.since))):
            return self._step(Seen(refused=refused), settings)
        self._paused_at = time.time()
        try:
            self._keep()
        except Passing as fault:  # whoever comes back would not know that it was done
            return self._step(Seen(ran=Ran(str(fault))), settings)
        ran = self._outside.pause(settings, self._call())
        passed = self._tick(looked=False)
        if passed.how:
            self._back(passed)
        return self._step(Seen(ran=ran, away=bool(passed.how)), settings)

    def _open(self) -> None:
        owed = self._owed or OpenGates(self._by, self._watch.why)
        needless = not owed.how and not host_closing.is_closed(self._state().memory)
        if needless or not self._command(owed):
            self._owed = None

    def _is_closed_for_nothing(self, state: State) -> bool:
        return self._watch.stage is Stage.WATCHING and host_closing.is_closed(state.memory)

    def _recycle(self) -> None:
        """Agents that lived through a suspension are replaced: what they and their service know of one
        another is old. One that has a job keeps it.
        """
        slots = tuple(
            dict.fromkeys(
                agent.slot
                for agent in self._state().memory.agents.values()
                if not agent.embedded and agent.opened is not None and not agent.settled
            )
        )
        if slots:
            self._command(RecycleSlots(self._by, slots))

    def _command(self, command: Command) -> str:
        """Have the loop do it; why it was not done, or ``""``."""
        answer = ask(self._send, command)
        return "" if answer.status == 200 else str(answer.body.get("error", answer.status))

    # -- clocks and hours --

    def _tick(self, *, looked: bool) -> Passage:
        """What became of the host since the last look."""
        before, now = self._last, self._outside.moment()
        assert before is not None
        leaving = self._watch.stage in LEAVING
        passed = passage(before, now, leaving=leaving, looked=looked)
        self._last = now
        self._count(passed, now, idle=self._watch.since is not None)
        pause = KEEP_LEAVING if leaving else KEEP
        if passed.how or now.awake - self._kept_at >= pause:
            with suppress(Passing):
                self._keep()
        return passed

    def _count(self, passed: Passage, now: Moment, *, idle: bool) -> None:
        for quarter, hours in spread(passed, now.wall, idle=idle).items():
            self._unkept[quarter] = self._unkept.get(quarter, Hours()) + hours
        self._hours += Hours(passed.up, passed.up if idle else 0.0, passed.away)

    def _keep(self) -> None:
        assert self._last is not None
        oldest = self._last.wall - self._host.history_days * DAY
        kept = Kept(self._last, str(self._watch.stage), self._paused_at)
        self._record.keep(kept, self._unkept, oldest)
        self._unkept = {}
        self._kept_at = self._last.awake

    def _wall(self, steady: float | None) -> float:
        assert self._last is not None
        return self._last.wall - (self._last.awake - steady if steady is not None else 0.0)

    def _call(self) -> Call:
        assert self._last is not None
        since = self._wall(self._watch.since)
        seconds = max(0.0, self._last.wall - since)
        wanted = wanted_at(self._state().memory)
        return Call(self._host.name, since, seconds, wanted_at=wanted)

    def _publish(self, seen: Seen) -> None:
        assert self._last is not None
        self._known = Known(self._watch, seen, self._last, self._asked, self._away, self._hours)
