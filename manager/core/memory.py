"""What the manager remembers, and the facts that change it.

A fact is something that has happened; it is on disk before anything is done because of it. ``apply`` is
the only way in which a memory changes, so replaying the facts of a history gives the memory again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from manager.core.model import (
    Cause,
    ContainerId,
    DoomReason,
    Generation,
    GpuUse,
    JobId,
    JobState,
    Phase,
    PoolName,
    SlotName,
)

# What may end an agent that runs a job (law 3): a person, or a limit. Every other reason supposed that
# it had none yet, and falls away when it turns out to have one.
ENDS_JOBS = frozenset(
    {DoomReason.TIMEOUT, DoomReason.DISK, DoomReason.CANCELLED, DoomReason.FORCED}
)

# -- what is remembered ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Doom:
    """That an agent is being ended, and how far down its stop ladder it is."""

    reason: DoomReason
    at: float
    by: str | None = None  # None: Mayfly itself
    detail: str = ""
    step: int = 0  # steps of the ladder already taken
    stepped: float = 0.0  # when the last was taken


@dataclass(frozen=True, slots=True)
class Agent:
    """One container's life in a slot, as far as it has come."""

    generation: Generation
    slot: SlotName
    pool: PoolName
    serial: int  # order of birth on this host, whatever the clock says
    fingerprint: str
    image: str
    lease: tuple[str, ...]
    born: float
    queue: bool = True
    container: ContainerId | None = None  # None: not known to exist yet
    armed: float | None = None  # its container was started and its gate attached
    ready: float | None = None  # it said that it waits at its gate
    enrolled: float | None = None  # the service gave what it needs
    enrolled_in: str | None = None  # the run of the manager that holds what the service gave
    registration: str | None = (
        None  # the service's id of it; None: not known, or the service gives none
    )
    registered: str | None = None  # its name at the service
    dismissed: bool = False  # the service has let go of it
    told: bool = False  # the service was told to give it no new job
    committed: float | None = None  # gate.opening is on disk
    boot: str | None = None  # the run of the manager that committed
    job: JobId | None = None
    timeout: float | None = None  # of its job, seconds; None: the pool's limit alone
    opened: float | None = None  # its launcher passed the gate
    confirmed: Phase | None = None  # idle or busy, as the best witness last said
    confirmed_at: float | None = None
    doom: Doom | None = None
    exited: float | None = None  # its outcome is on disk
    clean: bool = False  # it ended so that the service has let go of it by itself

    @property
    def settled(self) -> bool:
        """Whether its outcome is on disk."""
        return self.exited is not None

    @property
    def busy(self) -> bool:
        """Whether it runs a job, as far as is known."""
        if self.settled:
            return False
        if self.queue:
            return self.opened is not None
        return self.confirmed is Phase.BUSY


def reprieved(agent: Agent) -> Agent:
    """The agent, no longer to be ended for having no job if it turns out to run one."""
    if agent.busy and agent.doom is not None and agent.doom.reason not in ENDS_JOBS:
        return replace(agent, doom=None)
    return agent


@dataclass(frozen=True, slots=True)
class Cordon:
    """That a slot takes no new job."""

    since: float
    by: str
    note: str = ""
    until: float | None = None  # None: until a person lifts it
    drain: bool = False  # empty the slot, too


@dataclass(frozen=True, slots=True)
class SlotMemory:
    """What a slot has been through."""

    failures: int = 0  # young deaths in a row
    cooling_until: float | None = None
    held: str | None = None  # why it needs a person
    reason: str = ""  # of the last cooling
    vacant_since: float | None = None
    cordon: Cordon | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the embedded queue that has not ended; what it runs stays on disk."""

    id: JobId
    pool: PoolName
    serial: int  # the order of the queue
    submitted: float
    timeout: float | None = None  # seconds; None: the pool's limit
    tries: int = 0  # agents that took it and did not open
    agent: Generation | None = None  # None: queued
    slot: SlotName | None = None
    started: float | None = None
    cancelled_by: str | None = None  # None: nobody asked

    @property
    def state(self) -> JobState:
        """Queued or running."""
        return JobState.QUEUED if self.agent is None else JobState.RUNNING


@dataclass(frozen=True, slots=True)
class Pause:
    """That the manager only observes."""

    since: float
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """All that is remembered; never changed in place."""

    agents: Mapping[Generation, Agent] = field(default_factory=dict)
    slots: Mapping[SlotName, SlotMemory] = field(default_factory=dict)
    jobs: Mapping[JobId, Job] = field(default_factory=dict)
    pause: Pause | None = None
    serial: int = 0  # the highest given so far

    def slot(self, name: SlotName) -> SlotMemory:
        """What is remembered of the slot, which may be nothing."""
        return self.slots.get(name, NOTHING)


NOTHING = SlotMemory()

# -- what happens ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AgentCreated:
    """agent.created: a container for the slot is about to be made."""

    at: float
    agent: Agent
    reason: str


@dataclass(frozen=True, slots=True)
class AgentAdopted:
    """agent.adopted: a container of ours without a record was found."""

    at: float
    agent: Agent


@dataclass(frozen=True, slots=True)
class AgentArmed:
    """agent.armed: the container runs and its gate is attached."""

    at: float
    generation: Generation
    container: ContainerId


@dataclass(frozen=True, slots=True)
class AgentReady:
    """agent.ready: it waits at its gate."""

    at: float
    generation: Generation


@dataclass(frozen=True, slots=True)
class AgentEnrolled:
    """agent.enrolled: the service gave what opens its gate."""

    at: float
    generation: Generation
    registration: str | None
    registered: str | None = None
    boot: str | None = None  # the run of the manager that holds what was given


@dataclass(frozen=True, slots=True)
class GateOpening:
    """gate.opening: from here on this agent may run; written before the first byte is sent."""

    at: float
    generation: Generation
    boot: str
    job: JobId | None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class AgentOpened:
    """agent.opened: the launcher runs."""

    at: float
    generation: Generation


@dataclass(frozen=True, slots=True)
class AgentConfirmed:
    """agent.confirmed: the best witness says idle or busy."""

    at: float
    generation: Generation
    phase: Phase
    registration: str | None = None  # None: known already, or the witness has none


@dataclass(frozen=True, slots=True)
class AgentDismissed:
    """agent.dismissed: the service has let go of it, and it will get no job."""

    at: float
    generation: Generation


@dataclass(frozen=True, slots=True)
class AgentTold:
    """agent.told: the service knows whether it may give the agent a new job."""

    at: float
    generation: Generation
    cordoned: bool


@dataclass(frozen=True, slots=True)
class AgentDoomed:
    """agent.doomed: it is to end."""

    at: float
    generation: Generation
    reason: DoomReason
    by: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AgentPushed:
    """agent.pushed: one more step of its stop ladder is being taken."""

    at: float
    generation: Generation
    step: int


@dataclass(frozen=True, slots=True)
class AgentExited:
    """agent.exited: the whole life of one agent in one event."""

    at: float
    generation: Generation
    outcome: str
    cause: Cause | None
    exit_code: int | None
    oom_kills: int | None
    detail: str = ""
    gpus: tuple[GpuUse, ...] = ()
    clean: bool = False


@dataclass(frozen=True, slots=True)
class AgentRemoved:
    """agent.removed: nothing of it is left."""

    at: float
    generation: Generation


@dataclass(frozen=True, slots=True)
class SlotCooled:
    """slot.cooled: an agent died young; the next waits until ``until``."""

    at: float
    slot: SlotName
    until: float
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class SlotWarmed:
    """slot.warmed: its agents live again."""

    at: float
    slot: SlotName


@dataclass(frozen=True, slots=True)
class SlotHeld:
    """slot.held: it needs a person."""

    at: float
    slot: SlotName
    reason: str


@dataclass(frozen=True, slots=True)
class SlotReleased:
    """slot.released: a person said to try again."""

    at: float
    slot: SlotName
    by: str


@dataclass(frozen=True, slots=True)
class SlotCordoned:
    """slot.cordoned: no new job, and where ``drain`` is set no agent either."""

    at: float
    slot: SlotName
    cordon: Cordon


@dataclass(frozen=True, slots=True)
class SlotUncordoned:
    """slot.uncordoned: it may be filled again."""

    at: float
    slot: SlotName
    by: str


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """job.submitted: it is on disk and will be run."""

    at: float
    job: Job


@dataclass(frozen=True, slots=True)
class JobRequeued:
    """job.requeued: the agent that was to run it did not open."""

    at: float
    job: JobId
    generation: Generation
    counted: bool = True  # False: it did not open because Mayfly or the Engine ended it


@dataclass(frozen=True, slots=True)
class JobCancelling:
    """job.cancelling: a person wants it to end."""

    at: float
    job: JobId
    by: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """job.ended: its account is closed."""

    at: float
    job: JobId
    state: JobState
    cause: Cause | None
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class PoolPaused:
    """pool.paused: the manager only observes."""

    at: float
    pause: Pause


@dataclass(frozen=True, slots=True)
class PoolResumed:
    """pool.resumed."""

    at: float
    by: str


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """clock.jumped: the wall clock was set; what is remembered moves with it, so that no age changes."""

    at: float
    by: float  # seconds; negative: it was set back


Fact: TypeAlias = (
    AgentCreated
    | AgentAdopted
    | AgentArmed
    | AgentReady
    | AgentEnrolled
    | GateOpening
    | AgentOpened
    | AgentConfirmed
    | AgentDismissed
    | AgentTold
    | AgentDoomed
    | AgentPushed
    | AgentExited
    | AgentRemoved
    | SlotCooled
    | SlotWarmed
    | SlotHeld
    | SlotReleased
    | SlotCordoned
    | SlotUncordoned
    | JobSubmitted
    | JobRequeued
    | JobCancelling
    | JobEnded
    | PoolPaused
    | PoolResumed
    | ClockJumped
)


class _Draft:
    """A memory being rewritten: its tables are copied when first touched."""

    def __init__(self, memory: Memory) -> None:
        self.agents = dict(memory.agents)
        self.slots = dict(memory.slots)
        self.jobs = dict(memory.jobs)
        self.pause = memory.pause
        self.serial = memory.serial

    def agent(self, generation: Generation, **changes: object) -> None:
        known = self.agents.get(generation)
        if known is not None:
            self.agents[generation] = replace(known, **changes)  # type: ignore[arg-type]

    def reprieve(self, generation: Generation) -> None:
        known = self.agents.get(generation)
        if known is not None:
            self.agents[generation] = reprieved(known)

    def slot(self, name: SlotName, **changes: object) -> None:
        self.slots[name] = replace(self.slots.get(name, NOTHING), **changes)  # type: ignore[arg-type]

    def job(self, job: JobId, **changes: object) -> None:
        known = self.jobs.get(job)
        if known is not None:
            self.jobs[job] = replace(known, **changes)  # type: ignore[arg-type]

    def done(self) -> Memory:
        return Memory(self.agents, self.slots, self.jobs, self.pause, self.serial)


def apply(memory: Memory, facts: Iterable[Fact]) -> Memory:
    """The memory after the facts; facts about what is not known any more change nothing."""
    draft = _Draft(memory)
    for fact in facts:
        _write(draft, fact)
    return draft.done()


def _write(draft: _Draft, fact: Fact) -> None:  # noqa: C901, PLR0912  a case for each fact
    match fact:
        case (
            AgentCreated()
            | AgentAdopted()
            | AgentArmed()
            | AgentReady()
            | AgentEnrolled()
            | GateOpening()
            | AgentOpened()
            | AgentConfirmed()
            | AgentDismissed()
            | AgentTold()
            | AgentDoomed()
            | AgentPushed()
            | AgentExited()
            | AgentRemoved()
        ):
            _write_agent(draft, fact)
        case SlotCooled(slot=slot, until=until, failures=failures, reason=reason):
            draft.slot(slot, cooling_until=until, failures=failures, reason=reason)
        case SlotWarmed(slot=slot):
            draft.slot(slot, cooling_until=None, failures=0, reason="")
        case SlotHeld(slot=slot, reason=reason):
            draft.slot(slot, held=reason)
        case SlotReleased(slot=slot):
            draft.slot(slot, held=None, cooling_until=None, failures=0, reason="")
        case SlotCordoned(slot=slot, cordon=cordon):
            draft.slot(slot, cordon=cordon)
        case SlotUncordoned(slot=slot):
            draft.slot(slot, cordon=None)
        case JobSubmitted(job=job):
            draft.jobs[job.id] = job
            draft.serial = max(draft.serial, job.serial)
        case JobRequeued(job=job_id, counted=counted):
            known = draft.jobs.get(job_id)
            tries = (known.tries if known is not None else 0) + int(counted)
            draft.job(job_id, agent=None, slot=None, started=None, tries=tries)
        case JobCancelling(job=job_id, by=by):
            draft.job(job_id, cancelled_by=by)
        case JobEnded(job=job_id):
            draft.jobs.pop(job_id, None)
        case PoolPaused(pause=pause):
            draft.pause = pause
        case PoolResumed():
            draft.pause = None
        case ClockJumped(by=by):
            _shift(draft, by)
        case _:
            assert_never(fact)


AGENT_TIMES = (
    "born",
    "armed",
    "ready",
    "enrolled",
    "committed",
    "opened",
    "confirmed_at",
    "exited",
)


def ahead(memory: Memory, now: float) -> float:
    """How many seconds what is remembered lies in the future: the clock was set back meanwhile."""
    times = (getattr(agent, name) for agent in memory.agents.values() for name in AGENT_TIMES)
    return max(0.0, max((time - now for time in times if time is not None), default=0.0))


def _moved(value: float | None, by: float) -> float | None:
    return None if value is None else value + by


def _shift(draft: _Draft, by: float) -> None:
    """Move every time that an age is counted from; a time promised to a person stays."""
    for generation, agent in list(draft.agents.items()):
        times = {name: _moved(getattr(agent, name), by) for name in AGENT_TIMES}
        doom = agent.doom
        if doom is not None:
            doom = replace(doom, at=doom.at + by, stepped=doom.stepped + by)
        draft.agent(generation, **times, doom=doom)
    for name, slot in list(draft.slots.items()):
        draft.slot(
            name,
            cooling_until=_moved(slot.cooling_until, by),
            vacant_since=_moved(slot.vacant_since, by),
        )
    for job_id, job in list(draft.jobs.items()):
        draft.job(job_id, started=_moved(job.started, by))


AgentFact: TypeAlias = (
    AgentCreated
    | AgentAdopted
    | AgentArmed
    | AgentReady
    | AgentEnrolled
    | GateOpening
    | AgentOpened
    | AgentConfirmed
    | AgentDismissed
    | AgentTold
    | AgentDoomed
    | AgentPushed
    | AgentExited
    | AgentRemoved
)


def _write_agent(draft: _Draft, fact: AgentFact) -> None:  # noqa: C901, PLR0912  a case for each fact
    match fact:
        case AgentCreated(agent=agent) | AgentAdopted(agent=agent):
            draft.agents[agent.generation] = agent
            draft.serial = max(draft.serial, agent.serial)
        case AgentArmed(at=at, generation=generation, container=container):
            draft.agent(generation, armed=at, container=container)
        case AgentReady(at=at, generation=generation):
            draft.agent(generation, ready=at)
        case AgentEnrolled(at=at, generation=generation):
            draft.agent(
                generation,
                enrolled=at,
                registration=fact.registration,
                registered=fact.registered,
                enrolled_in=fact.boot,
            )
        case GateOpening(at=at, generation=generation, boot=boot, job=job, timeout=timeout):
            draft.agent(generation, committed=at, boot=boot, job=job, timeout=timeout)
            if job is not None and generation in draft.agents:
                draft.job(job, agent=generation, slot=draft.agents[generation].slot)
        case AgentOpened(at=at, generation=generation):
            draft.agent(generation, opened=at)
            draft.reprieve(generation)
            known = draft.agents.get(generation)
            if known is not None and known.job is not None:
                draft.job(known.job, started=at)
        case AgentConfirmed(at=at, generation=generation, phase=phase):
            draft.agent(generation, confirmed=phase, confirmed_at=at)
            if fact.registration is not None:
                draft.agent(generation, registration=fact.registration)
            draft.reprieve(generation)
        case AgentDismissed(generation=generation):
            draft.agent(generation, dismissed=True)
        case AgentTold(generation=generation, cordoned=cordoned):
            draft.agent(generation, told=cordoned)
        case AgentDoomed(at=at, generation=generation, reason=reason, by=by, detail=detail):
            known = draft.agents.get(generation)
            if known is not None and (reason in ENDS_JOBS or not known.busy):
                draft.agent(generation, doom=Doom(reason, at, by, detail))
        case AgentPushed(at=at, generation=generation, step=step):
            known = draft.agents.get(generation)
            if known is not None and known.doom is not None:
                draft.agent(generation, doom=replace(known.doom, step=step, stepped=at))
        case AgentExited(at=at, generation=generation):
            draft.agent(generation, exited=at, clean=fact.clean)
            known = draft.agents.get(generation)
            if known is not None:
                draft.slot(known.slot, vacant_since=at)
        case AgentRemoved(generation=generation):
            draft.agents.pop(generation, None)
        case _:
            assert_never(fact)


def event_name(fact: Fact) -> str:
    """The fact's name in log, history and ``mayfly events``: ``noun.verb_past``."""
    words = re.findall("[A-Z][a-z]*", type(fact).__name__)
    return f"{words[0]}.{'_'.join(words[1:])}".lower()
