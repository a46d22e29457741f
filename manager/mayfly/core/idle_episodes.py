"""When a host with nothing to do is paused: stages, from the last job to the host's return.

::

    watching ──▶ closing ──▶ pausing ──▶ awaited ──▶ watching
        ▲           │           │  the command failed    the host came back, or did not go
        └───────────┴───────────┘
         something to do, a veto, gates that do not close

Pure. Times are of a clock that stands still while the host is suspended, and never jumps. Gates are closed
before the command is run, and opened again whatever comes of it; a command that has succeeded is not run
again before there was something to do, or the host was away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from mayfly.core.doubling import doubling
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.idleness import Kind, Reason, blocking
from mayfly.core.model import Condition, Severity
from mayfly.core.quantities import spoken_age

CLOSING_MOST = 300.0  # seconds for all agents to be let go of and to end
AGAIN, AGAIN_MOST = 60.0, 3600.0  # seconds until what failed is tried again: doubled each time
ASKED_AGAIN = 30.0  # seconds between two looks for vetoes
TOLD_AFTER = 300.0  # seconds that an unknown keeps the host up before that is a condition
DOCTOR = "mayfly idle"


class Stage(StrEnum):
    """How far an episode has come."""

    WATCHING = "watching"  # there is something to do, or has been nothing for too short a time
    CLOSING = "closing"  # gates are shut, and agents let go of by their services
    PAUSING = "pausing"  # the command runs, or the webhook is called
    AWAITED = "awaited"  # it has succeeded: the host is to go, or to come back


LEAVING = (Stage.PAUSING, Stage.AWAITED)  # the host may go at any moment


class Want(StrEnum):
    """What is to be done now."""

    ASK = "ask"  # who is logged in, and the veto command
    CLOSE = "close"  # shut all gates
    OPEN = "open"  # and open them again
    RUN = "run"  # the command


@dataclass(frozen=True, slots=True)
class Asked:
    """What was answered of vetoes, and when."""

    at: float
    vetoes: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of the command."""

    failure: str = ""  # a sentence's end; "": it succeeded
    doubtful: bool = False  # it failed in such a way that the host may go all the same


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known at one moment."""

    reasons: tuple[Reason, ...] = ()
    still_open: str = ""  # why a job may yet begin; "": none can
    refused: str = ""  # why gates could not be shut, or were opened by somebody; "": they are
    active: float | None = None  # when something of a job happened last; None: nothing did
    asked: Asked | None = None  # None: vetoes were not asked for of late
    ran: Ran | None = None  # of a stage that is pausing
    away: bool = False  # the host was suspended, or stopped, since the last look


@dataclass(frozen=True, slots=True)
class Watch:
    """The episode that goes on; never changed in place."""

    stage: Stage = Stage.WATCHING
    since: float | None = None  # with nothing to do; None: there is something
    entered: float = 0.0  # when the stage began
    tries: int = 0  # that failed, in a row
    retry: float = 0.0  # not before
    failure: str = ""  # why it failed the last time
    doubtful: bool = False  # whether the command has succeeded is not known
    spent: bool = False  # the command has succeeded, and this host went nowhere
    unknown: float | None = None  # since when an answer that cannot be had is all that is missing
    why: str = ""  # the gates were opened again

    def due(self, settings: IdleSettings) -> float | None:
        """When the command is due; ``None``: not as things are."""
        if self.since is None or self.spent:
            return None
        return max(self.since + settings.after, self.retry)

    def step(self, seen: Seen, settings: IdleSettings, now: float) -> tuple[Watch, Want | None]:
        """After one more look; and what is to be done."""
        if seen.away:
            return self._back(now), Want.OPEN
        match self.stage:
            case Stage.WATCHING:
                return self._watching(seen, settings, now)
            case Stage.CLOSING:
                return self._closing(seen, now)
            case Stage.PAUSING:
                return self._pausing(seen, now)
            case Stage.AWAITED:
                return self._awaited(seen, settings, now)

    def _watching(
        self, seen: Seen, settings: IdleSettings, now: float
    ) -> tuple[Watch, Want | None]:
        watch = self._idle(seen, now)
        due = watch.due(settings)
        if due is None or now < due:
            return replace(watch, unknown=None), None
        if seen.reasons:
            return _kept_up(watch, seen.reasons, now), None
        if seen.asked is None or not 0 <= now - seen.asked.at < ASKED_AGAIN:
            return watch, Want.ASK
        if seen.asked.vetoes:
            return _kept_up(watch, seen.asked.vetoes, now), None
        return replace(watch, stage=Stage.CLOSING, entered=now, unknown=None, why=""), Want.CLOSE

    def _idle(self, seen: Seen, now: float) -> Watch:
        """Since when there is nothing to do."""
        if blocking(seen.reasons, Kind.WORK):
            return Watch(why=self.why)
        if seen.active is not None and (self.since is None or seen.active > self.since):
            return Watch(since=min(seen.active, now), why=self.why)
        return replace(self, since=now) if self.since is None else self

    def _closing(self, seen: Seen, now: float) -> tuple[Watch, Want | None]:
        if seen.refused:
            return self._opened(seen.refused, now), Want.OPEN
        for reason in blocking(seen.reasons, Kind.WORK, Kind.KEPT):
            since = None if reason.kind is Kind.WORK else self.since
            return replace(self._opened(reason.text, now), since=since), Want.OPEN
        if seen.still_open:
            if now - self.entered < CLOSING_MOST:
                return self, None
            late = f"its gates could not be closed in {spoken_age(CLOSING_MOST)}: {seen.still_open}"
            return self._failed(late, now), Want.OPEN
        asked = seen.asked
        if asked is None or asked.at < self.entered or not 0 <= now - asked.at < ASKED_AGAIN:
            return self, Want.ASK
        if asked.vetoes:
            return self._opened(asked.vetoes[0].text, now), Want.OPEN
        return replace(self, stage=Stage.PAUSING, entered=now), Want.RUN

    def _pausing(self, seen: Seen, now: float) -> tuple[Watch, Want | None]:
        if seen.refused:
            return self._opened(seen.refused, now), Want.OPEN
        if seen.ran is None:
            return self, None
        ran = seen.ran
        if ran.failure and not ran.doubtful:
            return self._failed(ran.failure, now), Want.OPEN
        awaited = replace(self, stage=Stage.AWAITED, entered=now, failure=ran.failure)
        return replace(awaited, doubtful=ran.doubtful), None

    def _awaited(self, seen: Seen, settings: IdleSettings, now: float) -> tuple[Watch, Want | None]:
        if seen.refused:
            return replace(self._back(now), why=seen.refused), Want.OPEN
        if now - self.entered < settings.gone_within:
            return self, None
        if self.doubtful:
            return replace(self._failed(self.failure, now), doubtful=False), Want.OPEN
        within = spoken_age(settings.gone_within)
        failure = f"the {settings.way} succeeded, and this host still runs after {within}"
        stayed = replace(self._opened(failure, now), tries=0, spent=True)
        return replace(stayed, failure=failure), Want.OPEN

    def _opened(self, why: str, now: float) -> Watch:
        return replace(self, stage=Stage.WATCHING, entered=now, why=why)

    def _failed(self, failure: str, now: float) -> Watch:
        tries = self.tries + 1
        retry = now + doubling(AGAIN, AGAIN_MOST, tries)
        return replace(self._opened(failure, now), tries=tries, retry=retry, failure=failure)

    def _back(self, now: float) -> Watch:
        """The host was away, or somebody wants it: what was idle before is not known to be idle."""
        return Watch(since=now, entered=now, why="the host is back")


def resumed(stage: str, ago: float, settings: IdleSettings, now: float) -> Watch:
    """With what a manager goes on that has started again on a host which was there all the time; ``ago``:
    seconds since the command was run last. A host that may still go keeps its gates closed for as long as it
    would have; a command that nobody saw to its end may have been obeyed.
    """
    ago = max(0.0, ago)
    if stage not in LEAVING or ago >= settings.gone_within:
        return Watch(entered=now)
    began = now - ago
    if stage == Stage.AWAITED:
        return Watch(Stage.AWAITED, since=began, entered=began)
    unseen = f"whether the {settings.way} succeeded is not known: the manager has started again"
    return Watch(Stage.AWAITED, since=began, entered=began, failure=unseen, doubtful=True)


def _kept_up(watch: Watch, reasons: Iterable[Reason], now: float) -> Watch:
    if any(reason.kind is not Kind.UNKNOWN for reason in reasons):
        return replace(watch, unknown=None)
    return watch if watch.unknown is not None else replace(watch, unknown=now)


def conditions(watch: Watch, seen: Seen, now: float) -> list[Condition]:
    """What a person should know of it."""
    found = []
    if watch.stage in (Stage.CLOSING, Stage.PAUSING, Stage.AWAITED):
        text = "this host is about to be paused: no gate is opened"
        found.append(Condition("idle.closed", Severity.INFO, text, DOCTOR))
    elif watch.spent:
        found.append(
            Condition("idle.stayed", Severity.WARNING, watch.failure, "sudo mayfly idle test")
        )
    elif watch.failure:
        again = spoken_age(max(0.0, watch.retry - now))
        text = f"this host has nothing to do and is not paused: {watch.failure}; again in {again}"
        found.append(Condition("idle.failing", Severity.WARNING, text, "sudo mayfly idle test"))
    elif watch.unknown is not None and now - watch.unknown >= TOLD_AFTER:
        unknown = blocking(
            (*seen.reasons, *(seen.asked.vetoes if seen.asked else ())), Kind.UNKNOWN
        )
        if unknown:
            idle = spoken_age(now - (watch.since or now))
            text = (
                f"this host has had nothing to do for {idle} and is not paused: {unknown[0].text}"
            )
            found.append(Condition("idle.unknown", Severity.WARNING, text, DOCTOR))
    return found
