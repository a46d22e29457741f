"""What the loop says of itself after each step: published status, log, metrics, and one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from mayfly.core import dispatch
from mayfly.core.actions import Action, Subject
from mayfly.core.conditions import client_conditions, service_conditions
from mayfly.core.delivery import JobCounts
from mayfly.core.facts import Fact
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Condition,
    Desired,
    EngineLines,
    Generation,
    HostSpec,
    PoolName,
    Severity,
    World,
)
from mayfly.core.notice import Judge
from mayfly.core.rosters import busy_without_job
from mayfly.core.signs import Reported
from mayfly.core.slots import SlotStatus
from mayfly.core.state import State
from mayfly.core.turns import NO_TURN, Turns
from mayfly.edge.descriptors import Descriptors
from mayfly.edge.log import Log
from mayfly.edge.room import Room
from mayfly.engines.protocol import EngineFacts
from mayfly.service import status
from mayfly.service.board import StatusBoard
from mayfly.service.bugs import Bug, Bugs, bug
from mayfly.service.metrics import Metrics

NOTHING_REPORTED = Reported()
AGAIN = 600.0  # seconds after which a bug that stays is told again
ENOUGH = 65536  # file descriptors for more slots than there are in a configuration


class Listener(Protocol):
    """Who wants to know how the loop is: systemd."""

    def passed(self, sentence: str) -> None:
        """A pass has ended."""

    def reloading(self) -> None:
        """The configuration is about to be read again; the next pass ends that."""


class Teller(Protocol):
    """Who does something by facts, or tells people elsewhere."""

    subject: str  # what its conditions are of, where these cannot be told

    def recorded(self, facts: Iterable[Fact], before: Memory) -> None:
        """These are on disk."""

    def conditions(self) -> list[Condition]:
        """What is the matter with that."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the manager itself stands on, for the lines about it."""

    words: EngineLines = EngineLines()  # noqa: RUF009  frozen
    info: EngineFacts | None = None  # None: not looked at yet
    room: tuple[Room, ...] = ()  # where Mayfly and the Engine write
    rejected: str | None = None  # what was wrong with the file, the last time it was read
    at_start: tuple[str, ...] = ()  # keys of [host] that were changed and wait for a restart
    disk_error: str | None = None  # None: the disk takes what it is given
    state_gone: bool = False  # the state file was taken away
    descriptors: Descriptors | None = None  # None: not counted
    no_threads: bool = False  # one could not be had of late


class Report:
    """The loop's voice; used by its thread alone."""

    def __init__(
        self,
        board: StatusBoard,
        log: Log,
        metrics: Metrics,
        listener: Listener,
        words: EngineLines,
        tellers: Sequence[Teller] = (),
    ) -> None:
        """``words``: what a person types at this engine; ``tellers``: nobody, where nobody is told."""
        self.words = words
        self._tellers = tellers
        self._board = board
        self._log = log
        self._listener = listener
        self._bugs = Bugs(log)
        self.metrics = metrics
        self.headline = ""
        self._busy_without_job: frozenset[Generation] = frozenset()  # of whom the log has told
        self._begun: dict[Subject, float] = {}
        self._met: dict[
            str, tuple[str, float]
        ] = {}  # the last bug of each source, and when it was told

    def stepped(
        self,
        state: State,
        world: World,
        now: float,
        conditions: Iterable[Condition],
        judge: Judge,
        steady: tuple[float, float],
        *,
        recorded: bool,
    ) -> None:
        """A step is over: publish it and count it; ``steady``: when it began and when it ended."""
        memory, (began, ended) = state.memory, steady
        doubted = busy_without_job(memory, world, now, judge)
        refused = state.refusals.by_pool
        conditions = [
            *self.asked(
                "telling of the services",
                lambda: [*service_conditions(state.contacts, refused, now)],
                now,
            ),
            *self.asked(
                "telling of the scale sets",
                lambda: [*dispatch.conditions(state.dispatches, now)],
                now,
            ),
            *conditions,
        ]
        rows = self.publish(
            *(state.config.host, state.desired, memory, world, now, conditions, doubted),
            refused=refused,
            reported=state.reported,
            handed=dispatch.counted(state.dispatches),
            turns=state.turns,
        )
        self.metrics.handed_out(dispatch.counted(state.dispatches))
        self.metrics.passed(
            *(rows, memory, world, now, ended, ended - began),
            recorded=recorded,
            down=state.contacts.down,
        )

    def publish(
        self,
        host: HostSpec,
        desired: Desired,
        memory: Memory,
        world: World,
        now: float,
        health: Iterable[Condition],
        busy_without_job: Mapping[Generation, float],
        *,
        refused: Mapping[PoolName, str] = MappingProxyType({}),
        reported: Reported = NOTHING_REPORTED,
        handed: Mapping[PoolName, JobCounts] = MappingProxyType({}),
        turns: Turns = NO_TURN,
    ) -> list[SlotStatus]:
        """Make the state known; the rows that were shown.

        ``busy_without_job``: since when a service lists an agent as busy that has reported no job.
        ``refused``: the pools that their service refuses, and why. ``reported``: what clients tell.
        """
        rows = status.noted(status.statuses(desired, memory, now, turns), busy_without_job, now)
        headline = status.headline(rows, memory, world, handed)
        lines = self.asked(
            "telling of the slots",
            lambda: [*status.health_of(rows, memory, world, now, self.words, refused)],
            now,
        )
        lines += health
        lines += self.asked(
            "telling of the clients", lambda: [*client_conditions(rows, reported, now)], now
        )
        lines += self._bugs.health(now)
        for teller in self._tellers:
            lines += self.asked(f"telling of {teller.subject}", teller.conditions, now)
        doubted = status.health_of_unbegun(rows, busy_without_job, now)
        lines += doubted.values()
        for generation in doubted.keys() - self._busy_without_job:
            self._log.event("agent.unbegun", doubted[generation].text, generation=generation)
        self._busy_without_job = (self._busy_without_job | doubted.keys()) & memory.agents.keys()
        self.metrics.healthy(lines)
        self._board.publish(status.document(host, rows, memory, world, headline, lines))
        if headline != self.headline:
            self._log.event("pass.ended", headline)
            self.headline = headline
        self._listener.passed(headline)
        return rows

    def begun(self, action: Action, steady: float) -> None:
        """An action is under way."""
        self._begun[action.subject] = steady
        self.metrics.begun(action)

    def ended(self, action: Action, steady: float, *, done: bool) -> None:
        """It is not any more."""
        took = steady - self._begun.pop(action.subject, steady)
        self.metrics.ended(action, took, done=done)

    def rested(self) -> None:
        """The loop is well, and had nothing to step over."""
        if self.headline:
            self._listener.passed(self.headline)

    def reloading(self) -> None:
        """The configuration is about to be read again."""
        self._listener.reloading()

    def erred(self, met: Bug, now: float) -> None:
        """Somebody met what only a bug in Mayfly explains."""
        self.metrics.failed()
        self._bugs.take(met, now)

    def asked(
        self, where: str, source: Callable[[], list[Condition]], now: float
    ) -> list[Condition]:
        """The conditions of one source; none where it meets a bug, which is told in their place."""
        try:
            return source()
        except Exception as error:  # noqa: BLE001  to tell of one thing must not keep the loop from all others
            self.met(where, error, now)
            return []

    def met(self, where: str, error: Exception, now: float) -> None:
        """A bug in Mayfly was met while something was shown: told, and again each ten minutes."""
        found = bug(where, error)
        known, at = self._met.get(where, ("", 0.0))
        if known != found.error or not 0 <= now - at < AGAIN:
            self._met[where] = found.error, now
            self.erred(found, now)

    def recorded(self, facts: Iterable[Fact], before: Memory, after: Memory) -> None:
        """Facts are on disk."""
        facts = tuple(facts)
        self.metrics.facts(facts, before, after)
        for fact in facts:
            self._log.fact(fact, after)
        for teller in self._tellers:
            teller.recorded(facts, before)


def own_health(ground: Ground) -> list[Condition]:
    """The lines about the manager's own ground: its disk, its Engine and its configuration."""
    lines = []
    info, rejected, disk_error = ground.info, ground.rejected, ground.disk_error
    if rejected is not None:
        text = f"{_first(rejected)}; the configuration from before is in force"
        lines.append(Condition("config.rejected", Severity.ERROR, text, "mayfly config check"))
    if ground.at_start:
        keys = ", ".join(f"host.{key}" for key in ground.at_start)
        text = f"{keys}: changed in the file, and read when Mayfly starts; jobs outlive that"
        fix = "sudo systemctl restart mayfly"
        lines.append(Condition("config.restart", Severity.WARNING, text, fix))
    for place in ground.room:
        if place.low:
            fix = place.fix(ground.words.on(ground.words.room, place.path))
            lines.append(Condition("disk.low", Severity.WARNING, place.text, fix))
    if disk_error is not None:
        text = f"{disk_error}; no gate is opened until it can be written, running jobs go on"
        fix = "sudo systemctl restart mayfly" if ground.state_gone else "df -h"
        lines.append(Condition("disk.refused", Severity.ERROR, text, fix))
    have = ground.descriptors
    if have is not None and have.few_left:
        text = f"the manager has {have.used} of {have.limit} file descriptors open: soon it can open nothing"
        fix = f"sudo prlimit --pid {os.getpid()} --nofile={max(ENOUGH, 2 * have.limit)}"
        lines.append(Condition("manager.descriptors", Severity.ERROR, text, fix))
    if ground.no_threads:
        text = "the manager could start no thread of late: what waits for one is done when there are some"
        fix = "sudo systemctl set-property --runtime mayfly TasksMax=2048"
        lines.append(Condition("manager.threads", Severity.ERROR, text, fix))
    if info is not None:
        # That Mayfly removes containers itself on such an Engine asks for nothing: the doctor tells it.
        lines += [info.restart] if info.restart is not None else []
    return lines


def _first(mistakes: str) -> str:
    """The first of the mistakes in a file, which stand on a line each, and how many there are."""
    first, *more = mistakes.splitlines()
    return f"{first}; {more[-1]} in all" if more else first
