"""What comes to the machine from outside, as values: the one vocabulary of ``core/machine.py``'s input.

A stimulus says what somebody saw, what came of an action, or what a person wants; never what follows from it.
No secret may be in one: stimuli are kept, and written into a bug report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from mayfly.core.actions import Action
from mayfly.core.allocations import AllocationsSeen
from mayfly.core.delivery import Delivery
from mayfly.core.desire import Survey
from mayfly.core.facts import Fact
from mayfly.core.gpu_health import Reading
from mayfly.core.healing import ResetOutcome
from mayfly.core.model import (
    NOTHING_TAKEN,
    Breach,
    ClocksSeen,
    Closing,
    Condition,
    Config,
    Container,
    ContainerId,
    Continuity,
    Death,
    Generation,
    PoolName,
    ProbeVerdict,
    Results,
    Roster,
    Traits,
    Witness,
)
from mayfly.core.mounts import Source
from mayfly.core.waiting import WaitingJob
from mayfly.core.workspace import Unbrought


class Family(StrEnum):
    """Which kind of failure it was, as ``edge/faults.py`` has them."""

    PASSING = "passing"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something was not done, in one sentence for the operator."""

    family: Family
    text: str
    retry_after: float | None = None  # seconds; None: nobody said
    unanswered: bool = False  # an answer was waited for until the time was over

    @property
    def lasting(self) -> bool:
        """Whether it needs a person."""
        return self.family is Family.REFUSED


@dataclass(frozen=True, slots=True)
class Started:
    """A run of the manager begins."""

    host_restarted: bool  # since the last run: what was not flushed to disk may be lost


@dataclass(frozen=True, slots=True)
class Stopping:
    """The manager is to stop: what has happened is recorded, and nothing more is begun."""


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """All containers of all Mayflies on the Engine, as of when ``began`` results had come in."""

    began: int
    containers: tuple[Container, ...]
    overfull: frozenset[Generation] = frozenset()  # into whose witnesses too much was written


@dataclass(frozen=True, slots=True)
class EngineUnseen:
    """A look at the Engine or the host failed: what is there is unknown."""

    reason: str


@dataclass(frozen=True, slots=True)
class HostSurveyed:
    """What the host offers."""

    survey: Survey


@dataclass(frozen=True, slots=True)
class LayersMeasured:
    """How many bytes the containers' writable layers have, and which have more files than can be counted."""

    sizes: Mapping[ContainerId, int]
    unmeasured: frozenset[ContainerId] = frozenset()


@dataclass(frozen=True, slots=True)
class MountsSeen:
    """What stands at the paths that agents mount."""

    sources: Mapping[str, Source]


@dataclass(frozen=True, slots=True)
class StreamTurned:
    """The stream of the Engine's events was lost, or is there (again)."""

    up: bool
    continuity: Continuity
    why: str = ""


@dataclass(frozen=True, slots=True)
class ContainerDied:
    """The Engine said that a container of ours died."""

    generation: Generation
    death: Death


@dataclass(frozen=True, slots=True)
class ProcessesGone:
    """The kernel said that no process of that container is left."""

    generation: Generation
    container: ContainerId


@dataclass(frozen=True, slots=True)
class EngineStirred:
    """Something happened on the Engine that may concern us: it is to be looked at."""


@dataclass(frozen=True, slots=True)
class ImagesChanged:
    """An image was made, tagged or removed."""


@dataclass(frozen=True, slots=True)
class AgentStirred:
    """An agent may have something to say: its witness is to be read."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Printed:
    """An agent has printed so much since it was last heard of."""

    generation: Generation
    lines: int
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """What an agent has begun since it was last looked at, as the kernel counts it."""

    processes: int = 0  # and threads
    connections: int = 0  # to the outside, while the engine's table of them is crowded


@dataclass(frozen=True, slots=True)
class ActivitySeen:
    """Agents have begun much since the last look; whoever has not is left out."""

    processors: int  # of the host
    begun: Mapping[Generation, Begun]


@dataclass(frozen=True, slots=True)
class OutputKept:
    """All that an agent printed is on disk, or will never come: its container is not needed for that."""

    generation: Generation
    words: str = ""  # the last line of an agent that never opened


@dataclass(frozen=True, slots=True)
class WitnessesRead:
    """The witnesses that were asked for; one whose record is as before need not be named."""

    found: Mapping[Generation, Witness | None]  # None: it has recorded nothing
    unreadable: frozenset[Generation] = frozenset()
    closed: Mapping[Generation, Closing] = field(default_factory=dict)  # whose doors were shut


@dataclass(frozen=True, slots=True)
class GatewaySeen:
    """Whether agents can have containers of their own now, and what the gateway sees of the host."""

    missing: str  # why not; "": they can
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientSign:
    """A line of an agent's client that means something to its provider."""

    generation: Generation
    # As of `Sign` in mayfly.providers.
    kind: str
    text: str = ""
    quiet: float | None = 0.0


@dataclass(frozen=True, slots=True)
class RosterSeen:
    """What a service said of our agents; ``None`` where it tells nothing of them."""

    pool: PoolName
    roster: Roster | None
    interval: float = 30.0  # seconds until it wants to be asked again, where nobody is awaited


@dataclass(frozen=True, slots=True)
class ServiceAnswered:
    """A service answers, whatever it was asked."""

    pool: PoolName


@dataclass(frozen=True, slots=True)
class WaitingSeen:
    """What a service said of the jobs that wait for a pool."""

    pool: PoolName
    jobs: tuple[WaitingJob, ...]


@dataclass(frozen=True, slots=True)
class WaitingUnseen:
    """A service did not say which jobs wait."""

    pool: PoolName
    failure: Failure


@dataclass(frozen=True, slots=True)
class WaitingAnswered:
    """What came of asking for the end of a job that waits."""

    pool: PoolName
    waiting: str
    failure: Failure | None  # None: it is cancelled


@dataclass(frozen=True, slots=True)
class RosterFailed:
    """A service did not say who is there, or did not answer."""

    pool: PoolName
    failure: Failure


@dataclass(frozen=True, slots=True)
class JobsTold:
    """What a service that hands jobs out said of them, and which messages it was told that we have."""

    pool: PoolName
    delivery: Delivery
    acknowledged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JobsUntold:
    """Such a service did not say what jobs it has."""

    pool: PoolName
    failure: Failure


@dataclass(frozen=True, slots=True)
class EnrolmentTried:
    """What came of an enrolment that nobody gets."""

    pool: PoolName
    failure: Failure | None  # None: one was given, and given back


@dataclass(frozen=True, slots=True)
class ClocksHandled:
    """What came of locking the clocks of a slot's GPUs, or of unlocking them."""

    driver: str = ""  # which loading of it has, or had, them
    seen: tuple[ClocksSeen, ...] = ()  # how the GPUs are, or fared
    unheld: str = ""  # of an unlocking: why they were not held all the time


@dataclass(frozen=True, slots=True)
class ActionDone:
    """An action was done; the rest says what came of those that give something."""

    action: Action
    container: ContainerId | None = None  # None: not a Prepare
    registration: str | None = None  # None: not an Enrol, or the service did not say
    registered: str | None = None  # its name at the service; None: likewise
    busy: bool = False  # its service says that the agent runs a job, and left it alone
    unclean: bool = False  # something was left in the sandbox; of an Open: nothing was written
    # of an Open: why the job's own files are not there, and nothing was written
    unbrought: str = ""
    results: Results = NOTHING_TAKEN  # of a TakeResults
    acquired: tuple[int, ...] = ()  # of an AcquireJobs: those that are ours
    # what about those files is why; None: the Engine's or a disk's failure
    at_fault: Unbrought | None = None
    clocks: ClocksHandled | None = None  # of a LockClocks or an UnlockClocks


@dataclass(frozen=True, slots=True)
class ActionFailed:
    """An action was not done, or nobody knows whether it was."""

    action: Action
    failure: Failure


@dataclass(frozen=True, slots=True)
class Commanded:
    """What a person's command comes to; where the disk does not take it, it is as if never asked."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class ConfigRead:
    """A configuration is in force, with what its providers say of themselves."""

    config: Config
    traits: Mapping[PoolName, Traits]


@dataclass(frozen=True, slots=True)
class GpusRead:
    """What NVML said."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class Probed:
    """What an agent at its gate sees of its GPUs; ``None``: the Engine could not look."""

    generation: Generation
    verdict: ProbeVerdict | None


@dataclass(frozen=True, slots=True)
class GpuResetDone:
    """What came of a reset of a GPU."""

    gpu: str
    outcome: ResetOutcome


@dataclass(frozen=True, slots=True)
class IsolationProbed:
    """What throwaway containers of a pool could do; ``None``: it could not be tried."""

    pool: PoolName
    breaches: tuple[Breach, ...] | None
    why: str = ""  # why not


@dataclass(frozen=True, slots=True)
class ClockSet:
    """The wall clock jumped by so many seconds."""

    by: float


Stimulus: TypeAlias = (
    Started
    | Stopping
    | EngineSeen
    | EngineUnseen
    | HostSurveyed
    | LayersMeasured
    | MountsSeen
    | StreamTurned
    | ContainerDied
    | ProcessesGone
    | EngineStirred
    | ImagesChanged
    | AgentStirred
    | Printed
    | ActivitySeen
    | OutputKept
    | WitnessesRead
    | GatewaySeen
    | ClientSign
    | RosterSeen
    | RosterFailed
    | ServiceAnswered
    | JobsTold
    | JobsUntold
    | WaitingSeen
    | WaitingUnseen
    | WaitingAnswered
    | EnrolmentTried
    | ActionDone
    | ActionFailed
    | Commanded
    | ConfigRead
    | GpusRead
    | Probed
    | GpuResetDone
    | IsolationProbed
    | AllocationsSeen
    | ClockSet
)
