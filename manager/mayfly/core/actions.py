"""What Mayfly may do to the world: each action names its subject and why.

An action says what, never how; performing one is ``service/perform.py``'s work. Every action is safe
to repeat. At most one action per subject is in flight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from mayfly.core import naming
from mayfly.core.model import (
    ContainerId,
    Generation,
    JobId,
    PoolName,
    SlotName,
    SlotSpec,
)

Subject: TypeAlias = str


class _OfGeneration:
    """Done to one agent, or one holder: whatever else is to be done about it waits for that."""

    __slots__ = ()
    generation: Generation

    @property
    def subject(self) -> Subject:
        """The agent, or the holder."""
        return self.generation


@dataclass(frozen=True, slots=True)
class Prepare(_OfGeneration):
    """Create a container for the slot, start it and hold on to its gate."""

    generation: Generation
    spec: SlotSpec
    name: str
    reason: str
    sandbox: ContainerId | None = None  # the holder whose network namespace it joins; None: its own

    @property
    def slot(self) -> SlotName:
        """The slot it is for."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Enrol(_OfGeneration):
    """Ask the service for what makes this one agent able to take one job."""

    generation: Generation
    slot: SlotName
    pool: PoolName
    reason: str
    labels: tuple[str, ...] = ()  # beside the pool's own


@dataclass(frozen=True, slots=True)
class Open(_OfGeneration):
    """Write the frame into the agent's gate; what goes in was committed before."""

    generation: Generation
    slot: SlotName
    pool: PoolName
    container: ContainerId
    job: JobId | None  # None: an enrolment of a service
    reason: str
    sandbox: ContainerId | None = None  # where nothing may be left; None: nobody was there before
    brings: bool = False  # something is put into its container first
    uid: int | None = None  # whose job it is


@dataclass(frozen=True, slots=True)
class Rename(_OfGeneration):
    """Give the slot's own agent the slot's name."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    to: str
    reason: str


@dataclass(frozen=True, slots=True)
class Signal(_OfGeneration):
    """Send a signal to the agent, one step of its stop ladder."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    signal: str
    reason: str


@dataclass(frozen=True, slots=True)
class Freeze(_OfGeneration):
    """Stop all of the agent's processes where they are; it does too much of something."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    reason: str


@dataclass(frozen=True, slots=True)
class Thaw(_OfGeneration):
    """Let the processes of a frozen agent go on."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    reason: str


@dataclass(frozen=True, slots=True)
class Weigh:
    """Say what the agent counts for where processors are short: 1 is as much as any container."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    weight: float
    reason: str

    @property
    def subject(self) -> Subject:
        """Its weight alone: whatever else is to be done about the agent does not wait for that."""
        return naming.weight_of(self.generation)


@dataclass(frozen=True, slots=True)
class Remove(_OfGeneration):
    """Remove the agent's container, killing what runs in it."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    reason: str


@dataclass(frozen=True, slots=True)
class StartAgain(_OfGeneration):
    """Start the ended container of an agent once more, for a person to go into; it takes no job."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    seconds: float  # after which it ends by itself, whoever looks after it
    reason: str


@dataclass(frozen=True, slots=True)
class TakeResults(_OfGeneration):
    """Keep what a job's owner wants of its agent's ended container."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    job: JobId
    out: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Take a registration back from the service."""

    generation: Generation | None  # None: an entry whose agent nobody knows any more
    slot: SlotName | None  # None: an entry of no slot that is configured
    pool: PoolName
    registration: str
    reason: str
    # the entry stays for the slot's next agent; the ended one's key opens nothing more
    keep: bool = False

    @property
    def subject(self) -> Subject:
        """The registration, which outlives its agent."""
        return naming.registration_of(self.pool, self.registration)


@dataclass(frozen=True, slots=True)
class SetSchedulable:
    """Tell the service whether it may give the agent a new job."""

    generation: Generation
    slot: SlotName
    pool: PoolName
    registration: str
    cordoned: bool
    reason: str

    @property
    def subject(self) -> Subject:
        """The registration."""
        return naming.registration_of(self.pool, self.registration)


@dataclass(frozen=True, slots=True)
class AcquireJobs:
    """Take on jobs that a service offers to a pool."""

    pool: PoolName
    jobs: tuple[int, ...]  # the offers, by id
    reason: str
    generation: None = None
    slot: None = None

    @property
    def subject(self) -> Subject:
        """All that the pool is offered: jobs of one pool are acquired one time after the other."""
        return naming.offers_of(self.pool)


@dataclass(frozen=True, slots=True)
class Clear:
    """Remove all that an ended agent has made: containers, networks, volumes and images."""

    generation: Generation
    slot: SlotName
    reason: str
    unowned: bool = False  # nobody remembers the agent, so that nobody else looks after what it had

    @property
    def subject(self) -> Subject:
        """Its belongings alone: its container may go meanwhile."""
        return naming.belongings_of(self.generation)


@dataclass(frozen=True, slots=True)
class Forget(_OfGeneration):
    """Give up the witness of an agent whose container is gone and whose outcome is on disk."""

    generation: Generation
    slot: SlotName
    reason: str
    door: bool = False  # its door and the volume that it worked in are given up, too


@dataclass(frozen=True, slots=True)
class MakeSandbox:
    """Make the holder of a network namespace for the slot's agents."""

    generation: Generation  # the holder's own
    spec: SlotSpec
    reason: str

    @property
    def subject(self) -> Subject:
        """The slot's sandbox: one is made at a time."""
        return naming.sandbox_of(self.spec.name)

    @property
    def name(self) -> str:
        """The holder's."""
        return naming.holder(self.spec.name, self.generation)

    @property
    def slot(self) -> SlotName:
        """The slot it is for."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class CheckSandbox(_OfGeneration):
    """See whether a job has left anything in a network namespace that its agent is gone from."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    reason: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox(_OfGeneration):
    """Remove a holder in whose network namespace nobody is."""

    generation: Generation
    slot: SlotName
    container: ContainerId
    reason: str


@dataclass(frozen=True, slots=True)
class _OfClocks:
    """Done to the clocks of a slot's GPUs: one thing at a time."""

    generation: Generation
    slot: SlotName
    gpus: tuple[str, ...]

    @property
    def subject(self) -> Subject:
        """The clocks alone: the agent may be ended meanwhile."""
        return naming.clocks_of(self.slot)


@dataclass(frozen=True, slots=True)
class LockClocks(_OfClocks):
    """Have the GPUs run at one frequency, for the job that is about to begin."""

    clock: int
    memory_clock: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class UnlockClocks(_OfClocks):
    """Give the clocks back to the driver."""

    driver: str  # which loading of it has them; "": not known
    memory: bool  # those of the memory were locked, too
    reason: str


Action: TypeAlias = (
    Prepare
    | Enrol
    | Open
    | Rename
    | Signal
    | Freeze
    | Thaw
    | Weigh
    | Remove
    | StartAgain
    | TakeResults
    | Dismiss
    | SetSchedulable
    | AcquireJobs
    | Clear
    | Forget
    | MakeSandbox
    | CheckSandbox
    | RemoveSandbox
    | LockClocks
    | UnlockClocks
)


def action_name(action: Action) -> str:
    """The action's name in log, metrics and ``mayfly plan``: ``set_schedulable``."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", type(action).__name__).lower()
