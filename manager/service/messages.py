"""What may lie in the loop's inbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from manager.core.model import Generation
from manager.edge.engine_facts import EngineEvent, StreamTurn
from manager.providers import Sign
from manager.service.bugs import Bug
from manager.service.commands import Command
from manager.service.eye import Sight
from manager.service.gpu_desk import GpuSight
from manager.service.perform import Outcome
from manager.service.rosters import RosterSight


@dataclass(frozen=True, slots=True)
class Rung:
    """An agent may have something to say."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Heard:
    """A line of an agent's output that means something to its provider."""

    generation: Generation
    sign: Sign


@dataclass(frozen=True, slots=True)
class Stop:
    """The manager is to stop; agents go on."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The configuration is to be read again."""


Message: TypeAlias = (
    Rung
    | Heard
    | RosterSight
    | GpuSight
    | Stop
    | Reload
    | EngineEvent
    | StreamTurn
    | Sight
    | Outcome
    | Command
    | Bug
)
