"""What may happen, as facts: the vocabulary of memory, history, ``mayfly events`` and tests.

A fact is something that has happened; it is on disk before anything is done because of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from mayfly.core.memory import Agent, Cordon, Job, Pause
from mayfly.core.model import (
    Cause,
    ClocksSeen,
    ContainerId,
    DoomReason,
    Excess,
    Generation,
    GpuUse,
    Hold,
    JobId,
    JobState,
    Phase,
    PoolName,
    Results,
    SlotName,
)
from mayfly.core.reservations import Reservation
from mayfly.core.runs import Run


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
class AgentEquipped:
    """agent.equipped: its engine has said which GPUs it chose for it."""

    at: float
    generation: Generation
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AgentEnrolled:
    """agent.enrolled: the service gave what opens its gate."""

    at: float
    generation: Generation
    registration: str | None
    registered: str | None = None
    run_id: str | None = None  # the run of the manager that holds what was given


@dataclass(frozen=True, slots=True)
class GateOpening:
    """gate.opening: from here on this agent may run; written before the first byte is sent."""

    at: float
    generation: Generation
    run_id: str
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
class AgentCordoned:
    """agent.cordoned: the service knows whether it may give the agent a new job."""

    at: float
    generation: Generation
    cordoned: bool


@dataclass(frozen=True, slots=True)
class AgentThrottled:
    """agent.throttled: it does too much of something, and is frozen for a while, again and again."""

    at: float
    generation: Generation
    excess: Excess


@dataclass(frozen=True, slots=True)
class AgentUnthrottled:
    """agent.unthrottled: it runs, and does no more of anything than it may."""

    at: float
    generation: Generation


@dataclass(frozen=True, slots=True)
class AgentDoomed:
    """agent.stopping: it is to end."""

    at: float
    generation: Generation
    reason: DoomReason
    by: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AgentStopStepped:
    """agent.stop_stepped: one more step of its stop ladder is being taken."""

    at: float
    generation: Generation
    step: int


@dataclass(frozen=True, slots=True)
class AgentAttached:
    """agent.attached: a person is let in beside its job, with a terminal or a command."""

    at: float
    generation: Generation
    by: str
    mark: str = ""  # of what they start there; "": of an earlier Mayfly


@dataclass(frozen=True, slots=True)
class AgentDetached:
    """agent.detached: that has ended, and what it started with it."""

    at: float
    generation: Generation
    by: str
    reason: str  # why it ended
    mark: str = ""


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
    job_succeeded: bool | None = None  # None: it had no job, or what came of it is not known
    unseen: bool = False  # it is gone, and nobody said that its processes have ended
    made: bool = False  # it has left containers of its own, or may have
    # What it asked its gateway for in vain: the first of it, and how often in all.
    refusals: tuple[str, ...] = ()
    refused: int = 0

    @property
    def failed(self) -> bool:
        """Whether somebody may want to look at what is left of it."""
        wanted = self.cause in (Cause.CANCELLED, Cause.ENGINE_STOPPED)
        ill = (
            self.cause is not None or self.exit_code not in (0, None) or self.job_succeeded is False
        )
        return not wanted and (ill or self.outcome in ("died_young", "refused", "unknown"))


@dataclass(frozen=True, slots=True)
class HoldAsked:
    """hold.asked: a person wants the container to be held when its job has ended."""

    at: float
    seconds: float  # for how long, from that end
    by: str
    generation: Generation | None = None  # whose job is a service's; None: the job is named
    job: JobId | None = None


@dataclass(frozen=True, slots=True)
class AgentHeld:
    """agent.held: its job has ended, and its container stays with its GPUs for a person."""

    at: float
    generation: Generation
    user: str  # for whom; "": for operators
    uid: int | None  # theirs; None: operators alone
    until: float
    latest: float  # it is not held beyond that


@dataclass(frozen=True, slots=True)
class HoldExtended:
    """hold.extended: it is held for longer."""

    at: float
    generation: Generation
    until: float
    by: str


@dataclass(frozen=True, slots=True)
class HoldEnded:
    """hold.ended: it is held no longer, and its container goes."""

    at: float
    generation: Generation
    reason: str
    by: str | None = None  # None: Mayfly itself
    job: JobId | None = None


@dataclass(frozen=True, slots=True)
class ResultsTaken:
    """results.taken: what its job's owner wants of its container is kept, or it is known why not."""

    at: float
    generation: Generation
    job: JobId
    results: Results


@dataclass(frozen=True, slots=True)
class AgentCleared:
    """agent.cleared: nothing is left of what it made: containers, networks and volumes."""

    at: float
    generation: Generation


@dataclass(frozen=True, slots=True)
class AgentRemoved:
    """agent.removed: nothing of it is left."""

    at: float
    generation: Generation
    used: float | None = None  # the share of whom it was held for, with that; None: nobody's


@dataclass(frozen=True, slots=True)
class SlotCooled:
    """slot.cooled: an agent died young; the next waits until ``until``."""

    at: float
    slot: SlotName
    until: float
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class SlotRecovered:
    """slot.recovered: its agents live again."""

    at: float
    slot: SlotName


@dataclass(frozen=True, slots=True)
class SlotHeld:
    """slot.held: it gets no agent before what holds it is gone."""

    at: float
    slot: SlotName
    reason: str
    hold: Hold = Hold.PERSON
    trial_at: float | None = None  # None: no agent is tried before
    trials: int = 0
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class SlotReleased:
    """slot.released: a person said to try again, or what held it is gone."""

    at: float
    slot: SlotName
    by: str | None = None  # None: Mayfly itself


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
    by: str | None = None  # None: Mayfly itself
    reason: str = ""  # why, where nobody asked for it


@dataclass(frozen=True, slots=True)
class SlotBooked:
    """slot.booked: its next agent is made for one job, of the image that this asks for."""

    at: float
    slot: SlotName
    job: JobId
    image: str


@dataclass(frozen=True, slots=True)
class SlotUnbooked:
    """slot.unbooked: that job needs the slot no more, or waits for another."""

    at: float
    slot: SlotName
    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class ClocksLocking:
    """clocks.locking: the clocks of the slot's GPUs are about to be locked for that agent's job."""

    at: float
    slot: SlotName
    generation: Generation
    gpus: tuple[str, ...]
    clock: int
    memory_clock: int | None = None


@dataclass(frozen=True, slots=True)
class ClocksLocked:
    """clocks.locked: they are."""

    at: float
    slot: SlotName
    generation: Generation
    driver: str  # which loading of it has them
    began: tuple[ClocksSeen, ...] = ()


@dataclass(frozen=True, slots=True)
class ClocksRefused:
    """clocks.refused: they could not be locked, or nobody knows whether they are; no gate opens for that."""

    at: float
    slot: SlotName
    generation: Generation
    reason: str
    retry_at: float


@dataclass(frozen=True, slots=True)
class ClocksUnlocked:
    """clocks.unlocked: the driver has them again; how the GPUs fared meanwhile."""

    at: float
    slot: SlotName
    generation: Generation
    clock: int
    memory_clock: int | None = None
    seen: tuple[ClocksSeen, ...] = ()
    unheld: str = ""  # why they were not held all the time; "": they were, as far as is known


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """job.submitted: it is on disk and will be run."""

    at: float
    job: Job


@dataclass(frozen=True, slots=True)
class RunSubmitted:
    """run.submitted: the jobs of a push, or of a folder, are on disk as one."""

    at: float
    run: Run


@dataclass(frozen=True, slots=True)
class JobRequeued:
    """job.requeued: the agent that was to run it did not open, or was lost with it."""

    at: float
    job: JobId
    generation: Generation
    counted: bool = True  # False: it did not open because Mayfly or the Engine ended it
    lost: bool = False  # it ran, or was never started, and is run again since its owner wanted that


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
    detail: str = ""  # the sentence that says why, where the cause does not
    used: float | None = None  # its owner's share in its class, with it; None: it did not run


@dataclass(frozen=True, slots=True)
class TurnAwaited:
    """turn.awaited: a pool in turn that had nothing to do has a job for its GPUs, or begins a turn and was
    further behind than it may catch up.
    """

    at: float
    pool: PoolName
    used: float  # its account from here on


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """turn.ended: an agent has given its GPUs back, which other pools may have next."""

    at: float
    pool: PoolName
    generation: Generation  # empty: they were reserved for work outside of containers
    seconds: float  # for how long it had them
    used: float  # its pool's account, with that


@dataclass(frozen=True, slots=True)
class TurnWaived:
    """turn.waived: no job of the pool waits for its GPUs any more, and none has any."""

    at: float
    pool: PoolName


@dataclass(frozen=True, slots=True)
class ReservationMade:
    """reservation.made: somebody is to have GPUs for themselves."""

    at: float
    reservation: Reservation


@dataclass(frozen=True, slots=True)
class ReservationBegan:
    """reservation.began: they have them from here on, and no other gate opens there."""

    at: float
    reservation: JobId
    slots: tuple[SlotName, ...]
    devices: tuple[str, ...]
    until: float


@dataclass(frozen=True, slots=True)
class ReservationUsed:
    """reservation.used: something of its owner's was seen there; recorded now and then."""

    at: float
    reservation: JobId


@dataclass(frozen=True, slots=True)
class ReservationWarned:
    """reservation.warned: its owner is told that it ends in so many minutes."""

    at: float
    reservation: JobId
    minutes: int


@dataclass(frozen=True, slots=True)
class ReservationIdled:
    """reservation.idled: nobody has used it for half of the time after which it is given back."""

    at: float
    reservation: JobId
    seconds: float  # for how long
    left: float  # until it is given back


@dataclass(frozen=True, slots=True)
class ReservationExtended:
    """reservation.extended: it ends later."""

    at: float
    reservation: JobId
    until: float
    by: str


@dataclass(frozen=True, slots=True)
class ReservationEnded:
    """reservation.ended: it is over, or was given back or up before it began."""

    at: float
    reservation: JobId
    reason: str
    by: str | None = None  # None: Mayfly itself
    used: float | None = None  # its owner's share, with it; None: its job says it, or it had none


@dataclass(frozen=True, slots=True)
class GpuHealing:
    """gpu.healing: it is to be reset; what waits with it at a gate is ended before."""

    at: float
    gpu: str
    reason: str
    together: tuple[str, ...] = ()  # GPUs that are reset with it
    devices: tuple[str, ...] = ()
    mig: tuple[str, ...] = ()
    slots: tuple[SlotName, ...] = ()
    by: str | None = None  # None: Mayfly itself


@dataclass(frozen=True, slots=True)
class GpuResetting:
    """gpu.resetting: from here on it may have been reset; written before the reset is begun."""

    at: float
    gpu: str
    run_id: str


@dataclass(frozen=True, slots=True)
class GpuReset:
    """gpu.reset: it is reset; whether it is well is seen next."""

    at: float
    gpu: str
    devices: tuple[str, ...]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GpuHealed:
    """gpu.healed: what came of it, in one event."""

    at: float
    gpu: str
    reason: str
    seconds: float  # since it was begun
    failure: str | None = None  # a sentence; None: it is back in service
    untouched: bool = False  # nothing was reset: it may be tried again at once
    detail: str = ""


@dataclass(frozen=True, slots=True)
class WaitingCancelling:
    """waiting.cancelling: a job that waits at its service in vain is about to be cancelled there."""

    at: float
    pool: PoolName
    waiting: str  # what the service knows it by
    name: str
    url: str
    waited: float  # seconds


@dataclass(frozen=True, slots=True)
class WaitingCancelled:
    """waiting.cancelled: the service was asked to; ``refusal`` says why it did not."""

    at: float
    pool: PoolName
    waiting: str
    refusal: str | None = None  # None: it is cancelled


@dataclass(frozen=True, slots=True)
class ManagerPaused:
    """manager.paused: the manager only observes."""

    at: float
    pause: Pause


@dataclass(frozen=True, slots=True)
class ManagerResumed:
    """manager.resumed."""

    at: float
    by: str


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """clock.jumped: the wall clock was set; what is remembered moves with it, so that no age changes."""

    at: float
    by: float  # seconds; negative: it was set back


@dataclass(frozen=True, slots=True)
class HostClosing:
    """host.closing: there has been nothing to do since then, and gates are closed to pause the host."""

    at: float
    since: float


@dataclass(frozen=True, slots=True)
class HostPausing:
    """host.pausing: the command that pauses the host is about to be run."""

    at: float
    since: float


@dataclass(frozen=True, slots=True)
class HostKept:
    """host.kept: the host is not paused after all, and gates are opened."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class HostReturned:
    """host.returned: the host was suspended or stopped, and is back."""

    at: float
    seconds: float  # for which it was away
    how: str  # suspended, restarted, stopped


AgentFact: TypeAlias = (
    AgentCreated
    | AgentAdopted
    | AgentArmed
    | AgentReady
    | AgentEquipped
    | AgentEnrolled
    | GateOpening
    | AgentOpened
    | AgentConfirmed
    | AgentDismissed
    | AgentCordoned
    | AgentThrottled
    | AgentUnthrottled
    | AgentDoomed
    | AgentStopStepped
    | AgentExited
    | ResultsTaken
    | AgentCleared
    | AgentRemoved
)


HoldFact: TypeAlias = HoldAsked | AgentHeld | HoldExtended | HoldEnded


SlotFact: TypeAlias = (
    SlotCooled
    | SlotRecovered
    | SlotHeld
    | SlotReleased
    | SlotCordoned
    | SlotUncordoned
    | SlotBooked
    | SlotUnbooked
)


ReservationFact: TypeAlias = (
    ReservationMade
    | ReservationBegan
    | ReservationUsed
    | ReservationWarned
    | ReservationIdled
    | ReservationExtended
    | ReservationEnded
)


GpuFact: TypeAlias = GpuHealing | GpuResetting | GpuReset | GpuHealed


ClocksFact: TypeAlias = ClocksLocking | ClocksLocked | ClocksRefused | ClocksUnlocked


HostFact: TypeAlias = HostClosing | HostPausing | HostKept | HostReturned


Fact: TypeAlias = (
    AgentFact
    | AgentAttached
    | AgentDetached
    | HoldFact
    | SlotFact
    | ClocksFact
    | JobSubmitted
    | RunSubmitted
    | JobRequeued
    | JobCancelling
    | JobEnded
    | TurnAwaited
    | TurnEnded
    | TurnWaived
    | GpuFact
    | ReservationFact
    | WaitingCancelling
    | WaitingCancelled
    | ManagerPaused
    | ManagerResumed
    | ClockJumped
    | HostFact
)


# What events were called in 0.1: each is shown under both names for one release.
FORMER_EVENTS = {
    "agent.cordoned": "agent.told",
    "agent.stopping": "agent.doomed",
    "agent.stop_stepped": "agent.pushed",
    "slot.recovered": "slot.warmed",
    "manager.paused": "pool.paused",
    "manager.resumed": "pool.resumed",
}
PRESENT_EVENTS = {former: name for name, former in FORMER_EVENTS.items()}


def event_name(fact: Fact) -> str:
    """The fact's name in log, history and ``mayfly events``: ``noun.verb_past``."""
    if isinstance(fact, AgentDoomed):
        return "agent.stopping"
    words = re.findall("[A-Z][a-z]*", type(fact).__name__)
    return f"{words[0]}.{'_'.join(words[1:])}".lower()


def for_everybody(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a fact but what a job asked for, which is for its owner and operators, and what says that
    there was nothing.
    """
    asked_in_vain = ("made", "refused")
    return {
        key: value
        for key, value in fields.items()
        if key != "refusals" and (value or key not in asked_in_vain)
    }
