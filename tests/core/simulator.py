"""A host without a host: containers, witnesses and an Engine as plain values, and the machine on it.

``Host`` is the truth and knows nothing of Mayfly; ``Manager`` hands what can be seen of it to the machine,
does what the machine wants, and checks on every step that it obeys the laws. Faults are the caller's choice,
so that a property can draw them: each action ends with a ``Fate``, the disk may take nothing, and the manager
may die between any two steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import Literal, cast

from mayfly.core import machine, naming
from mayfly.core.actions import (
    Action,
    CheckSandbox,
    Clear,
    Dismiss,
    Enrol,
    Forget,
    Freeze,
    MakeSandbox,
    Open,
    Prepare,
    Remove,
    RemoveSandbox,
    Rename,
    SetSchedulable,
    Signal,
    StartAgain,
    TakeResults,
    Thaw,
    UnlockClocks,
)
from mayfly.core.apply import apply
from mayfly.core.contact import KNOCK, Contacts
from mayfly.core.ending import registered_at_service
from mayfly.core.facts import (
    AgentAdopted,
    AgentCreated,
    AgentDoomed,
    AgentExited,
    AgentRemoved,
    AgentStopStepped,
    Fact,
    GateOpening,
    HoldAsked,
    HoldEnded,
    HoldExtended,
    JobCancelling,
    JobEnded,
    JobRequeued,
    JobSubmitted,
    ManagerPaused,
    ManagerResumed,
    ResultsTaken,
    SlotCordoned,
    SlotHeld,
    SlotReleased,
    SlotUncordoned,
)
from mayfly.core.gpus import Gpus
from mayfly.core.job_images import allows
from mayfly.core.machine import Step
from mayfly.core.memory import ENDS_JOBS, Agent, Cordon, Job, Memory, Pause
from mayfly.core.model import (
    Cause,
    Closing,
    Config,
    Container,
    ContainerId,
    ContainerState,
    Continuity,
    Death,
    Desired,
    DoomReason,
    Exit,
    Generation,
    GpuVerdict,
    HostId,
    HostSpec,
    JobId,
    JobImage,
    JobState,
    Limits,
    PoolName,
    PoolSpec,
    Priority,
    ProbeVerdict,
    Removal,
    Roster,
    RosterEntry,
    SlotName,
    SlotSpec,
    StopStep,
    Traits,
    Witness,
    World,
)
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.plan import Plan
from mayfly.core.polls import PollSchedule
from mayfly.core.requests import PaceGpus, Probe, ReadGpus, Request
from mayfly.core.slots import VACANCY, Tenancy, phase_of, tenancies
from mayfly.core.state import State, begin
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    ActivitySeen,
    Begun,
    ClockSet,
    Commanded,
    ContainerDied,
    EngineSeen,
    EngineUnseen,
    Failure,
    Family,
    GatewaySeen,
    LayersMeasured,
    OutputKept,
    Printed,
    RosterFailed,
    RosterSeen,
    Started,
    Stimulus,
    StreamTurned,
    WitnessesRead,
)
from mayfly.core.taking_in import REST
from mayfly.edge.history_reader import HistoryReader
from mayfly.providers.local.provider import Local

START = 1_800_000_000.0
OURS = HostId("ours00000000")
REFUSED = 78  # the exit code of a service's client that is not let in
JOB = "a job"  # what a client says that has taken one
LADDER = (StopStep("TERM", 10.0),)
MOMENT = 0.002  # seconds by which a time that is due may be late
# What only deciding records.
DECIDED = (AgentCreated, AgentDoomed, AgentStopStepped, GateOpening, SlotHeld, SlotUncordoned)


class Fate(StrEnum):
    """What becomes of an action."""

    DONE = "done"
    FAILED = "failed"  # nothing happened, and that was reported
    LOST = "lost"  # it was done, and a failure was reported
    HALF = "half"  # of a Prepare: made, not started, not cleaned up
    LASTING = "lasting"  # of a Prepare: refused for good


class Fault(Exception):
    """An action that was reported as failed."""

    def __init__(self, *, lasting: bool = False, busy: bool = False, unclean: bool = False) -> None:
        super().__init__("it failed")
        self.unclean = unclean  # something is in the sandbox of the gate that was to be opened
        self.lasting = lasting
        self.busy = busy  # the service says that the agent runs a job


@dataclass
class Made:
    """A container that the Engine shows."""

    generation: Generation
    slot: SlotName
    pool: PoolName
    fingerprint: str
    created: float

    @property
    def id(self) -> ContainerId:
        return ContainerId(f"id-{self.generation}")

    def _container(
        self,
        name: str,
        state: ContainerState,
        *,
        holds: bool = False,
        sandbox: ContainerId | None = None,
    ) -> Container:
        return Container(
            id=self.id,
            name=name,
            state=state,
            host=OURS,
            pool=self.pool,
            slot=self.slot,
            generation=self.generation,
            fingerprint=self.fingerprint,
            image="image",
            created=self.created,
            sealed=True,
            holds=holds,
            sandbox=sandbox,
        )


@dataclass
class Box(Made):
    """An agent's, and what really goes on in it."""

    lease: tuple[str, ...]
    share: bool
    queue: bool
    auto_remove: bool
    name: str
    state: ContainerState = ContainerState.RUNNING
    sent: bool = False  # something was written into its gate
    job: JobId | None = None
    running: bool = False  # its launcher passed the gate and has not ended
    working: bool = False  # of a service: it runs a job
    entry: str | None = None  # its id at the service
    image: str = "image"
    sandbox: ContainerId | None = None  # the holder that it joined
    devices: tuple[str, ...] = ()  # what the engine has given it, as far as it says so
    door: bool = False  # it may have containers of its own
    held: bool = False  # it was started once more, for a person

    @property
    def live(self) -> bool:
        return self.seen().live

    def seen(self) -> Container:
        seen = self._container(self.name, self.state, sandbox=self.sandbox)
        return replace(seen, devices=self.devices, door=self.door)


@dataclass
class Belonging:
    """A container that an agent has made: it goes on when its agent has ended."""

    slot: SlotName
    lease: tuple[str, ...]
    share: bool


@dataclass
class Holder(Made):
    """One that holds a network namespace."""

    started: bool = True
    littered: bool = False  # a job has left something in the namespace
    watched: bool = False  # by the manager that runs, since somebody came in who got a job
    fresh: bool = True  # nobody has had a job in there since it was seen to be clean

    def seen(self) -> Container:
        state = ContainerState.RUNNING if self.started else ContainerState.CREATED
        return self._container(naming.holder(self.slot, self.generation), state, holds=True)


@dataclass
class Host:
    """The Engine, its containers and their witnesses."""

    now: float = START
    boxes: dict[Generation, Box] = field(default_factory=dict)
    holders: dict[Generation, Holder] = field(default_factory=dict)
    witnesses: dict[Generation, Witness] = field(default_factory=dict)
    answers: bool = True  # False: the Engine cannot be asked
    lives: int = 1  # of the Engine
    slow: bool = False  # launchers wait for ``progress`` before each word to their witness
    pending: list[tuple[Generation, str]] = field(default_factory=list)
    deaths: list[tuple[Generation, Death]] = field(default_factory=list)
    # of which nothing runs any more, whatever the Engine says
    empty: set[Generation] = field(default_factory=set)
    runs: dict[JobId, list[Generation]] = field(default_factory=dict)
    again: dict[JobId, int] = field(default_factory=dict)  # how often it may be run once more
    codes: dict[JobId, int] = field(default_factory=dict)  # of jobs that ended by themselves
    asked: dict[JobId, str | None] = field(default_factory=dict)  # the images of jobs
    # the images that are there beside the pools' own, and those in which no gate ever stands
    images: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)  # of these none comes to its gate, or ends
    entries: dict[str, RosterEntry] = field(default_factory=dict)  # of the service
    enlisted: int = 0
    service_answers: bool = True
    output_kept: bool = True  # what ended containers printed is on disk at once
    gives: bool = True  # what is wanted of ended containers can be had
    anonymous: bool = False  # only a roster tells an entry's id
    # Of agents that may have containers: whether anything was made by their doors, and which are shut.
    doors: dict[Generation, bool] = field(default_factory=dict)
    shut: set[Generation] = field(default_factory=set)
    belongings: dict[Generation, Belonging] = field(default_factory=dict)
    shuts: bool = True  # False: no door can be shut
    gateway: str = ""  # why it is away; "": it is not

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
        for generation, left in self.belongings.items():
            if generation != box.generation:
                assert left.slot != box.slot, "what an ended agent made is in the slot"
                if set(left.lease) & set(box.lease):
                    assert left.share, "what an ended agent made is on its GPU"
                    assert box.share, "what an ended agent made is on its GPU"
        for other in self.boxes.values():
            if other.held and other.live and other is not box:
                assert other.slot != box.slot, "a person is in the slot"
                if set(other.lease) & set(box.lease):
                    assert other.share, "a person is on its GPU"
                    assert box.share, "a person is on its GPU"
        assert not box.running
        box.running = True
        self._appears(box)
        known = self.witnesses[box.generation]
        assert known.opened is None, "a gate was passed twice"
        self.witnesses[box.generation] = replace(known, opened=self.now)
        if box.job is not None:
            assert box.image == (self.asked[box.job] or "image"), "a job runs in another image"
            self.runs.setdefault(box.job, []).append(box.generation)
            most = 1 + self.again.get(box.job, 0)
            assert len(self.runs[box.job]) <= most, "a job was run twice"

    def ends(self, generation: Generation, code: int, *, signalled: bool = False) -> None:
        """The launcher of a running agent ends by itself, or because it was told to."""
        box = self.boxes[generation]
        assert box.live
        if box.running and box.job is not None:
            self.codes.pop(box.job, None)
            if not signalled:
                self.codes[box.job] = code
        if box.entry is not None and code == 0:  # a client that did its job signs off
            self.entries.pop(box.entry, None)
        known = self.witnesses[generation]
        end = Exit(code, 0, self.now)
        self.witnesses[generation] = replace(
            known, exit=end, signalled=known.signalled or signalled
        )
        self.dies(generation)

    def forges(self, generation: Generation) -> None:
        """A job that is root in its agent writes an end there, and goes on."""
        known, box = self.witnesses[generation], self.boxes[generation]
        self.witnesses[generation] = replace(known, exit=Exit(0, 0, self.now))
        if box.job is not None:
            self.codes[box.job] = 0  # as far as anybody can know

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
        self.holders.clear()
        for generation, box in list(self.boxes.items()):
            if not box.live:
                continue
            if gently and box.running:
                self.ends(generation, 143, signalled=True)
            else:
                self.dies(generation)

    # -- what agents make --

    def makes(self, generation: Generation) -> None:
        """A container is made by an agent's door, by its job or by one that it made before."""
        box = self.boxes[generation]
        if box.sent and generation in self.doors and generation not in self.shut:
            self.doors[generation] = True
            self.belongings[generation] = Belonging(box.slot, box.lease, box.share)

    def closes(self, generation: Generation) -> Closing | None:
        """An ended agent's door is shut; ``None`` where that fails."""
        box = self.boxes.get(generation)
        over = box is None or not box.live or generation in self.empty
        assert over, "the door of an agent that works is shut"
        if not self.shuts:
            return None
        self.shut.add(generation)
        return Closing(self.doors.get(generation, True))

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
            self.witnesses[generation] = replace(self.witnesses[generation], signs=(JOB,))
            self.entries[box.entry] = replace(self.entries[box.entry], busy=True)

    # -- what the manager may do --

    def perform(self, action: Action, fate: Fate) -> str | None:
        """Do it, not at all, or without saying so; ``Fault`` is what the manager hears."""
        if fate is Fate.FAILED or not self.answers:
            raise Fault
        if isinstance(action, TakeResults) and not self.gives:
            raise Fault
        if fate is Fate.LASTING and isinstance(action, Prepare | MakeSandbox | TakeResults):
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
            case MakeSandbox():
                return self._hold(action, started=fate is not Fate.HALF)
            case RemoveSandbox(generation=generation, container=container):
                self.holders.pop(generation, None)
                assert not any(one.live and one.sent for one in self._inside(container)), (
                    "its network was taken"
                )
            case Open(sandbox=sandbox) if sandbox is not None and not self._is_clean(sandbox):
                raise Fault(unclean=True)
            case Open(sandbox=sandbox, job=job):
                self._open(box, job)
                if sandbox is not None and (holder := self.holder(sandbox)) is not None:
                    holder.watched, holder.fresh = True, False
            case CheckSandbox(container=container):
                holder = self.holder(container)
                if holder is None or holder.littered or not holder.watched:
                    raise Fault(unclean=True)
                assert not any(map(self._runs, self._inside(container))), (
                    "a look while somebody is in"
                )
                holder.fresh = True
            case Rename(to=to):
                if box is None or any(other.name == to for other in self.boxes.values()):
                    raise Fault
                box.name = to
            case Freeze() if box is not None and box.live:
                box.state = ContainerState.PAUSED
            case Thaw() if box is not None and box.state is ContainerState.PAUSED:
                box.state = ContainerState.RUNNING
            case Signal() if box is not None and box.running:
                self.ends(box.generation, 143, signalled=True)
            case StartAgain():
                self._start_again(box)
            case Remove() if box is not None:
                self._remove(box)
            case Forget(generation=generation):
                assert box is None
                assert generation not in self.belongings, "what it made is left"
                assert action.door or generation not in self.doors
                self.witnesses.pop(generation, None)
                self.doors.pop(generation, None)
                self.shut.discard(generation)
            case Clear(generation=generation):
                assert generation in self.shut, "it may make more"
                self.belongings.pop(generation, None)
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
        if box.sandbox is not None:
            others = (one for one in self._inside(box.sandbox) if one is not box)
            assert not any(map(self._runs, others)), "two agents share a sandbox"
        box.sent = True
        box.job = job
        self._say(box.generation, "opened")

    def _inside(self, sandbox: ContainerId) -> list[Box]:
        return [one for one in self.boxes.values() if one.sandbox == sandbox]

    def _runs(self, box: Box) -> bool:
        return box.live and box.generation not in self.empty

    def _is_clean(self, sandbox: ContainerId) -> bool:
        holder = self.holder(sandbox)
        return holder is not None and not holder.littered

    def holder(self, container: ContainerId) -> Holder | None:
        """The holder of that id, if it runs."""
        found = (one for one in self.holders.values() if one.id == container and one.started)
        return next(found, None)

    def _hold(self, action: MakeSandbox, *, started: bool) -> ContainerId:
        spec, generation = action.spec, action.generation
        assert generation not in self.holders
        assert generation not in self.boxes
        made = Holder(
            generation, spec.name, spec.pool.name, spec.fingerprint, self.now, started=started
        )
        self.holders[generation] = made
        return made.id

    def _start_again(self, box: Box | None) -> None:
        if box is None:
            raise Fault
        assert box.sent, "its gate could be opened"
        assert not box.running, "its job goes on"
        assert box.generation not in self.belongings, "what it made is left"
        entry = self.entries.get(box.entry or "")
        assert entry is None, "its service knows it"
        box.state, box.held = ContainerState.RUNNING, True
        self.empty.discard(box.generation)

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
        assert (action.sandbox is not None) == spec.sandboxed
        if action.sandbox is not None:
            holder = self.holder(action.sandbox)
            if holder is None:
                raise Fault
            assert holder.fresh, "it joins where a job was, and nobody has looked"
            assert not any(map(self._runs, self._inside(action.sandbox))), (
                "two agents share a sandbox"
            )
        if spec.image != "image" and spec.image not in self.images:
            raise Fault(lasting=True)
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
            sandbox=action.sandbox,
            image=spec.image,
            door=spec.pool.containers,
        )
        self.boxes[generation] = box
        self.witnesses[generation] = Witness()
        if started and box.door:
            self.doors[generation] = False
        if started and spec.image in self.broken:
            self.dies(generation)
        elif started and spec.image not in self.hanging:
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
    sandbox: Literal["job", "slot"] = "job",
    job_images: tuple[str, ...] = (),
    containers: bool = False,
    hold_failed: float = 0.0,
) -> PoolSpec:
    return PoolSpec(
        hold_failed=hold_failed,
        containers=containers,
        job_images=job_images,
        sandbox=sandbox,
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
    kept = ("kept" if of.sandbox == "slot" else "") + ("door" if of.containers else "")
    return tuple(
        SlotSpec(
            name=naming.slot(of.name, index),
            index=index,
            pool=of,
            image="image",
            fingerprint=fingerprint + kept + "".join(leases[index] if leases else ()),
            lease=leases[index] if leases else (),
            removal=removal,
            embedded=of.provider == "local",
            ladder=LADDER,
        )
        for index in range(of.slots)
    )


def desire(*groups: tuple[SlotSpec, ...]) -> Desired:
    return Desired(tuple(spec for group in groups for spec in group))


def with_images(desired: Desired, there: Iterable[str], looked_for: Iterable[str] = ()) -> Desired:
    """The same, once the images were looked for: what is not ``there`` is known not to be."""
    there = set(there)
    return replace(
        desired,
        job_images={
            (of.name, image): JobImage(image)
            if image in there
            else JobImage(problem=f"image {image} is not on this Engine")
            for of in {spec.pool.name: spec.pool for spec in desired.slots}.values()
            for image in {*there, *looked_for}
            if allows(of, image)
        },
    )


# -- judging -------------------------------------------------------------------------------------

_LOCAL = Local(PoolSpec(name=PoolName("local")), cast(HistoryReader, None))


def judge(of: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
    """Pools called ``service…`` are of a service, all others the embedded queue."""
    if not of.startswith("service"):
        return _LOCAL.judge(end, signs)
    if end.exit is not None and end.exit.code == 0 and end.opened:
        return Outcome(Result.JOB_DONE)
    if end.exit is not None and end.exit.code == REFUSED:
        return Outcome(Result.REFUSED, detail="the service takes no such agent")
    if end.doom is not None and end.exit is None and JOB in signs:
        return Outcome(Result.UNKNOWN)
    if end.doom is not None or end.engine_stopped:
        return Outcome(Result.NO_JOB)
    return Outcome(Result.DIED_YOUNG, detail="the client ended at once")


# -- the machine on that host --------------------------------------------------------------------

HOST = Config(HostSpec("host"), ())
SERVICES = {PoolName("service"): Traits()}
SELDOM = 3600.0  # seconds between lists that nobody waits for: the tests list when they want to
NEVER = PollSchedule(next_look=inf, next_survey=inf)  # every turn looks, so nobody asks for it


@dataclass(frozen=True, slots=True)
class FitGpus(Gpus):
    """GPUs that are all well, and seen by whoever they are leased to."""

    def judged(
        self, desired: Desired, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, World]:
        verdicts = {spec.name: GpuVerdict(fit=True) for spec in desired.slots if spec.lease}
        probes = {generation: ProbeVerdict(sees=True) for generation in world.containers or {}}
        return self, replace(world, gpu_verdicts=verdicts, probes=probes)

    def scheduled(
        self, desired: Desired, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, tuple[PaceGpus | ReadGpus | Probe, ...], float | None]:
        return self, (), None


@dataclass
class Manager:
    """One manager after the other on the same host and journal: the machine, and nothing beside it."""

    host: Host
    desired: Desired
    journal: list[Fact] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    boots: int = 0
    submitted: int = 0
    flight: dict[str, Action] = field(default_factory=dict)  # begun, and not heard of since
    gates: dict[Generation, str] = field(default_factory=dict)  # opened, ever -> by which run
    sizes: dict[Generation, int] = field(default_factory=dict)
    inbox: list[Stimulus] = field(default_factory=list)
    unmade: set[Generation] = field(default_factory=set)  # for a fault that passes
    heard: int = 0  # deaths that this manager was told of
    life: int | None = None  # of the Engine, when this manager last looked
    asked: tuple[Request, ...] = ()  # by the last step, once its facts were on disk

    def __post_init__(self) -> None:
        self.begins()

    def begins(self) -> None:
        """A run begins, with what is remembered."""
        self.boots += 1
        config, traits = self.config(), self.services()
        self.state = replace(
            begin(OURS, f"boot{self.boots}", config, self.memory, self.gpus(), self.boots),
            traits=traits,
            contacts=Contacts().use(traits, (), self.now),
        )
        self.flight = {}
        self.inbox = [Started(host_restarted=False)]
        self.heard, self.life = len(self.host.deaths), None

    @property
    def run_id(self) -> str:
        return self.state.run_id

    @property
    def now(self) -> float:
        return self.host.now

    def config(self) -> Config:
        """The configuration, as far as tests need one."""
        return HOST

    def services(self) -> Mapping[PoolName, Traits]:
        """The pools that have a service, and what their providers say of themselves."""
        return SERVICES

    def judge(self, of: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent."""
        return judge(of, end, signs)

    def gpus(self) -> Gpus:
        """What is known of the GPUs."""
        return FitGpus()

    def mint(self) -> Generation:
        """For those who ask a rule without the machine."""
        return naming.generation(self.now, 0)

    def record(self, facts: Iterable[Fact]) -> None:
        """Something that a person wants is to be recorded."""
        self.inbox.append(Commanded(tuple(facts)))

    def _write(self, facts: Iterable[Fact]) -> None:
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
            if isinstance(fact, ResultsTaken):
                assert self.memory.agents[fact.generation].results is None, "results came twice"
            if isinstance(fact, AgentRemoved):
                gone = self.memory.agents[fact.generation]
                wanted = gone.out and gone.opened is not None
                assert not wanted or gone.results is not None, "results went untold"
            self.journal.append(fact)
            self.memory = apply(self.memory, [fact])

    # -- looking --

    def containers(self) -> tuple[Container, ...]:
        """What a look shows."""
        host = self.host
        agents = [box.seen() for box in host.boxes.values()]
        return (*agents, *(holder.seen() for holder in host.holders.values()))

    def sight(self) -> list[Stimulus]:
        """What can be seen now."""
        host = self.host
        if not host.answers:
            return [EngineUnseen("it does not answer")]
        sights: list[Stimulus] = []
        if self.life is not None and self.life != host.lives:
            sights.append(StreamTurned(up=True, continuity=Continuity.RESTARTED))
        sights += [ContainerDied(*death) for death in host.deaths[self.heard :]]
        results = [told for told in self.inbox if isinstance(told, ActionDone | ActionFailed)]
        sights.append(EngineSeen(self.state.results + len(results), self.containers()))
        if host.output_kept:
            sights += [OutputKept(box.generation) for box in host.boxes.values() if not box.live]
        if self.sizes:
            sizes = {
                box.id: self.sizes[name] for name, box in host.boxes.items() if name in self.sizes
            }
            sights.append(LayersMeasured(sizes))
        if host.gateway != self.state.observed.world.gateway:
            sights.append(GatewaySeen(host.gateway))
        return sights

    def _ready(self) -> State:
        """The state, as a test wants the slots and GPUs."""
        return replace(self.state, desired=self.desired, gpus=self.gpus(), polls=NEVER)

    def _witnesses(
        self, generations: Iterable[Generation], closing: Iterable[Generation] = ()
    ) -> WitnessesRead:
        shut = {name: self.host.closes(name) for name in closing}
        return WitnessesRead(
            {name: self.host.witnesses.get(name) for name in generations},
            closed={name: found for name, found in shut.items() if found is not None},
        )

    def _taken(self) -> State:
        """The state with all that is to be known now, before anything is decided."""
        read = self._witnesses({*self.host.witnesses, *self.memory.agents})
        return machine.taken_in(self._ready(), [*self.inbox, *self.sight(), read], self.now)

    def look(self) -> World:
        """The world as it can be seen now."""
        taken = self._taken()
        return taken.gpus.judged(self.desired, self.memory, taken.observed.world, self.now)[1]

    def ask_service(self) -> None:
        """What the service says of each pool."""
        known = self.memory.agents.values()
        services = {agent.pool for agent in known if not agent.embedded}
        services |= {spec.pool.name for spec in self.desired.slots if not spec.embedded}
        for of in sorted(services):
            entries = [entry for entry in self.host.entries.values() if entry.slot is not None]
            ours = tuple(entry for entry in entries if str(entry.slot).startswith(f"{of}-"))
            if self.host.service_answers:
                self.inbox.append(RosterSeen(of, Roster(ours, self.now), SELDOM))
            else:
                self.inbox.append(RosterFailed(of, Failure(Family.PASSING, "it is away")))

    @property
    def in_flight(self) -> frozenset[str]:
        """Subjects with an action under way, and those that rest after one that failed."""
        return self._blocked(self.state, self.inbox)

    def _blocked(self, state: State, inbox: Sequence[Stimulus]) -> frozenset[str]:
        taken = machine.taken_in(state, inbox, self.now)
        resting = {subject for subject, until in taken.resting.items() if until > self.now}
        return frozenset(taken.in_flight) | resting

    # -- one step --

    def turn(self, *, recorded: bool = True, sights: Sequence[Stimulus] | None = None) -> Plan:
        """Step over all that can be seen, record, begin; what was decided.

        ``recorded``: the disk takes the facts; if not, nothing is begun and nothing has happened. ``sights``:
        what is seen in place of what is there now.
        """
        before, inbox = self.state, self.inbox
        late = sights is not None
        sights = [*self.inbox, *(sights if sights is not None else self.sight())]
        if self.host.answers and not late:
            self.life, self.heard = self.host.lives, len(self.host.deaths)
        self.inbox = []
        step = machine.step(self._ready(), sights, self.now, self.judge)
        if step.witnesses:
            read = self._witnesses(step.witnesses, step.closing)
            step = machine.step(step.state, [read], self.now, self.judge)
        assert not step.unfinished, "noticing and deciding come to no end"
        # Most steps record nothing and do nothing: these two take as long as a step.
        drafting = machine.taken_in(self._ready(), sights, self.now).drafting if step.facts else ()
        found = step.facts[len(drafting) :]
        self._check(step, found, self._blocked(before, inbox) if step.actions else frozenset())
        decided = tuple(fact for fact in found if isinstance(fact, DECIDED))
        plan = Plan(decided, step.actions, step.wake)
        if not recorded and step.facts:
            self.state = step.unrecorded
            return plan
        self.state, self.asked = step.state, step.afterwards
        self._write(step.facts)
        assert self.memory == step.state.memory
        for action in step.actions:
            if isinstance(action, Open):
                assert self.gates.get(action.generation) == self.run_id
            if isinstance(action, Freeze):
                assert self.memory.agents[action.generation].throttled is not None
            self.flight[action.subject] = action
        return plan

    @property
    def drafting(self) -> tuple[Fact, ...]:
        """What the next step is to record, whatever it decides."""
        return machine.taken_in(self.state, self.inbox, self.now).drafting

    def remember(self, memory: Memory) -> None:
        """Something else is remembered from now on than the journal tells."""
        self.memory, self.state = memory, replace(self.state, memory=memory)

    def _check(self, step: Step, found: tuple[Fact, ...], blocked: frozenset[str]) -> None:
        """The laws that can be seen on a step; ``found`` are the facts that nobody told it."""
        memory = step.state.memory
        subjects = [action.subject for action in step.actions]
        assert len(set(subjects)) == len(subjects), "two actions for one subject"
        assert not set(subjects) & blocked, "an action for a subject that has one"
        assert step.wake is None or step.wake > self.now, "it would wake at once, for ever"
        forced = [
            fact
            for fact in found
            if isinstance(fact, AgentDoomed) and fact.reason is DoomReason.FORCED
        ]
        assert not forced, "only a person forces an agent to end"
        counted = {
            one.generation for one in step.facts if isinstance(one, JobRequeued) and one.counted
        }
        assert not counted & self.unmade, "what passes cost a job a try"
        self._check_late(found)
        if step.world.containers is None:
            self._check_unknown(found)
        if step.world.containers is None or memory.pause is not None:
            undone = Thaw if step.world.containers is None else (Thaw, UnlockClocks)
            assert all(isinstance(action, undone) for action in step.actions)
            strays = {fact.agent.generation for fact in found if isinstance(fact, AgentAdopted)}
            for fact in found:
                if isinstance(fact, AgentDoomed):
                    assert fact.generation in strays, "only who is found without a record"
                elif isinstance(fact, SlotHeld):
                    sick = {verdict.sick for verdict in step.world.gpu_verdicts.values()}
                    assert fact.reason not in sick
                else:
                    assert not isinstance(fact, DECIDED)
            return
        for action in step.actions:
            agent = memory.agents.get(action.generation or Generation(""))
            if isinstance(action, Signal | Remove):
                assert agent is not None
                box = self.host.boxes.get(agent.generation)
                if box is not None and box.working:
                    assert agent.doom is not None
                    assert agent.doom.reason in ENDS_JOBS, "a service's busy agent was to be ended"
                if agent.busy:
                    assert agent.doom is not None
                    assert agent.doom.reason in ENDS_JOBS, "a busy agent was to be ended"
            if isinstance(action, StartAgain):
                assert agent is not None
                assert agent.clean or not registered_at_service(agent), "it is registered yet"
            if isinstance(action, Open):
                assert agent is not None
                self._check_lease(agent.generation)
                self._check_held(agent, memory)
        self._check_holds(memory)

    def _check_holds(self, memory: Memory) -> None:
        for agent in memory.agents.values():
            if agent.hold is not None and agent.hold.over is None:
                assert agent.hold.until > self.now, "it is held beyond its time"
                assert agent.hold.until <= agent.hold.latest, "it is held for longer than it may be"

    def _check_held(self, agent: Agent, memory: Memory) -> None:
        """What is opened is nobody's that a person may be in."""
        for other in memory.agents.values():
            if other.hold is not None:
                assert other.slot != agent.slot, "a gate of a held slot is opened"
                shared = self._shares(other) and self._shares(agent)
                assert shared or not set(other.lease) & set(agent.lease), "its GPU is held"

    def _shares(self, agent: Agent) -> bool:
        return any(spec.pool.share for spec in self.desired.slots if spec.pool.name == agent.pool)

    def _check_unknown(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, AgentExited):
                box = self.host.boxes.get(fact.generation)  # there until it is removed
                assert box is None or not box.live, "its end was but said"

    def _check_late(self, facts: Iterable[Fact]) -> None:
        writing = {one.generation for one in self.flight.values() if isinstance(one, Open)}
        for fact in facts:
            if isinstance(fact, AgentDoomed) and fact.reason is DoomReason.MISSED:
                assert fact.generation not in writing, "late for a gate that is being written"

    def _check_lease(self, generation: Generation) -> None:
        box = self.host.boxes.get(generation)
        if box is None:
            return  # it went since the last look: opening it will fail
        for other in self.host.boxes.values():
            if other is not box and other.slot == box.slot:
                over = not other.live or other.generation in self.host.empty
                assert over or not other.sent, "an earlier agent may be at work"

    # -- what comes of actions --

    def finish(self, subject: str, fate: Fate = Fate.DONE) -> None:
        """An action under way comes to its end, and the manager is told."""
        action = self.flight.pop(subject)
        try:
            gave = self.host.perform(action, fate)
        except Fault as fault:
            if isinstance(action, Prepare) and not fault.lasting:
                self.unmade.add(action.generation)
            family = Family.REFUSED if fault.lasting else Family.PASSING
            self.inbox.append(
                ActionDone(action, busy=fault.busy, unclean=fault.unclean)
                if fault.busy or fault.unclean
                else ActionFailed(action, Failure(family, "it failed"))
            )
            return
        match action:
            case Prepare() | MakeSandbox():
                assert gave is not None
                self.inbox.append(ActionDone(action, container=ContainerId(gave)))
            case Enrol(generation=generation, slot=slot):
                name = naming.registered("host", slot, generation)
                known = None if self.host.anonymous else gave
                self.inbox.append(ActionDone(action, registration=known, registered=name))
            case _:
                self.inbox.append(ActionDone(action))

    def shrug(self, subject: str) -> None:
        """An action under way was done, and changed nothing."""
        self.inbox.append(ActionDone(self.flight.pop(subject)))

    def crash(self, done: Iterable[str]) -> None:
        """The manager dies; the actions ``done`` were done all the same. Another one starts."""
        for subject in done:
            action = self.flight.pop(subject, None)
            if action is not None:
                try:
                    self.host.perform(action, Fate.DONE)
                except Fault:
                    continue
        for holder in self.host.holders.values():
            holder.watched = False  # the next manager knows of nothing that has left it
        again = apply(Memory(), self.journal)
        assert again == self.memory, "replaying the facts gives another memory"
        self.memory = again
        self.begins()

    def jump(self, seconds: float) -> None:
        """The wall clock is set, and the manager notices at once."""
        self.host.now += seconds
        self.inbox.insert(0, ClockSet(seconds))

    # -- what people ask --

    @property
    def drafted(self) -> Memory:
        """The memory as it will be with what the manager was told so far."""
        return machine.taken_in(self.state, self.inbox, self.now).drafted

    def submit(
        self,
        to: str,
        timeout: float | None = None,
        *,
        uid: int | None = None,
        priority: Priority = Priority.NORMAL,
        follows: bool = False,
        retry_lost: int = 0,
        out: tuple[str, ...] = (),
        image: str | None = None,
    ) -> JobId:
        """``follows``: it runs after the last of those that have not ended."""
        self.submitted += 1
        drafted = self.drafted
        after = tuple(drafted.jobs)[-1:] if follows else ()
        job = Job(
            id=JobId(f"job{self.submitted}"),
            pool=PoolName(to),
            serial=drafted.serial + 1,
            submitted=self.now,
            timeout=timeout,
            uid=uid,
            owner=None if uid is None else f"user{uid}",
            priority=priority,
            after=after,
            awaits=after,
            retry_lost=retry_lost,
            out=out,
            image=image,
        )
        self.host.asked[job.id] = image
        self.host.again[job.id] = retry_lost
        self.record([JobSubmitted(self.now, job)])
        return job.id

    def hold(self, job: JobId, seconds: float) -> None:
        """Its owner wants its container to be held."""
        if job in self.drafted.jobs:
            self.record([HoldAsked(self.now, seconds, "ann", job=job)])

    def extend(self, generation: Generation, seconds: float) -> None:
        agent = self.drafted.agents.get(generation)
        if agent is not None and agent.hold is not None and agent.is_held:
            until = min(agent.hold.until + seconds, agent.hold.latest)
            self.record([HoldExtended(self.now, generation, until, "ann")])

    def give_up(self, generation: Generation) -> None:
        agent = self.drafted.agents.get(generation)
        if agent is not None and agent.is_held:
            self.record([HoldEnded(self.now, generation, "given up", "ann", agent.job)])

    def cancel(self, job: JobId) -> None:
        known = self.drafted.jobs.get(job)
        if known is None:
            return
        self.record([JobCancelling(self.now, job, "ann")])
        if known.agent is None:
            self.record([JobEnded(self.now, job, JobState.CANCELLED, Cause.CANCELLED, None)])
        elif self.drafted.agents[known.agent].doom is None:
            self.doom(known.agent, DoomReason.CANCELLED)

    def prints(self, generation: Generation, size: int) -> None:
        """An agent has printed so many bytes more."""
        self.inbox.append(Printed(generation, 0, size))

    def storms(self, generation: Generation, processes: int, connections: int) -> None:
        """An agent has begun so many more, on a host with two processors."""
        self.inbox.append(ActivitySeen(2, {generation: Begun(processes, connections)}))

    def doom(self, generation: Generation, reason: DoomReason) -> None:
        agent = self.drafted.agents.get(generation)
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
        return self._run(passes)[0]

    def _run(self, passes: int = 60) -> tuple[int, Step]:
        """The same, and the step that there would be now."""
        for taken in range(passes):
            self.ask_service()
            plan = self.turn()
            for subject in list(self.flight):
                self.finish(subject)
            self.host.progress()
            self.ask_service()
            if plan.empty and not self.flight and (foreseen := self.foreseen()).empty:
                return taken, foreseen
        raise AssertionError(f"no end after {passes} passes: {plan}")

    def foreseen(self) -> Step:
        """What the next step would be."""
        return machine.step(self._taken(), (), self.now, self.judge)

    def pass_time(self, seconds: float, passes: int = 400) -> None:
        """Perfect execution while the time passes, waking when the machine says so: seldom, but for a subject
        that fails and is tried again after its rest, and a service that is asked whether it still answers.
        """
        until = self.host.now + seconds
        away = 0 if self.host.service_answers else int(seconds / REST)
        for _ in range(passes + away + int(seconds / KNOCK)):
            wake = self._run()[1].wake
            self._check_rest(until if wake is None else min(wake, until))
            if wake is None or wake > until:
                self.host.now = until
                self.run()
                return
            self.host.now = wake
        raise AssertionError("it wakes too often")

    def _check_rest(self, due: float) -> None:
        """The loop rests until a step says that something is due: just before that nothing is."""
        now, self.host.now = self.host.now, max(self.host.now, due - MOMENT)
        before = self.foreseen()
        assert before.empty, f"it would have rested: {before.facts} {before.actions}"
        self.host.now = now

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
