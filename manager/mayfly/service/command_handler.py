"""Commands as the loop meets them: what each needs is looked up, and ``core/command_effects.py`` decides."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from mayfly.core import machine, naming
from mayfly.core.command_effects import effects
from mayfly.core.command_result import CommandResult, Reread, Situation, refusal, refused
from mayfly.core.commands import (
    AttachAgent,
    CancelJobs,
    CloseGates,
    Command,
    CordonSlots,
    DetachAgent,
    DrainSlots,
    ExtendHold,
    ExtendReservation,
    HealGpu,
    HoldJob,
    LeaveHost,
    OpenGates,
    PauseManager,
    PlanAhead,
    RecycleSlots,
    ReleaseHold,
    ReleaseReservation,
    ReloadConfig,
    ReserveGpus,
    ResumeManager,
    RetrySlots,
    SubmitJob,
    SubmitRun,
    UncordonSlots,
)
from mayfly.core.desire import desired
from mayfly.core.model import Config, JobId, PoolName, Traits
from mayfly.core.notice import Judge
from mayfly.core.state import State, scene_of
from mayfly.core.submitting import Members
from mayfly.edge.faults import Fault
from mayfly.service.brake import Brake


@dataclass(frozen=True, slots=True)
class CommandHandler:
    """Looks things up; changes nothing but how often somebody has asked."""

    known_job: Callable[[JobId], bool]  # whether a job of that id was ever there, or is promised
    members: Callable[[str], Members]  # the job of that id, or those of that group, on disk
    reread: Callable[[], Config]
    preview: Callable[[Config], Mapping[PoolName, Traits]]
    judge: Judge
    # of a user's tree and content, what is not kept of them
    unsent: Callable[[int, str | None, str | None], tuple[str, ...]] = lambda *_: ()
    brake: Brake = field(default_factory=Brake)

    def result(self, command: Command, state: State, now: float, headline: str) -> CommandResult:
        """What the command comes to; ``state`` has all that was taken in before it."""
        at = Situation(state.config, state.desired, state.drafted, now, headline=headline)
        try:
            found = effects(command, self._looked_up(command, state, at))
        except Fault as fault:
            return refusal(409, "refused", str(fault))
        # What changes nothing is no event, and costs nobody anything.
        braked = self.brake.stops(command, now) if found.facts else None
        return refused(braked) if braked is not None else found

    def _looked_up(self, command: Command, state: State, at: Situation) -> Situation:
        match command:
            case SubmitJob():
                named = {name: self.members(name) for name in command.after}
                unsent = self.unsent(command.by.uid, command.workspace, command.stdin)
                return replace(at, new_job=self._new_job(at.now), named=named, unsent=unsent)
            case ReserveGpus():
                unsent = self.unsent(command.by.uid, command.workspace, None)
                return replace(at, new_job=self._new_job(at.now), unsent=unsent)
            case SubmitRun():
                unsent = self.unsent(command.by.uid, command.workspace, None)
                return replace(at, new_job=self._new_job(at.now), unsent=unsent)
            case CancelJobs(jobs=jobs):
                return replace(at, named={name: self.members(name) for name in jobs})
            case (
                AttachAgent(to=to, is_slot=False)
                | HoldJob(to=to, is_slot=False)
                | ExtendHold(to=to, is_slot=False)
                | ReleaseHold(to=to, is_slot=False)
            ):
                return replace(at, named={to: self.members(to)})
            case ReloadConfig():
                return replace(at, reread=self._reread(state))
            case HealGpu():
                return replace(at, scene=scene_of(state, at.now))
            case PlanAhead():
                return replace(at, plan=machine.foreseen(state, at.now, self.judge))
            case (
                AttachAgent()
                | HoldJob()
                | ExtendHold()
                | ReleaseHold()
                | DetachAgent()
                | ExtendReservation()
                | ReleaseReservation()
                | CordonSlots()
                | UncordonSlots()
                | DrainSlots()
                | RecycleSlots()
                | RetrySlots()
                | PauseManager()
                | ResumeManager()
                | CloseGates()
                | LeaveHost()
                | OpenGates()
            ):
                return at
            case _:
                assert_never(command)

    def _new_job(self, now: float) -> JobId:
        job = naming.job(now, secrets.randbelow(36**3))
        while self.known_job(job):
            job = naming.job(now, secrets.randbelow(36**3))
        return job

    def _reread(self, state: State) -> Reread:
        config = self.reread()
        traits, hardware = self.preview(config), state.gpus.hardware
        return Reread(config, desired(config, state.survey, traits, hardware=hardware))
