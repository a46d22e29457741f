"""What the manager remembers of agents, slots and jobs.

Values only, and never changed in place: ``core/facts.py`` says what may happen, and ``core/apply.py`` is the
one way in which a memory follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from mayfly.core.model import (
    ClocksSeen,
    ContainerId,
    DoomReason,
    Excess,
    Generation,
    Hold,
    JobId,
    JobState,
    Phase,
    PoolName,
    Priority,
    SlotName,
)
from mayfly.core.reservations import Reservation
from mayfly.core.reserved_hours import AllHad

# What may end an agent that runs a job, by law 3 (docs/architecture.md): a person, a limit, that its service
# has ended the job, or that its GPUs were taken back and may be somebody else's. Every other reason supposed
# that it had none yet, and falls away when it turns out to have one.
ENDS_JOBS = frozenset(
    {
        DoomReason.TIMEOUT,
        DoomReason.DISK,
        DoomReason.CANCELLED,
        DoomReason.FORCED,
        DoomReason.TAKEN_BACK,
        DoomReason.LEASE_LOST,
    }
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
class Visit:
    """A person beside a job."""

    by: str
    mark: str  # of all that they have started there


@dataclass(frozen=True, slots=True)
class HoldWish:
    """That a job's container is to be held once the job has ended."""

    seconds: float  # from that end
    by: str  # who asked


@dataclass(frozen=True, slots=True)
class JobHold:
    """That the container of a job that has ended stays, with its GPUs, for a person to go into."""

    user: str  # for whom; "": for operators
    uid: int | None  # theirs; None: operators alone
    since: float
    until: float
    latest: float  # it is not held beyond that
    over: float | None = None  # when it was given up, or its time was over; None: it is held


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
    embedded: bool = True
    dispatched: bool = False  # its service hands its jobs out, and it is enrolled for one alone
    container: ContainerId | None = None  # None: not known to exist yet
    armed: float | None = None  # its container was started and its gate attached
    ready: float | None = None  # it said that it waits at its gate
    enrolled: float | None = None  # the service gave what it needs
    enrolled_by_run: str | None = None  # the run of the manager that holds what the service gave
    # the service's id of it; None: not known, or the service gives none
    registration: str | None = None
    registered: str | None = None  # its name at the service
    dismissed: bool = False  # the service has let go of it
    cordoned_there: bool = False  # its service gives it no new job
    committed: float | None = None  # gate.opening is on disk
    run_id: str | None = None  # the run of the manager that committed
    job: JobId | None = None
    timeout: float | None = None  # of its job, seconds; None: the pool's limit alone
    opened: float | None = None  # its launcher passed the gate
    confirmed: Phase | None = None  # idle or busy, as the best witness last said
    confirmed_at: float | None = None
    idle_at: float | None = None  # when it was first confirmed idle
    throttled: float | None = None  # since when it does too much of something; None: it does not
    excess: tuple[Excess, ...] = ()  # of what, as far as it was seen since then
    doom: Doom | None = None
    exited: float | None = None  # its outcome is on disk
    clean: bool = False  # it ended so that the service has let go of it by itself
    failed: bool = False  # it ended badly: its container is held where its pool says so
    brings: bool = False  # something is put into its container before its gate is opened
    out: tuple[str, ...] = ()  # what of its container its job's owner wants
    # Persons who were let in beside its job, until what they started has ended.
    attached: tuple[Visit, ...] = ()
    results: float | None = None  # when it was recorded what came of that; None: not yet
    # bytes that it may have; None: no limit, or made by an earlier Mayfly
    memory: int | None = None
    # bytes of shared memory; None: as many as the engine gives, or not known
    shm: int | None = None
    # what its engine gave it by its own choice, as far as it has said so: UUIDs, or what else names a device
    devices: tuple[str, ...] = ()
    asked_image: str | None = None  # the image by name, where a job asked for it; None: the pool's
    door: bool = False  # it may have containers of its own
    made: bool = False  # it has ended, and may have left some, or a network or a volume
    allocation: str = ""  # its lease as an allocation, by `identity`; "": Slurm has not given it
    cleared: float | None = None  # when all of that was gone; None: it is not, or there was nothing
    hold_wish: HoldWish | None = None  # of a service's job; one of the queue has its own
    # None: it was never held. It stays when that is over: until its container is gone somebody may be there.
    hold: JobHold | None = None

    @property
    def is_held(self) -> bool:
        """Whether its container stays for a person."""
        return self.hold is not None and self.hold.over is None

    @property
    def owes(self) -> bool:
        """Whether it has ended, and what it made may be there."""
        return self.made and self.cleared is None

    @property
    def lingers(self) -> bool:
        """Whether anything that it made may be at work, or may come to be."""
        return self.door and (self.owes or not self.settled)

    @property
    def settled(self) -> bool:
        """Whether its outcome is on disk."""
        return self.exited is not None

    @property
    def at_work(self) -> bool:
        """Whether its gate was opened, or is being, and its outcome is not on disk: it has its GPUs."""
        return self.committed is not None and not self.settled

    @property
    def busy(self) -> bool:
        """Whether it runs a job, as far as is known."""
        if self.settled:
            return False
        if self.embedded:
            return self.opened is not None
        return self.confirmed is Phase.BUSY


def reprieved(agent: Agent) -> Agent:
    """The agent, no longer to be ended for having no job if it turns out to run one, nor for a gate that did
    not open if it turns out that it did.
    """
    if agent.doom is None or agent.doom.reason in ENDS_JOBS:
        return agent
    opened = agent.doom.reason is DoomReason.UNOPENED and agent.opened is not None
    return replace(agent, doom=None) if agent.busy or opened else agent


@dataclass(frozen=True, slots=True)
class Cordon:
    """That a slot takes no new job."""

    since: float
    by: str
    note: str = ""
    until: float | None = None  # None: until a person lifts it
    drain: bool = False  # empty the slot, too


@dataclass(frozen=True, slots=True)
class FailedRun:
    """Jobs of one slot that failed in a row, and what came of those that began in other slots meanwhile."""

    jobs: int
    since: float  # when the first of them began
    last: float  # when the last of them ended
    fingerprint: str  # of their agents
    how: str  # what the last one ended of
    alike: bool = True  # all of them ended of that
    others_succeeded: int = 0
    others_failed: int = 0


@dataclass(frozen=True, slots=True)
class Booking:
    """That a slot's next agent is made for one job, of the image that this asks for."""

    job: JobId
    image: str
    since: float


@dataclass(frozen=True, slots=True)
class ClockLock:
    """That the clocks of a slot's GPUs are locked for one agent, or about to be."""

    generation: Generation
    gpus: tuple[str, ...]
    clock: int  # MHz
    memory_clock: int | None  # MHz; None: left alone
    since: float  # when that was recorded, before anything was done
    locked: float | None = None  # when they were; None: that is not known
    driver: str = ""  # which loading of the driver has them; "": not known
    began: tuple[ClocksSeen, ...] = ()  # how the GPUs were then
    refused: str = ""  # why they could not be locked


@dataclass(frozen=True, slots=True)
class SlotMemory:
    """What a slot has been through."""

    failures: int = 0  # young deaths in a row
    cooling_until: float | None = None
    held: str | None = None  # why it has no agents
    hold: Hold = Hold.PERSON  # what ends that
    trial_at: float | None = None  # when an agent is tried all the same; None: none is
    trials: int = 0  # refused in a row
    held_with: str = ""  # the fingerprint of the agent that was refused
    reason: str = ""  # of the last cooling
    # the first young death of those in a row; None: there is none
    failing_since: float | None = None
    failed_run: FailedRun | None = None  # None: its last job succeeded, or it has had none
    vacant_since: float | None = None
    left: tuple[str, ...] = ()  # the GPUs that its agent had which went then
    # When its last agent went of which nobody said that its processes have ended.
    unseen_end: float | None = None
    unseen_devices: tuple[str, ...] = ()  # which the engine had given it, as far as it said
    cordon: Cordon | None = None
    booking: Booking | None = None
    clocks: ClockLock | None = None  # None: its GPUs run as the driver has them
    clocks_refused: str = ""  # why they could not be locked the last time; "": they could
    clocks_retry: float | None = None  # when that is tried again
    gate_at: float | None = None  # when a gate of its was last being opened; None: none was


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
    uid: int | None = None  # of whoever submitted it; None: an earlier Mayfly did not record that
    owner: str | None = None  # that user's name
    size: int = 0  # bytes of its command and its variables
    name: str | None = None  # None: nobody gave it one
    priority: Priority = Priority.NORMAL
    group: JobId | None = None  # of all jobs of one matrix; None: it is no part of one
    variant: str = ""  # which of its group, by what differs: "12.8 SEED=1"
    after: tuple[JobId, ...] = ()  # the jobs that were to end well before it runs
    awaits: tuple[JobId, ...] = ()  # those of them that have not ended
    forsaken: str = ""  # why it will never run; "": it may
    retry_lost: int = 0  # how often it is run again where it was lost
    lost: int = 0  # how often it was
    workspace: str | None = None  # digest of the tree that it starts in; None: it brings none
    stdin: str | None = None  # digest of its standard input; None: it has none
    out: tuple[str, ...] = ()  # paths that are brought back from its container
    image: str | None = None  # by name, of its agent; None: its pool's own
    # by name, of the container that it runs in; None: it runs in its agent itself
    container: str | None = None
    # its container is held when it has ended; None: where its pool says so
    hold: HoldWish | None = None

    @property
    def brings(self) -> bool:
        """Whether something is put into its agent before the gate is opened."""
        return self.workspace is not None or self.stdin is not None or bool(self.out)

    @property
    def state(self) -> JobState:
        """Queued or running."""
        return JobState.QUEUED if self.agent is None else JobState.RUNNING

    @property
    def share(self) -> ShareKey:
        """On whose account the time of a slot goes that it has."""
        return self.pool, self.uid, self.priority


# Of one person (None: of those whose jobs an earlier Mayfly took), in one pool and class.
ShareKey: TypeAlias = tuple[PoolName, int | None, Priority]


@dataclass(frozen=True, slots=True)
class Share:
    """What a person's jobs of one class had of a pool's slots."""

    used: float = 0.0  # seconds, as far as they counted at ``at``
    at: float = 0.0
    started: float | None = None  # when the last of them was begun; None: none ever was


NO_SHARE = Share()


@dataclass(frozen=True, slots=True)
class TurnAccount:
    """What a pool in turn has had of its GPUs, beside the others that may have them."""

    used: float = 0.0  # seconds of one GPU, divided by the pool's weight; comparable alone
    # since when it has had a job that waits or runs; None: it has none
    since: float | None = None


NO_TURNS = TurnAccount()


@dataclass(frozen=True, slots=True)
class Heal:
    """The last reset of a GPU, or that one is to be made."""

    gpu: str  # the UUID of the whole GPU
    together: tuple[str, ...]  # GPUs that are reset with it, for they are linked
    devices: tuple[str, ...]  # all of these, with the MIG devices that they had
    mig: tuple[str, ...]  # profiles of those
    slots: tuple[SlotName, ...]  # that were held for what it is to mend
    reason: str  # a sentence
    asked: float
    by: str | None = None  # None: Mayfly itself
    run_id: str = ""  # the run of the manager that began the reset
    began: float | None = None  # None: the reset was not begun, or changed nothing
    reset: float | None = None  # when it was done; None: it is not, or nobody knows
    ended: float | None = None  # None: it goes on
    failure: str | None = None  # a sentence; None: it is well, or goes on

    @property
    def is_proved(self) -> bool:
        """Whether it was reset, and is looked at since."""
        return self.ended is None and self.reset is not None

    @property
    def resets(self) -> bool:
        """Whether it is about to be reset, or is being: nobody may have it now."""
        return self.ended is None and self.reset is None


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
    shares: Mapping[ShareKey, Share] = field(default_factory=dict)
    turns: Mapping[PoolName, TurnAccount] = field(default_factory=dict)  # of pools in turn
    heals: Mapping[str, Heal] = field(default_factory=dict)  # the last of each GPU, by its UUID
    # those that are not over
    reservations: Mapping[JobId, Reservation] = field(default_factory=dict)
    had: AllHad = field(default_factory=dict)  # what was reserved by whom in the last seven days

    def slot(self, name: SlotName) -> SlotMemory:
        """What is remembered of the slot, which may be nothing."""
        return self.slots.get(name, NOTHING)

    @property
    def reserved(self) -> Mapping[str, Reservation]:
        """The GPUs of the reservations that have begun, by UUID."""
        return {
            uuid: one
            for one in self.reservations.values()
            if one.began is not None
            for uuid in one.devices
        }

    @property
    def booked(self) -> Mapping[JobId, SlotName]:
        """The slots that are being made ready for one job each, by job."""
        return {
            known.booking.job: name
            for name, known in self.slots.items()
            if known.booking is not None
        }


NOTHING = SlotMemory()
