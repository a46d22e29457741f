"""A service that hands its jobs out, as plain values beside the simulated host, and a manager that has it.

Jobs are offered, acquired, given to whichever agent of the pool connects first, and told of in messages that
are delivered until they are acknowledged. Counts are as of the answer. The truth of each job is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from mayfly.core.actions import AcquireJobs
from mayfly.core.delivery import Delivery, JobCounts, Offer
from mayfly.core.dispatch import Dispatch
from mayfly.core.model import Desired, Generation, PoolName, Traits
from mayfly.core.requests import Leave, Listen
from mayfly.core.stimuli import ActionDone, ActionFailed, Failure, Family, JobsTold, JobsUntold
from tests.core.simulator import Fate, Host, Manager, desire, pool, specs

POOL = PoolName("service")
HANDS_OUT = {POOL: Traits(dispatches=True)}
FAILED = Failure(Family.PASSING, "it is away")


def slots(count: int) -> Desired:
    """One pool of a service that hands its jobs out."""
    of = specs(pool(POOL, count, provider="github"))
    return desire(tuple(replace(spec, dispatched=True) for spec in of))


@dataclass
class Handed:
    """A job at the service."""

    id: int
    state: str = "offered"  # offered assigned running over
    by: list[Generation] = field(default_factory=list)  # who has begun it
    cancelled: bool = False


@dataclass
class Service:
    """The jobs of one pool, and the one session in which they are told of."""

    host: Host
    unasked: bool = False  # it assigns jobs by itself, up to what it was told there is room for
    jobs: list[Handed] = field(default_factory=list)
    pending: list[tuple[str, Handed, str]] = field(default_factory=list)
    messages: dict[int, list[tuple[str, Handed, str]]] = field(default_factory=dict)
    last: int = 0
    session: bool = False
    cursor: int = 0
    room: int = 0
    queued: int = 0  # jobs, ever

    def queue(self) -> Handed:
        self.queued += 1
        job = Handed(self.queued)
        self.jobs.append(job)
        if not self.unasked:
            self.pending.append(("offered", job, ""))
        return job

    def acquire(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        won = []
        for job in self.jobs:
            if job.id in ids and job.state == "offered":
                self._assign(job)
            if job.id in ids and job.state in ("assigned", "running"):
                won.append(job.id)
        return tuple(won)

    def _assign(self, job: Handed) -> None:
        job.state = "assigned"
        self.pending.append(("assigned", job, ""))

    def cancel(self, job: Handed) -> None:
        if job.state in ("offered", "assigned"):
            job.state, job.cancelled = "over", True
            self.pending.append(("over", job, ""))

    def progress(self) -> None:
        """Connected agents get the jobs that are assigned, the oldest first."""
        for generation, box in list(self.host.boxes.items()):
            entry = self.host.entries.get(box.entry or "")
            waiting = next((job for job in self.jobs if job.state == "assigned"), None)
            if waiting is None or not box.running or box.working or entry is None:
                continue
            self.host.gives_job(generation)
            waiting.state = "running"
            waiting.by.append(generation)
            self.pending.append(("started", waiting, entry.name))

    def finish(self, generation: Generation) -> None:
        """An agent's job is over, and its client ends."""
        job = next(job for job in self.jobs if job.state == "running" and generation in job.by)
        box = self.host.boxes[generation]
        name = self.host.entries[box.entry or ""].name
        job.state = "over"
        self.pending.append(("over", job, name))
        self.host.ends(generation, 0)

    def gives_up(self, generation: Generation) -> None:
        """Its job's agent is gone, and the service has noticed."""
        for job in self.jobs:
            if job.state == "running" and generation in job.by:
                job.state = "over"
                self.pending.append(("over", job, ""))

    def counts(self) -> JobCounts:
        running = sum(1 for job in self.jobs if job.state == "running")
        assigned = sum(1 for job in self.jobs if job.state == "assigned")
        available = sum(1 for job in self.jobs if job.state == "offered")
        return JobCounts(available=available, assigned=assigned + running, running=running)

    def answer(self, word: Listen) -> Delivery:
        """What it answers at once."""
        if not self.session:
            self.session, self.cursor = True, 0
            return Delivery(counts=self.counts(), begins=True)
        for message in word.acknowledge:
            self.messages.pop(message, None)
        self.room = word.room
        for job in self.jobs if self.unasked else ():
            if job.state == "offered" and self.counts().assigned < self.room:
                self._assign(job)
        number = next((one for one in sorted(self.messages) if one > self.cursor), None)
        if number is None and self.pending:
            number = self.last = self.last + 1
            self.messages[number], self.pending = self.pending[:3], self.pending[3:]
        if number is None:
            return Delivery()
        self.cursor = number
        return self._delivery(number)

    def _delivery(self, number: int) -> Delivery:
        told = self.messages[number]
        return Delivery(
            number,
            self.counts(),
            tuple(Offer(job.id, str(job.id)) for kind, job, _ in told if kind == "offered"),
            frozenset(job.id for kind, job, _ in told if kind != "offered"),
            tuple(name for kind, _, name in told if kind == "over" and name),
            frozenset(str(job.id) for kind, job, name in told if kind == "over" and not name),
        )


@dataclass
class Dispatched(Manager):
    """A manager whose pool's service hands its jobs out."""

    service: Service = field(default_factory=lambda: Service(Host()))
    word: Listen | None = None  # what the service was asked and has not answered

    def begins(self) -> None:
        super().begins()
        self.state = replace(self.state, dispatches={POOL: Dispatch(self.now)})
        self.word = None
        self.service.session = False  # an earlier manager's has ended

    def services(self) -> Mapping[PoolName, Traits]:
        return HANDS_OUT

    @property
    def known(self) -> Dispatch:
        return self.state.dispatches[POOL]

    def turned(self, *, recorded: bool = True) -> None:
        """One step, and what it asks of the service."""
        self._asks_nothing()
        self.turn(recorded=recorded)
        for request in self.asked:
            if isinstance(request, Listen):
                assert self.word is None, "two questions at once"
                self.word = request
            elif isinstance(request, Leave):
                self.service.session = False
                if self.word is not None:
                    self.word = None
                    self.inbox.append(JobsTold(POOL, Delivery()))

    def _asks_nothing(self) -> None:
        self.asked = ()  # a step that was not recorded leaves it as it is

    def answers(self, *, lost: bool = False) -> None:
        """The service answers what it was asked."""
        word, self.word = self.word, None
        if word is None:
            return
        delivery = self.service.answer(word)
        if lost:
            self.service.cursor = 0
            self.inbox.append(JobsUntold(POOL, FAILED))
        else:
            self.inbox.append(JobsTold(POOL, delivery, word.acknowledge))

    def finish(self, subject: str, fate: Fate = Fate.DONE) -> None:
        action = self.flight.get(subject)
        if not isinstance(action, AcquireJobs):
            super().finish(subject, fate)
            return
        del self.flight[subject]
        if fate in (Fate.FAILED, Fate.LASTING) or not self.service.session:
            self.inbox.append(ActionFailed(action, FAILED))
            return
        won = self.service.acquire(action.jobs)
        if fate in (Fate.LOST, Fate.HALF):
            self.inbox.append(ActionFailed(action, FAILED))
        else:
            self.inbox.append(ActionDone(action, acquired=won))

    def crash(self, done: Iterator[str] | tuple[str, ...] | set[str]) -> None:  # type: ignore[override]
        """As of any manager; what it was acquiring may have been acquired."""
        for subject in list(done):
            action = self.flight.get(subject)
            if isinstance(action, AcquireJobs):
                del self.flight[subject]
                if self.service.session:
                    self.service.acquire(action.jobs)
        super().crash(done)

    def settle(self, passes: int = 40) -> None:
        """Perfect execution for a while; no time passes but what is waited for on purpose."""
        for _ in range(passes):
            self.turned()
            for subject in list(self.flight):
                self.finish(subject)
            self.host.progress()
            self.service.progress()
            self.ask_service()
            self.answers()
            self.host.now += 0.5

    @property
    def idle(self) -> list[str]:
        """The names that are registered and have no job."""
        return [entry.name for entry in self.host.entries.values() if not entry.busy]
