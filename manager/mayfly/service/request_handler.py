"""What the machine asks of the outside, carried out: log lines, looks, rosters, trials, GPUs, witnesses.

Each request is handed on to whoever can do it and nobody waits, but for witnesses: they are small files of
the manager's own, read at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, assert_never

from mayfly.core.actions import Action
from mayfly.core.allocations import TendAllocations
from mayfly.core.memory import Agent
from mayfly.core.model import Closing, Generation, Witness
from mayfly.core.observed import Observed
from mayfly.core.requests import (
    AskAnswer,
    AskRoster,
    AskWaiting,
    CancelWaiting,
    EndLeftover,
    Leave,
    Listen,
    Look,
    LookAtMounts,
    Note,
    PaceGpus,
    Probe,
    ProbeIsolation,
    ReadGpus,
    Request,
    ResetGpu,
    TellReservation,
    TryEnrolment,
)
from mayfly.core.stimuli import WitnessesRead
from mayfly.edge.faults import Fault
from mayfly.edge.log import Log
from mayfly.service.gpu_monitor import GpuMonitor
from mayfly.service.services import Services


class Observer(Protocol):
    """Who looks at the Engine."""

    def look(self) -> None:
        """Look at the containers soon."""

    def survey(self) -> None:
        """Look at images, mounts and sizes soon, too."""


class MountLooker(Protocol):
    """Who looks at what agents mount."""

    def look(self) -> None:
        """Look soon."""


class IsolationTrier(Protocol):
    """Who tries what agents must not be able to."""

    def probe(self, request: ProbeIsolation) -> None:
        """Try it soon."""


class Worker(Protocol):
    """Who does actions, on threads of its own."""

    def begin(self, action: Action, agent: Agent | None) -> None:
        """Have the action performed; its result is sent to the loop."""


class WitnessReader(Protocol):
    """Where agents' launchers have recorded what happened."""

    def read(self, generation: Generation) -> Witness | None:
        """What one has; ``Fault`` where it is there and cannot be read."""


class AllocationTender(Protocol):
    """Who speaks with Slurm."""

    def tend(self, wanted: TendAllocations) -> None:
        """Give back, ask and look soon."""


class ReservationTold(Protocol):
    """Who can tell the jobs of reservations something."""

    def tell(self, request: TellReservation) -> None:
        """Have it told soon."""


class DoorCloser(Protocol):
    """Who shuts agents' doors."""

    def close(self, generation: Generation) -> Closing:
        """Shut that one, and what was found; ``Fault`` where that is not known."""


@dataclass(frozen=True, slots=True)
class RequestHandler:
    """Who can do what the machine asks for."""

    observer: Observer
    witnesses: WitnessReader
    services: Services
    gpus: GpuMonitor
    log: Log
    mounts: MountLooker
    isolation: IsolationTrier
    doors: DoorCloser
    slurm: AllocationTender
    reservations: ReservationTold

    def carry_out(self, requests: Iterable[Request]) -> None:
        """Hand each on."""
        for request in requests:
            self._carry_out(request)

    def _carry_out(self, request: Request) -> None:
        match request:
            case Note(event=event, fields=fields):
                self.log.event(event, "", **fields)
            case Look(survey=survey):
                (self.observer.survey if survey else self.observer.look)()
            case LookAtMounts():
                self.mounts.look()
            case ProbeIsolation():
                self.isolation.probe(request)
            case AskRoster() | AskAnswer() | AskWaiting() | CancelWaiting() | TryEnrolment():
                self._ask(request)
            case Listen():
                self.services.listen(request)
            case Leave():
                self.services.leave(request)
            case TendAllocations():
                self.slurm.tend(request)
            case TellReservation():
                self.reservations.tell(request)
            case ReadGpus() | PaceGpus() | Probe() | ResetGpu() | EndLeftover():
                self._of_gpus(request)
            case _:
                assert_never(request)

    def _of_gpus(self, request: ReadGpus | PaceGpus | Probe | ResetGpu | EndLeftover) -> None:
        match request:
            case ReadGpus():
                self.gpus.look()
            case PaceGpus():
                self.gpus.pace(request)
            case Probe():
                self.gpus.probe(request)
            case ResetGpu():
                self.gpus.reset(request)
            case EndLeftover(pid=pid, gpu=gpu):
                ended = self.gpus.end(request)
                self.log.event("gpu.leftover", pid=pid, gpu=gpu, ended=ended)
            case _:
                assert_never(request)

    def _ask(
        self, request: AskRoster | AskAnswer | AskWaiting | CancelWaiting | TryEnrolment
    ) -> None:
        """Have a pool's service asked."""
        match request:
            case AskRoster(pool=pool):
                self.services.ask(pool)
            case AskAnswer(pool=pool):
                self.services.ask_answer(pool)
            case AskWaiting(pool=pool, labels=labels):
                self.services.ask_waiting(pool, labels)
            case CancelWaiting(pool=pool, waiting=waiting):
                self.services.cancel_waiting(pool, waiting)
            case TryEnrolment(pool=pool, trial=trial):
                self.services.try_enrolment(pool, trial)
            case _:
                assert_never(request)

    def read(
        self,
        generations: Iterable[Generation],
        observed: Observed,
        closing: Iterable[Generation] = (),
    ) -> WitnessesRead:
        """The witnesses of these agents, as far as they tell anything that is not ``observed``; the doors of
        those that have ended, ``closing``, are shut before.
        """
        closed: dict[Generation, Closing] = {}
        for generation in closing:
            try:
                closed[generation] = self.doors.close(generation)
            except Fault as fault:
                self.log.event("door.unclosed", generation=generation, reason=str(fault))
        found: dict[Generation, Witness | None] = {}
        unreadable = set()
        for generation in generations:
            try:
                found[generation] = self.witnesses.read(generation)
            except Fault as fault:
                unreadable.add(generation)
                if generation not in observed.world.unreadable:  # told once, until it was read
                    self.log.event("witness.unreadable", generation=generation, reason=str(fault))
        return WitnessesRead(observed.news(found), frozenset(unreadable), closed)
