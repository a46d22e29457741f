"""What may lie in the loop's inbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mayfly.core.model import Generation
from mayfly.engines.protocol import EngineEvent, StreamTurn
from mayfly.providers import Sign
from mayfly.service.bugs import Bug
from mayfly.service.engine_observer import Observation
from mayfly.service.gpu_monitor import GpuObservation
from mayfly.service.pending_command import PendingCommand
from mayfly.service.perform import ActionResult
from mayfly.service.roster_watch import RosterSight


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
    | GpuObservation
    | Stop
    | Reload
    | EngineEvent
    | StreamTurn
    | Observation
    | ActionResult
    | PendingCommand
    | Bug
)
