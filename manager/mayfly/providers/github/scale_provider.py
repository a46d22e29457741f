"""GitHub as it hands jobs out: a scale set of the pool's own, whose jobs each get a runner made for them.

GitHub gives the set as many jobs as it was told there is room for, or offers them; an agent that stands at
its gate is registered for each, and no registration is made before. A GitHub without scale sets is spoken to
by the pool's `fallback`, where it has one. Facts and their source: GitHub's client for scale sets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from mayfly.core import naming
from mayfly.core.client_release import ClientRelease
from mayfly.core.delivery import Delivery
from mayfly.core.doubling import doubling
from mayfly.core.memory import Agent
from mayfly.core.model import HostId, HostSpec, PoolSpec, Roster, Severity
from mayfly.core.outcomes import End, Outcome
from mayfly.core.requests import Listen
from mayfly.edge.exchange import Interrupt
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.web import Budget, summed
from mayfly.providers import (
    Cordoned,
    Diagnosis,
    Dismissed,
    Enrolment,
    Finding,
    Sign,
    diagnosis,
)
from mayfly.providers.github import check, client_release, lines
from mayfly.providers.github.actions_service import ActionsService, Unsupported
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.groups import Groups
from mayfly.providers.github.labels import labels_of
from mayfly.providers.github.provider import GitHub
from mayfly.providers.github.scale_set import ScaleSet
from mayfly.providers.github.set_runners import SetRunners
from mayfly.providers.github.set_session import Lost, Session, Sessions
from mayfly.providers.github.settings import GitHubSettings

LIST_EVERY = 60.0  # seconds between lists at rest
# Calls an hour: for one question after the other, and for a slot with one job of ten seconds after the other.
CALLS, CALLS_OF_SLOT = 10_000, 4_000
LASTS = 60.0  # seconds within which a session that has answered nothing was lost at once
REOPEN, REOPEN_MOST = 5.0, 60.0  # seconds until one is opened after several that were lost at once
MOST_DELIVERED = 1_000  # numbers of messages that are kept
UNHEARD = 2  # questions in a row that failed, after which the queue's address is got anew


class ScaleSetGitHub:
    """One pool at GitHub that has a scale set."""

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = pool.settings
        assert isinstance(settings, GitHubSettings)
        self._pool, self._host, self._clock = pool, host, clock
        self._fallback: GitHub | None = None
        if settings.fallback is not None:
            ordinary = replace(settings, enrolment=settings.fallback)
            self._fallback = GitHub(replace(pool, settings=ordinary), host, host_id, clock)
        self.traits = replace(GitHub.traits, dispatches=True)
        self._connection = connection = Connection(pool, settings, clock)
        self._groups = Groups(connection, settings.runner_group)
        budget = Budget(CALLS + CALLS_OF_SLOT * pool.slots)
        self._service = ActionsService(pool, connection, clock, budget)
        self._name = settings.scale_set or f"{host.name}-{pool.name}"
        self._mark = f"mayfly-{host_id}-{pool.name}".lower()
        self._group = settings.runner_group
        self._parts: tuple[ScaleSet, SetRunners, Sessions] | None = None
        self._fallen_back = False
        self._left = 0  # the last turn that was left
        self._session: Session | None = None
        self._turn = 0  # in which it was opened
        self._unheard = 0  # questions in a row that failed
        self._delivered: set[int] = set()  # messages of this session that are not acknowledged
        self._opened_at = 0.0  # when it was opened
        self._heard = False  # whether it has answered a question
        self._short = 0  # sessions in a row that were lost at once
        self._reopen_at = 0.0  # not before
        self._interrupt = (0, Interrupt())  # of the question under way, and its turn
        # Who listens, who leaves and who acquires are three threads, with one session between them.
        self._lock = threading.Lock()

    # -- what is counted ---------------------------------------------------------------------------

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls were made, by operation and status."""
        fallback = [self._fallback.calls()] if self._fallback is not None else []
        return summed([self._connection.calls(), self._service.calls(), *fallback])

    def remaining(self) -> float | None:
        """How many calls GitHub still allows in this hour; ``None``: it has not said."""
        way = self._ordinary
        return self._connection.remaining() if way is None else way.remaining()

    def token_end(self) -> float | None:
        """When the pool's token ends, as GitHub says beside its answers."""
        way = self._ordinary
        return self._service.token_end if way is None else way.token_end()

    # -- jobs --------------------------------------------------------------------------------------

    def listen(self, word: Listen) -> Delivery:
        """Acknowledge, then wait for what GitHub says of the set's jobs."""
        try:
            return self._listened(word) if word.turn > self._left else Delivery()
        except Unsupported as fault:
            if self._fallback is None:
                raise self._advised(fault) from None
            self._fallen_back = True
            return Delivery(unsupported=str(fault))
        except Refused:
            self._forget()
            raise
        except Passing:
            if word.turn <= self._left:
                return Delivery()  # it was left meanwhile
            self._unheard += 1
            raise

    def acquire(self, jobs: tuple[int, ...]) -> tuple[int, ...]:
        """Take on jobs that were offered."""
        session = self._session
        if session is None:
            raise Passing("nobody listens to the scale set, so no job of it is taken on", 2.0)
        sessions = self._of_set()[2]
        won = sessions.acquire(session, jobs)
        if won is None:
            try:
                won = sessions.acquire(self._renewed(sessions, session), jobs)
            except Lost:
                won = None
        if won is None:
            raise Passing(
                "the session of the scale set has ended, so no job of it is taken on", 2.0
            )
        return won

    def leave(self, turn: int) -> None:
        """Have GitHub hand out no more: the session ends, and so does the question under way."""
        session: Session | None = None
        with self._lock:
            self._left = max(self._left, turn)
            if self._turn <= turn:
                session, self._session = self._session, None
            asked, interrupt = self._interrupt
        try:
            if session is not None:
                self._end(session)
        finally:
            if asked <= turn:
                interrupt.end()

    def _end(self, session: Session) -> None:
        sessions = self._of_set()[2]
        try:
            sessions.end(session)
        except Passing:  # else it would be in the way of the next one for a minute
            sessions.end(session)

    def _listened(self, word: Listen) -> Delivery:
        scale_set, runners, sessions = self._of_set()
        session = self._session
        if session is None:
            return self._begun(word)
        scale_set.number(labels_of(self._pool, word.labels))  # what its agents are may have changed
        interrupt = Interrupt()
        with self._lock:
            self._interrupt = (word.turn, interrupt)
            if word.turn <= self._left:
                return Delivery()
        try:
            if self._unheard >= UNHEARD:
                session = self._renewed(sessions, session)
                self._unheard = 0
            for message in word.acknowledge:
                if not sessions.acknowledge(session, message):
                    session = self._renewed(sessions, session)
                    sessions.acknowledge(session, message)
                self._delivered.discard(message)
            last = max(self._delivered, default=0)
            answer = sessions.ask(session, word.room, last, interrupt)
            if answer is None:
                session = self._renewed(sessions, session)
                answer = sessions.ask(session, word.room, last, interrupt)
        except Lost:
            answer = None
        if answer is None:
            return self._begun(word) if self._lost(session, word.turn) else Delivery()
        self._unheard, self._heard = 0, True
        delivery = answer.delivery
        runners.started(answer.started)
        runners.over(delivery.over)
        if delivery.message is not None:
            self._delivered.add(delivery.message)
            if len(self._delivered) > MOST_DELIVERED:
                self._delivered.remove(min(self._delivered))  # the last one counts
        return delivery

    def _lost(self, session: Session, turn: int) -> bool:
        """A session is no more; whether another is wanted, less and less often where each is lost at once."""
        with self._lock:
            if self._session is not None and self._session.id == session.id:
                self._session = None
            if turn <= self._left:
                return False
        now = self._clock()
        at_once = not self._heard and 0 <= now - self._opened_at < LASTS
        self._short = self._short + 1 if at_once else 0
        self._reopen_at = now
        if self._short > 1:
            self._reopen_at += doubling(REOPEN, REOPEN_MOST, self._short - 1)
        return True

    def _begun(self, word: Listen) -> Delivery:
        scale_set, _, sessions = self._of_set()
        wait = self._reopen_at - self._clock()
        if 0 < wait <= REOPEN_MOST:  # else the clock has jumped
            raise Passing(
                f'GitHub ends each session of the scale set "{scale_set.name}" as soon as it is opened, '
                f"{self._short} in a row; the next one is opened in {wait:.0f} s",
                wait,
            )
        session = sessions.open(labels_of(self._pool, word.labels))
        with self._lock:
            self._opened_at, self._unheard, self._heard = self._clock(), 0, False
            left = word.turn <= self._left
            if not left:
                self._session, self._turn = session, word.turn
                self._delivered.clear()
        if left:
            self._end(session)
            return Delivery()
        return Delivery(counts=session.counts, begins=True, warning=self._lacking(scale_set))

    def _renewed(self, sessions: Sessions, session: Session) -> Session:
        """The session with another token for its queue; ``Lost`` where it is no more."""
        with self._lock:
            current = self._session
        if current is not None and current.id == session.id and current.token != session.token:
            return current  # somebody else has just got it
        renewed = sessions.refresh(session)
        with self._lock:
            if self._session is not None and self._session.id == session.id:
                self._session = renewed
        return renewed

    def _lacking(self, scale_set: ScaleSet) -> str:
        if not scale_set.lacking:
            return ""
        missing = ", ".join(scale_set.lacking)
        return (
            f'the scale set "{scale_set.name}" of pool {self._pool.name} has not got the labels {missing}: '
            f"GitHub takes no more than its name here, so jobs reach it by `runs-on: {scale_set.name}` alone"
        )

    def _of_set(self) -> tuple[ScaleSet, SetRunners, Sessions]:
        """What belongs to the set; ``Refused`` where ``url`` names no place."""
        with self._lock:
            if self._parts is None:
                whose, place = self._connection.whose, self._connection.place
                scale_set = ScaleSet(
                    self._service, place, whose, self._name, self._mark, self._group
                )
                self._parts = (
                    scale_set,
                    SetRunners(self._service, scale_set, self._host.name, self._pool.name, whose),
                    Sessions(self._service, scale_set, self._host.name, whose),
                )
            return self._parts

    # -- agents ------------------------------------------------------------------------------------

    @property
    def _ordinary(self) -> GitHub | None:
        """Who is asked where GitHub has no scale sets; ``None``: the set is."""
        return self._fallback if self._fallen_back else None

    @property
    def roster_interval(self) -> float:
        """Seconds between rosters at rest."""
        way = self._ordinary
        return LIST_EVERY if way is None else way.roster_interval

    def roster(self) -> Roster | None:
        """The set's runners, and others that bear our names."""
        way = self._ordinary
        if way is not None:
            return way.roster()
        at = self._clock()
        scale_set, runners, _ = self._of_set()
        try:
            if scale_set.known is None and scale_set.found() is None:
                return Roster((), at)  # whoever listens makes it
            scale_set.number()
            return Roster(tuple(runners.look()), at)
        except Unsupported as fault:
            if self._fallback is not None:
                return self._fallback.roster()
            raise self._advised(fault) from None
        except Refused:
            self._forget()
            raise

    def answer(self) -> None:
        """One small call, to see whether GitHub answers."""
        way = self._ordinary
        if way is not None:
            way.answer()
        else:
            self._of_set()[1].one()

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """A runner of the set for this agent alone, as a file for its gate."""
        way = self._ordinary
        if way is not None:
            return way.enrol(agent, labels)
        name = naming.registered(self._host.name, agent.slot, agent.generation)
        try:
            return self._of_set()[1].make(name)
        except Refused:
            self._forget()
            raise

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """GitHub cannot be told: an idle runner is dismissed instead."""
        del registration, on
        return Cordoned()

    def retire(self, registration: str) -> None:
        """There are no entries to keep."""

    def dismiss(self, registration: str) -> Dismissed:
        """Remove a registration: what runs a job keeps it."""
        way = self._ordinary
        return self._of_set()[1].remove(registration) if way is None else way.dismiss(registration)

    def client_release(self, architecture: str, version: str | None = None) -> ClientRelease:
        """The runner that GitHub hands out, with its checksum."""
        return client_release.release(self._connection, architecture, version)

    def client_refused(self, version: str) -> float | None:
        """When GitHub refuses that runner, which it says of an enterprise's alone."""
        return client_release.refused(self._connection, version)

    def check(self) -> Diagnosis:
        """Whether we may do what we must, and what is unwise."""
        way = self._ordinary
        return diagnosis(self._findings()) if way is None else way.check()

    def _findings(self) -> Iterator[Finding]:
        self._forget()
        scale_set, runners, _ = self._of_set()
        try:
            found = scale_set.found()
        except Unsupported as fault:
            advised = self._advised(fault)
            if self._fallback is None:
                raise advised from None
            yield Finding(Severity.WARNING, str(fault), '# set enrolment = "jit" or "token"')
            return
        if found is not None:
            scale_set.see_ours(found)
        lacking = self._lacking(scale_set)
        if lacking:
            yield Finding(Severity.WARNING, lacking, "# name that label in your workflows")
        yield from check.findings(self._connection, self._groups, runners.versions)
        if self._pool.cancel_stuck:
            yield Finding(
                Severity.WARNING,
                "jobs that wait for a scale set are not looked at one by one, so none is cancelled",
                "# leave `cancel_stuck` out, or cancel what waits too long at GitHub",
            )

    def read(self, line: str) -> Sign | None:
        """What a line of the runner means."""
        return lines.read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent that ended so."""
        return lines.judge(end, signs)

    def _advised(self, fault: Fault) -> Refused:
        whose = self._connection.whose
        return Refused(f'{fault}: set enrolment = "jit" for {whose}, or fallback = "jit" beside it')

    def _forget(self) -> None:
        self._service.forget()
        self._connection.forget()
