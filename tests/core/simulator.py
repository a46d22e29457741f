"""A host without a host: containers, witnesses and an Engine as plain values, and a loop in miniature.

``Host`` is the truth and knows nothing of Mayfly; ``Manager`` does what ``service/loop.py`` does, pass by
pass, and checks on every plan that it obeys the laws. Faults are the caller's choice, so that a property can
draw them: each action ends with a ``Fate``, and the manager may die between any two steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, cast

from mayfly.core import naming
from mayfly.core.actions import (
    Action,
    Dismiss,
    Enrol,
    Forget,
    Open,
    Prepare,
    Remove,
    Rename,
    SetSchedulable,
    Signal,
)
from mayfly.core.apply import ahead, apply
from mayfly.core.decide import decide
from mayfly.core.facts import (
    AgentArmed,
    AgentConfirmed,
    AgentCordoned,
    AgentCreated,
    AgentDismissed,
    AgentDoomed,
    AgentEnrolled,
    AgentExited,
    AgentRemoved,
    ClockJumped,
    Fact,
    GateOpening,
    JobCancelling,
    JobEnded,
    JobSubmitted,
    ManagerPaused,
    ManagerResumed,
    SlotCordoned,
    SlotReleased,
    SlotUncordoned,
)
from mayfly.core.memory import ENDS_JOBS, Cordon, Job, Memory, Pause
from mayfly.core.model import (
    Cause,
    Container,
    ContainerId,
    ContainerState,
    Death,
    Desired,
    DoomReason,
    Exit,
    Generation,
    GpuVerdict,
    HostId,
    JobId,
    JobState,
    Limits,
    Phase,
    PoolName,
    PoolSpec,
    ProbeVerdict,
    Removal,
    Roster,
    RosterEntry,
    SlotName,
    SlotSpec,
    StopStep,
    Witness,
    World,
)
from mayfly.core.notice import notice, unopened, unprepared
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.plan import Plan
from mayfly.core.rosters import absent, orphans
from mayfly.core.slots import CLOCK_SLACK, VACANCY, Tenancy, phase_of, tenancies
from mayfly.edge.history_reader import HistoryReader
from mayfly.providers.local.provider import Local

START = 1_800_000_000.0
OURS = HostId("ours00000000")
LADDER = (StopStep("TERM", 10.0),)
REST = 1.0  # seconds that a subject rests after a failed action


class Fate(StrEnum):
    """What becomes of an action."""

    DONE = "done"
    FAILED = "failed"  # nothing happened, and that was reported
    LOST = "lost"  # it was done, and a failure was reported
    HALF = "half"  # of a Prepare: made, not started, not cleaned up
    LASTING = "lasting"  # of a Prepare: refused for good


class Fault(Exception):
    """An action that was reported as failed."""

    def __init__(self, *, lasting: bool = False, busy: bool = False) -> None:
        super().__init__("it failed")
        self.lasting = lasting
        self.busy = busy  # the service says that the agent runs a job


@dataclass
class Box:
    """A container, and what really goes on in it."""

    generation: Generation
    slot: SlotName
    pool: PoolName
    fingerprint: str
    lease: tuple[str, ...]
    share: bool
    queue: bool
    auto_remove: bool
    name: str
    created: float
    state: ContainerState = ContainerState.RUNNING
    sent: bool = False  # something was written into its gate
    job: JobId | None = None
    running: bool = False  # its launcher passed the gate and has not ended
    working: bool = False  # of a service: it runs a job
    entry: str | None = None  # its id at the service

    @property
    def id(self) -> ContainerId:
        return ContainerId(f"id-{self.generation}")

    @property
    def live(self) -> bool:
        return self.seen().live

    def seen(self) -> Container:
        return Container(
            id=self.id,
            name=self.name,
            state=self.state,
            host=OURS,
            pool=self.pool,
            slot=self.slot,
            generation=self.generation,
            fingerprint=self.fingerprint,
            image="image",
            created=self.created,
        )


@dataclass
class Host:
    """The Engine, its containers and their witnesses."""

    now: float = START
    boxes: dict[Generation, Box] = field(default_factory=dict)
    witnesses: dict[Generation, Witness] = field(default_factory=dict)
    answers: bool = True  # False: the Engine cannot be asked
    lives: int = 1  # of the Engine
    slow: bool = False  # launchers wait for ``progress`` before each word to their witness
    pending: list[tuple[Generation, str]] = field(default_factory=list)
    deaths: list[tuple[Generation, Death]] = field(default_factory=list)
    runs: dict[JobId, list[Generation]] = field(default_factory=dict)
    codes: dict[JobId, int] = field(default_factory=dict)  # of jobs that ended by themselves
    entries: dict[str, RosterEntry] = field(default_factory=dict)  # of the service
    enlisted: int = 0
    service_answers: bool = True
    anonymous: bool = False  # only a roster tells an entry's id

    # -- launchers --

    def progress(self) -> None:
        """Every launcher comes as far as it can."""
        pending, self.pending = self.pending, []
        for generation, word in pending:
            box = self.boxes.get(generation)
            if box is None or not box.live:
                continue
            known = self.witnesses[generation]
            if word == "ready":
                self.witnesses[generation] = replace(known, ready=self.now)
            else:
                self._run(box)

    def _say(self, generation: Generation, word: str) -> None:
        self.pending.append((generation, word))
        if not self.slow:
            self.progress()

    def _run(self, box: Box) -> None:
        for other in self.boxes.values():
            if other is not box and other.running and set(other.lease) & set(box.lease):
                assert other.share, f"{box.slot} and {other.slot} run on the same GPU"
                assert box.share, f"{box.slot} and {other.slot} run on the same GPU"
        assert not box.running
        box.running = True
        self._appears(box)
        known = self.witnesses[box.generation]
        assert known.opened is None, "a gate was passed twice"
        self.witnesses[box.generation] = replace(known, opened=self.now)
        if box.job is not None:
            self.runs.setdefault(box.job, []).append(box.generation)
            assert len(self.runs[box.job]) == 1, "a job was run twice"

    def ends(self, generation: Generation, code: int, *, signalled: bool = False) -> None:
        """The launcher of a running agent ends by itself, or because it was told to."""
        box = self.boxes[generation]
        assert box.live
        if box.running and box.job is not None and not signalled:
            self.codes[box.job] = code
        if box.entry is not None and code == 0:  # a client that did its job signs off
            self.entries.pop(box.entry, None)
        known = self.witnesses[generation]
        end = Exit(code, 0, self.now)
        self.witnesses[generation] = replace(
            known, exit=end, signalled=known.signalled or signalled
        )
        self.dies(generation)

    def dies(self, generation: Generation) -> None:
        """The container ends, with no word of its launcher."""
        box = self.boxes[generation]
        box.running = box.working = False
        self._vanishes(box)
        self.deaths.append((generation, Death(box.id, 137, self.now)))
        if box.auto_remove:
            del self.boxes[generation]
        else:
            box.state = ContainerState.EXITED

    def engine_restarts(self, *, keeps: bool, gently: bool) -> None:
        """The Engine stops and starts; ``keeps``: its containers go on (live-restore)."""
        self.lives += 1
        if keeps:
            return
        for generation, box in list(self.boxes.items()):
            if not box.live:
                continue
            if gently and box.running:
                self.ends(generation, 143, signalled=True)
            else:
                self.dies(generation)

    # -- the service --

    def enlist(self, generation: Generation, slot: SlotName) -> str:
        """A new entry, of an agent that is not there yet."""
        self.enlisted += 1
        entry = RosterEntry(
            id=str(self.enlisted),
            name=naming.registered("host", slot, generation),
            online=False,
            busy=False,
            slot=slot,
            generation=generation,
        )
        self.entries[entry.id] = entry
        return entry.id

    def _appears(self, box: Box) -> None:
        for key, entry in self.entries.items():
            if entry.generation == box.generation and not box.queue:
                box.entry = key
                self.entries[key] = replace(entry, online=True)

    def _vanishes(self, box: Box) -> None:
        if box.entry in self.entries:
            entry = self.entries[box.entry]
            self.entries[box.entry] = replace(entry, online=False, busy=False)

    def gives_job(self, generation: Generation) -> None:
        """The service gives the agent a job, if it knows it."""
        box = self.boxes[generation]
        if box.running and box.entry in self.entries:
            box.working = True
            self.entries[box.entry] = replace(self.entries[box.entry], busy=True)

    # -- what the manager may do --

    def perform(self, action: Action, fate: Fate) -> str | None:
        """Do it, not at all, or without saying so; ``Fault`` is what the manager hears."""
        if fate is Fate.FAILED or not self.answers:
            raise Fault
        if fate is Fate.LASTING and isinstance(action, Prepare):
            raise Fault(lasting=True)
        if isinstance(action, Enrol | Dismiss | SetSchedulable) and not self.service_answers:
            raise Fault
        container = self._do(action, fate)
        if fate in (Fate.LOST, Fate.HALF):
            raise Fault
        return container

    def _do(self, action: Action, fate: Fate) -> str | None:  # noqa: C901, PLR0912  a case for each action
        box = self.boxes.get(action.generation or Generation(""))
        match action:
            case Prepare():
                return self._prepare(action, started=fate is not Fate.HALF)
            case Open(job=job):
                self._open(box, job)
            case Rename(to=to):
                if box is None or any(other.name == to for other in self.boxes.values()):
                    raise Fault
                box.name = to
            case Signal() if box is not None and box.running:
                self.ends(box.generation, 143, signalled=True)
            case Remove() if box is not None:
                self._remove(box)
            case Forget(generation=generation):
                assert box is None
                self.witnesses.pop(generation, None)
            case Enrol(generation=generation, slot=slot):
                return self.enlist(generation, slot)
            case Dismiss(registration=registration, keep=True):
                entry = self.entries.get(registration)
                assert entry is None or not entry.online, "a key was taken from an agent that works"
            case Dismiss(registration=registration):
                self._dismiss(registration)
            case SetSchedulable(registration=registration, cordoned=True):
                entry = self.entries.get(registration)
                if entry is not None and entry.busy:
                    raise Fault(busy=True)
            case _:
                pass
        return None

    def _open(self, box: Box | None, job: JobId | None) -> None:
        if box is None or not box.live:
            raise Fault
        assert not box.sent, "a gate was written twice"
        box.sent = True
        box.job = job
        self._say(box.generation, "opened")

    def _remove(self, box: Box) -> None:
        del self.boxes[box.generation]
        if box.live:
            self._vanishes(box)
            self.deaths.append((box.generation, Death(box.id, 137, self.now)))

    def _dismiss(self, registration: str) -> None:
        entry = self.entries.get(registration)
        if entry is not None and entry.busy:
            raise Fault(busy=True)
        self.entries.pop(registration, None)

    def _prepare(self, action: Prepare, *, started: bool) -> ContainerId:
        spec, generation = action.spec, action.generation
        if any(box.name == action.name for box in self.boxes.values()):
            raise Fault
        assert generation not in self.boxes
        box = Box(
            generation=generation,
            slot=spec.name,
            pool=spec.pool.name,
            fingerprint=spec.fingerprint,
            lease=spec.lease,
            share=spec.pool.share,
            queue=spec.embedded,
            auto_remove=spec.removal is Removal.ENGINE,
            name=action.name,
            created=self.now,
            state=ContainerState.RUNNING if started else ContainerState.CREATED,
        )
        self.boxes[generation] = box
        self.witnesses[generation] = Witness()
        if started:
            self._say(generation, "ready")
        return box.id


# -- what is desired -----------------------------------------------------------------------------


def pool(
    name: str,
    slots: int = 1,
    *,
    standby: bool = True,
    share: bool = False,
    disk: int | None = None,
    job_timeout: float | None = 6 * 3600.0,
    provider: str = "local",
) -> PoolSpec:
    return PoolSpec(
        name=PoolName(name),
        provider=provider,
        slots=slots,
        standby=standby,
        share=share,
        limits=Limits(job_timeout=job_timeout, disk=disk),
    )


def specs(
    of: PoolSpec,
    *,
    fingerprint: str = "f1",
    leases: tuple[tuple[str, ...], ...] = (),
    removal: Removal = Removal.ENGINE,
) -> tuple[SlotSpec, ...]:
    return tuple(
        SlotSpec(
            name=naming.slot(of.name, index),
            index=index,
            pool=of,
            image="image",
            fingerprint=fingerprint + "".join(leases[index] if leases else ()),
            lease=leases[index] if leases else (),
            removal=removal,
            embedded=of.provider == "local",
            ladder=LADDER,
        )
        for index in range(of.slots)
    )


def desire(*groups: tuple[SlotSpec, ...]) -> Desired:
    return Desired(tuple(spec for group in groups for spec in group))


# -- judging -------------------------------------------------------------------------------------

_LOCAL = Local(PoolSpec(name=PoolName("local")), cast(HistoryReader, None))


def judge(of: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
    """Pools called ``service…`` are of a service, all others the embedded queue."""
    if not of.startswith("service"):
        return _LOCAL.judge(end, signs)
    if end.exit is not None and end.exit.code == 0 and end.opened:
        return Outcome(Result.JOB_DONE)
    if end.doom is not None or end.engine_stopped:
        return Outcome(Result.NO_JOB)
    return Outcome(Result.DIED_YOUNG, detail="the client ended at once")


# -- the loop in miniature -----------------------------------------------------------------------


@dataclass
class Manager:
    """One manager after the other on the same host and journal."""

    host: Host
    desired: Desired
    journal: list[Fact] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    boots: int = 1
    minted: int = 0
    submitted: int = 0
    flight: dict[str, Action] = field(default_factory=dict)
    rests: dict[str, float] = field(default_factory=dict)
    gates: dict[Generation, str] = field(default_factory=dict)  # opened, ever -> by which run
    # What a manager knows only as long as it lives:
    deaths: dict[Generation, Death] = field(default_factory=dict)
    heard: int = 0
    last_seen: dict[Generation, float] = field(default_factory=dict)
    first_missed: dict[Generation, float] = field(default_factory=dict)
    life: int | None = None
    engine_stop: float | None = None
    sizes: dict[Generation, int] = field(default_factory=dict)
    rosters: dict[PoolName, Roster | None] = field(default_factory=dict)
    absences: dict[Generation, float] = field(default_factory=dict)
    orphaned: dict[tuple[PoolName, str], float] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return f"boot{self.boots}"

    @property
    def now(self) -> float:
        return self.host.now

    def mint(self) -> Generation:
        self.minted += 1
        return naming.generation(self.now, self.minted)

    def record(self, facts: Iterable[Fact]) -> None:
        """Write facts to the journal, then to the memory."""
        for fact in facts:
            if isinstance(fact, GateOpening):
                assert fact.generation not in self.gates, "a gate was to be opened twice"
                assert fact.run_id == self.run_id
                self.gates[fact.generation] = fact.run_id
                if fact.job is not None:
                    assert self.memory.jobs[fact.job].agent is None, "a job was given to two agents"
            if isinstance(fact, AgentCreated):
                assert fact.agent.generation not in self.memory.agents
            if isinstance(fact, AgentExited):
                assert not self.memory.agents[fact.generation].settled, "an end was told twice"
            if isinstance(fact, JobEnded):
                assert fact.job in self.memory.jobs, "a job ended twice"
            self.journal.append(fact)
            self.memory = apply(self.memory, [fact])

    # -- looking --

    def look(self) -> World:
        """The world as it can be seen now."""
        host = self.host
        if not host.answers:
            return self._world(None)
        if self.life is not None and self.life != host.lives:
            self.engine_stop = host.now
        self.life = host.lives
        for generation, death in host.deaths[self.heard :]:
            self.deaths[generation] = death
        self.heard = len(host.deaths)
        for generation in self.memory.agents:
            box = host.boxes.get(generation)
            if box is not None and box.live:
                self.last_seen[generation] = host.now
            elif generation in self.last_seen:
                self.first_missed.setdefault(generation, host.now)
        return self._world({box.generation: box.seen() for box in host.boxes.values()})

    def _world(self, containers: dict[Generation, Container] | None) -> World:
        return World(
            containers=containers,
            witnesses=dict(self.host.witnesses),
            sizes=dict(self.sizes),
            deaths=dict(self.deaths),
            last_seen=dict(self.last_seen),
            first_missed=dict(self.first_missed),
            engine_stop=self.engine_stop,
            rosters=dict(self.rosters),
            absent=dict(self.absences),
            orphans=dict(self.orphaned),
            gpu_verdicts={
                spec.name: GpuVerdict(fit=True) for spec in self.desired.slots if spec.lease
            },
            probes={generation: ProbeVerdict(sees=True) for generation in containers or {}},
        )

    def ask_service(self) -> None:
        """What the service says, and since when somebody is missing or alone, as the loop keeps it."""
        services = {agent.pool for agent in self.memory.agents.values() if not agent.embedded}
        services |= {spec.pool.name for spec in self.desired.slots if not spec.embedded}
        for of in services:
            entries = [entry for entry in self.host.entries.values() if entry.slot is not None]
            ours = tuple(entry for entry in entries if str(entry.slot).startswith(f"{of}-"))
            roster = Roster(ours, self.now) if self.host.service_answers else None
            self.rosters[of] = roster
            missing = absent(self.memory, of, roster) if roster is not None else frozenset()
            lone = (
                orphans(self.memory, roster, of, frozenset()) if roster is not None else frozenset()
            )
            for generation, agent in self.memory.agents.items():
                if agent.pool == of and generation not in missing:
                    self.absences.pop(generation, None)
            for generation in missing:
                self.absences.setdefault(generation, self.now)
            for key in [key for key in self.orphaned if key[0] == of and key[1] not in lone]:
                del self.orphaned[key]
            for registration in lone:
                self.orphaned.setdefault((of, registration), self.now)

    @property
    def in_flight(self) -> frozenset[str]:
        resting = {subject for subject, until in self.rests.items() if 0 < until - self.now <= REST}
        return frozenset(self.flight) | resting

    # -- one pass --

    def turn(self, cut: int | None = None) -> Plan:
        """Notice, decide, record, begin; ``cut``: the manager dies after so many facts of the plan."""
        world = self.look()
        noticed = notice(self.memory, world, self.now, judge, self.in_flight)
        if world.containers is None:
            self._check_unknown(noticed)
        self.record(noticed)
        plan = self._decide(world)
        self._check(plan, world)
        if cut is not None:
            self.record(plan.facts[:cut])
            self.crash(())
            return plan
        self.record(plan.facts)
        for action in plan.actions:
            if isinstance(action, Open):
                assert self.gates.get(action.generation) == self.run_id
            self.flight[action.subject] = action
        return plan

    def _decide(self, world: World) -> Plan:
        return decide(
            self.desired,
            world,
            self.memory,
            self.now,
            run_id=self.run_id,
            mint=self.mint,
            in_flight=self.in_flight,
        )

    def _check_unknown(self, facts: list[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, AgentExited):
                assert self.host.witnesses[fact.generation].exit is not None

    def _check(self, plan: Plan, world: World) -> None:
        """The laws that can be seen on a plan."""
        subjects = [action.subject for action in plan.actions]
        assert len(set(subjects)) == len(subjects), "two actions for one subject"
        assert not set(subjects) & self.in_flight, "an action for a subject that has one"
        assert plan.wake is None or plan.wake > self.now, "it would wake at once, for ever"
        if world.containers is None or self.memory.pause is not None:
            assert plan.empty
            return
        for action in plan.actions:
            agent = self.memory.agents.get(action.generation or Generation(""))
            if isinstance(action, Signal | Remove):
                assert agent is not None
                box = self.host.boxes.get(agent.generation)
                if box is not None and box.working:
                    assert agent.doom is not None
                    assert agent.doom.reason in ENDS_JOBS, "a service's busy agent was to be ended"
                if agent.busy:
                    assert agent.doom is not None
                    assert agent.doom.reason in ENDS_JOBS, "a busy agent was to be ended"
            if isinstance(action, Open):
                assert agent is not None
                self._check_lease(agent.generation)

    def _check_lease(self, generation: Generation) -> None:
        box = self.host.boxes[generation]
        for other in self.host.boxes.values():
            if other is not box and other.slot == box.slot and box.lease:
                assert not other.live or not other.sent, "an earlier agent may be at work"

    # -- what comes of actions --

    def finish(self, subject: str, fate: Fate = Fate.DONE) -> None:
        """An action under way comes to its end, and the manager hears of it."""
        action = self.flight.pop(subject)
        try:
            gave = self.host.perform(action, fate)
        except Fault as fault:
            self._failed(action, fault)
            return
        self._done(action, gave)

    def _done(self, action: Action, gave: str | None) -> None:
        match action:
            case Prepare():
                assert gave is not None
                self.record([AgentArmed(self.now, action.generation, ContainerId(gave))])
            case Enrol(generation=generation, slot=slot):
                name = naming.registered("host", slot, generation)
                known = None if self.host.anonymous else gave
                self.record([AgentEnrolled(self.now, generation, known, name)])
            case Dismiss(generation=generation):
                if generation is not None:
                    self.record([AgentDismissed(self.now, generation)])
                self.orphaned.pop((action.pool, action.registration), None)
            case SetSchedulable(generation=generation, cordoned=cordoned):
                self.record([AgentCordoned(self.now, generation, cordoned)])
            case Forget():
                self.record([AgentRemoved(self.now, action.generation)])
            case _:
                pass

    def _failed(self, action: Action, fault: Fault) -> None:
        self.rests[action.subject] = self.now + REST
        agent = self.memory.agents.get(action.generation or Generation(""))
        if agent is None:
            return
        if isinstance(action, Prepare):
            self.record(unprepared(agent, "it failed", fault.lasting, self.memory, self.now))
        elif isinstance(action, Dismiss | SetSchedulable) and fault.busy:
            self.record([AgentConfirmed(self.now, agent.generation, Phase.BUSY)])
        elif isinstance(action, Open):
            self.record(unopened(agent, "it failed", self.memory, self.now))

    def crash(self, done: Iterable[str]) -> None:
        """The manager dies; the actions ``done`` were done all the same. Another one starts."""
        for subject in done:
            action = self.flight.pop(subject, None)
            if action is not None:
                try:
                    self.host.perform(action, Fate.DONE)
                except Fault:
                    continue
        again = apply(Memory(), self.journal)
        assert again == self.memory, "replaying the facts gives another memory"
        self.memory = again
        self.boots += 1
        self.flight, self.rests = {}, {}
        self.deaths, self.last_seen, self.first_missed = {}, {}, {}
        self.heard = len(self.host.deaths)
        self.life, self.engine_stop = None, None
        self.rosters, self.absences, self.orphaned = {}, {}, {}
        self.begins()

    def begins(self) -> None:
        """What the loop does first: a memory of the future means that the clock was set back."""
        by = ahead(self.memory, self.now)
        if by > CLOCK_SLACK:
            self.record([ClockJumped(self.now, -by)])

    def jump(self, seconds: float) -> None:
        """The wall clock is set, and the manager notices at once."""
        self.host.now += seconds
        self.record([ClockJumped(self.now, seconds)])
        tables: tuple[dict[Any, float], ...] = (
            *(self.last_seen, self.first_missed, self.absences, self.orphaned, self.rests),
        )
        for table in tables:
            for key in table:
                table[key] += seconds
        self.engine_stop = self.engine_stop and self.engine_stop + seconds

    # -- what people ask --

    def submit(self, to: str, timeout: float | None = None) -> JobId:
        self.submitted += 1
        job = Job(
            id=JobId(f"job{self.submitted}"),
            pool=PoolName(to),
            serial=self.memory.serial + 1,
            submitted=self.now,
            timeout=timeout,
        )
        self.record([JobSubmitted(self.now, job)])
        return job.id

    def cancel(self, job: JobId) -> None:
        known = self.memory.jobs.get(job)
        if known is None:
            return
        self.record([JobCancelling(self.now, job, "ann")])
        if known.agent is None:
            self.record([JobEnded(self.now, job, JobState.CANCELLED, Cause.CANCELLED, None)])
        elif self.memory.agents[known.agent].doom is None:
            self.doom(known.agent, DoomReason.CANCELLED)

    def doom(self, generation: Generation, reason: DoomReason) -> None:
        agent = self.memory.agents.get(generation)
        if agent is not None and not agent.settled:
            self.record([AgentDoomed(self.now, generation, reason, by="ann")])

    def cordon(self, slot: SlotName, until: float | None = None, *, drain: bool = False) -> None:
        self.record([SlotCordoned(self.now, slot, Cordon(self.now, "ann", "", until, drain))])

    def uncordon(self, slot: SlotName) -> None:
        self.record([SlotUncordoned(self.now, slot, "ann")])

    def release(self, slot: SlotName) -> None:
        self.record([SlotReleased(self.now, slot, "ann")])

    def pause(self) -> None:
        self.record([ManagerPaused(self.now, Pause(self.now, "ann"))])

    def resume(self) -> None:
        self.record([ManagerResumed(self.now, "ann")])

    # -- the good days --

    def run(self, passes: int = 60) -> int:
        """Perfect execution until nothing is left to do now; the passes that it took."""
        for taken in range(passes):
            self.ask_service()
            plan = self.turn()
            for subject in list(self.flight):
                self.finish(subject)
            self.host.progress()
            self.ask_service()
            if plan.empty and not self._unnoticed():
                return taken
        raise AssertionError(f"no end after {passes} passes: {plan}")

    def _unnoticed(self) -> bool:
        return bool(notice(self.memory, self.look(), self.now, judge, self.in_flight))

    def pass_time(self, seconds: float, passes: int = 400) -> None:
        """Perfect execution while the time passes, waking when the plans say so."""
        until = self.host.now + seconds
        for _ in range(passes):
            self.run()
            plan = self._decide(self.look())
            if plan.wake is None or plan.wake > until:
                self.host.now = until
                self.run()
                return
            self.host.now = plan.wake
        raise AssertionError("it wakes too often")

    # -- questions of the tests --

    def tenancy(self, slot: str) -> Tenancy:
        return tenancies(self.memory.agents.values()).get(SlotName(slot), VACANCY)

    def phases(self, slot: str) -> list[str]:
        """The phases of the slot's own agent and of its standby."""
        tenancy = self.tenancy(slot)
        found = []
        if tenancy.own is not None:
            found.append(str(phase_of(tenancy.own, own=True)))
        if tenancy.standby is not None:
            found.append(str(phase_of(tenancy.standby, own=False)))
        return found

    def own(self, slot: str) -> Generation:
        own = self.tenancy(slot).own
        assert own is not None
        return own.generation

    def ended(self, job: JobId) -> JobEnded:
        """The one account of the job."""
        accounts = [fact for fact in self.journal if isinstance(fact, JobEnded) and fact.job == job]
        assert len(accounts) == 1
        return accounts[0]
