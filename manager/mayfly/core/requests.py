"""What only the outside can do, asked for by the machine as values; none of it decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mayfly.core.allocations import TendAllocations
from mayfly.core.memory import Agent
from mayfly.core.model import ContainerId, Generation, PoolName, SlotSpec


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the log: an event that is no fact."""

    event: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Look:
    """Look at the Engine; with ``survey`` at images, mounts and sizes, too."""

    survey: bool


@dataclass(frozen=True, slots=True)
class LookAtMounts:
    """Look at the paths that the pools' agents mount."""


@dataclass(frozen=True, slots=True)
class AskRoster:
    """Ask the pool's service now who is there."""

    pool: PoolName


@dataclass(frozen=True, slots=True)
class AskAnswer:
    """Ask the pool's service now for something small, to see whether it answers."""

    pool: PoolName


@dataclass(frozen=True, slots=True)
class Listen:
    """Have the pool's service say what jobs it has, in its own time; first acknowledge those messages."""

    pool: PoolName
    room: int  # how many jobs the pool's slots can have at once, those that they have included
    acknowledge: tuple[int, ...]
    labels: tuple[str, ...]  # what jobs may ask for that the host gives in each of its slots
    turn: int = 1  # what is asked in a turn that was left comes to nothing


@dataclass(frozen=True, slots=True)
class Leave:
    """Have the pool's service hand out no more jobs to it, at once."""

    pool: PoolName
    turn: int  # this one and those before it


@dataclass(frozen=True, slots=True)
class AskWaiting:
    """Ask the pool's service which jobs wait for it; its slots give jobs those labels beside the pool's."""

    pool: PoolName
    labels: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class CancelWaiting:
    """Have the pool's service cancel a job that waits."""

    pool: PoolName
    waiting: str


@dataclass(frozen=True, slots=True)
class Trial:
    """An enrolment to be tried for a pool: for that agent, which never gets it, with these labels."""

    agent: Agent
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TryEnrolment:
    """Try one for the pool."""

    pool: PoolName
    trial: Trial


@dataclass(frozen=True, slots=True)
class ReadGpus:
    """Ask NVML now, unless it is being asked already."""


@dataclass(frozen=True, slots=True)
class PaceGpus:
    """Ask NVML that often from now on; ``resting``: only when somebody wants to know."""

    seconds: float
    resting: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """Have an agent at its gate say which GPUs it sees."""

    generation: Generation
    container: ContainerId
    lease: tuple[str, ...]
    minors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ResetGpu:
    """Reset a GPU, with those that have to be reset with it, once nothing is seen to use any of them."""

    gpu: str
    together: tuple[str, ...]
    devices: tuple[str, ...]  # all of these, with their MIG devices
    split: bool  # whether there are MIG devices to be made again


@dataclass(frozen=True, slots=True)
class EndLeftover:
    """End a process of an agent that has ended, or of a container that one has made."""

    pid: int
    gpu: str
    container: ContainerId | None
    agent: Generation | None


@dataclass(frozen=True, slots=True)
class ProbeIsolation:
    """Have throwaway containers made as that slot's agents try what these must not be able to."""

    spec: SlotSpec


@dataclass(frozen=True, slots=True)
class TellReservation:
    """Have the job of a reservation learn that it ends later than it was begun for."""

    generation: Generation
    container: ContainerId
    seconds: float  # that it lasts in all, from when its gate was opened


Request: TypeAlias = (
    Note
    | Look
    | LookAtMounts
    | ProbeIsolation
    | AskRoster
    | AskAnswer
    | Listen
    | Leave
    | AskWaiting
    | CancelWaiting
    | TryEnrolment
    | ReadGpus
    | PaceGpus
    | Probe
    | ResetGpu
    | EndLeftover
    | TendAllocations
    | TellReservation
)
