"""What may lie in the loop's inbox, and what of it is a stimulus to the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from mayfly.core import stimuli
from mayfly.core.model import ContainerId, Death, HostId
from mayfly.core.stimuli import Stimulus
from mayfly.edge.faults import Unbringable
from mayfly.engines.protocol import EngineEvent, StreamTurn
from mayfly.service.bugs import Bug
from mayfly.service.engine_observer import EngineSnapshot, HostSurvey, Observation, PollFailed
from mayfly.service.failures import failure_of
from mayfly.service.pending_command import PendingCommand
from mayfly.service.perform import ActionResult, Done, Failed


@dataclass(frozen=True, slots=True)
class Stop:
    """The manager is to stop; agents go on."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The configuration is to be read again."""


Message: TypeAlias = (
    Stimulus
    | EngineEvent
    | StreamTurn
    | Observation
    | ActionResult
    | Stop
    | Reload
    | PendingCommand
    | Bug
)
Sight: TypeAlias = (
    Stimulus | EngineEvent | StreamTurn | EngineSnapshot | PollFailed | HostSurvey | ActionResult
)


def stimuli_of(sight: Sight, host: HostId) -> Iterator[Stimulus]:
    """What a message means to the machine; ``host`` is ours."""
    match sight:
        case EngineSnapshot(began=began, containers=containers, overfull=overfull):
            yield stimuli.EngineSeen(began, containers, overfull)
        case PollFailed(fault=fault):
            yield stimuli.EngineUnseen(str(fault))
        case HostSurvey(survey=survey):
            yield stimuli.HostSurveyed(survey)
        case StreamTurn(up=up, continuity=continuity, why=why):
            yield stimuli.StreamTurned(up, continuity, why)
        case EngineEvent():
            yield from _of_event(sight, host)
        case Done(action=action, container=container, enrolment=given):
            registration = given.registration if given is not None else None
            registered = given.registered if given is not None else None
            unbrought = sight.unbrought
            yield stimuli.ActionDone(
                action,
                container,
                registration,
                registered,
                busy=sight.busy,
                unclean=sight.unclean,
                unbrought=str(unbrought or ""),
                results=sight.results,
                acquired=sight.acquired,
                clocks=sight.clocks,
                at_fault=unbrought.why if isinstance(unbrought, Unbringable) else None,
            )
        case Failed(action=action, fault=fault):
            yield stimuli.ActionFailed(action, failure_of(fault))
        case _:
            yield sight


def _of_event(event: EngineEvent, host: HostId) -> Iterator[Stimulus]:
    if event.kind == "image":
        yield stimuli.ImagesChanged()
    elif event.kind == "container" and event.host != host:
        return
    elif event.action == "die" and event.generation is not None:
        death = Death(ContainerId(event.id), event.exit_code, event.at, event.why)
        yield stimuli.ContainerDied(event.generation, death)
    else:
        yield stimuli.EngineStirred()
