"""What each command comes to: facts, or a sentence that says why it cannot.

Pure: the loop puts the facts on disk and only then answers. Slots and jobs are looked up here, so that every
verb says the same of a name that is not there. A command that could be obeyed in part is refused whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from mayfly.core import hold_effects, host_closing, reserve_effects
from mayfly.core.actions import action_name
from mayfly.core.command_refusal import Refusal
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
from mayfly.core.facts import (
    AgentAttached,
    AgentDetached,
    AgentDoomed,
    Fact,
    JobCancelling,
    JobEnded,
    JobSubmitted,
    ManagerPaused,
    ManagerResumed,
    RunSubmitted,
    SlotCordoned,
    SlotReleased,
    SlotUncordoned,
)
from mayfly.core.healing import HealPlan, healing, sick_gpus
from mayfly.core.healing import plan as heal_plan
from mayfly.core.memory import Agent, Cordon, Job, Memory, Pause
from mayfly.core.model import (
    Cause,
    DoomReason,
    JobId,
    JobState,
    SlotName,
)
from mayfly.core.plan import Plan
from mayfly.core.runs import Run
from mayfly.core.slots import VACANCY, tenancies
from mayfly.core.submitting import Entry, entries, members, run_entries
from mayfly.core.workspace import WORKSPACE

AT_ONCE = 1000  # jobs that one command ends: a pass records them all
OF_EVERYBODY = (
    *(SubmitJob, SubmitRun, ReserveGpus, ExtendReservation, ReleaseReservation, CancelJobs),
    *(AttachAgent, DetachAgent, PlanAhead, HoldJob, ExtendHold, ReleaseHold),
)


def effects(command: Command, situation: Situation) -> CommandResult:
    """What the command comes to as things stand."""
    if command.by.operator or isinstance(command, OF_EVERYBODY):
        return _permitted(command, situation)
    sentence = (
        f"{command.by.name} may only submit jobs, reserve GPUs, read, and end, hold or attach to what is "
        "their own"
    )
    return refusal(403, "forbidden", sentence)


def _permitted(  # noqa: C901, PLR0912  a case for each command
    command: Command, situation: Situation
) -> CommandResult:
    match command:
        case SubmitJob():
            return _submit(command, situation)
        case SubmitRun():
            return _submit_run(command, situation)
        case ReserveGpus() | ExtendReservation() | ReleaseReservation():
            return reserve_effects.effects(command, situation)
        case CancelJobs():
            return _cancel(command, situation)
        case AttachAgent():
            return _attach(command, situation)
        case HoldJob() | ExtendHold() | ReleaseHold():
            return _hold(command, situation)
        case DetachAgent():
            return _detach(command, situation)
        case CordonSlots():
            return _cordon(command, situation)
        case UncordonSlots():
            return _uncordon(command, situation)
        case DrainSlots():
            return _drain(command, situation)
        case RecycleSlots():
            return _recycle(command, situation)
        case RetrySlots():
            return _retry(command, situation)
        case HealGpu():
            return _heal(command, at=situation)
        case PauseManager():
            return _pause(command, situation)
        case ResumeManager():
            return _resume(command, situation)
        case CloseGates() | LeaveHost() | OpenGates():
            return _of_idle_host(command, situation)
        case ReloadConfig():
            return _reload(command, situation)
        case PlanAhead():
            return CommandResult(200, plan_document(situation.plan, situation.headline))
        case _:
            assert_never(command)


def _of_idle_host(command: CloseGates | LeaveHost | OpenGates, at: Situation) -> CommandResult:
    found = host_closing.effects(command, at.desired, at.memory, at.now)
    if isinstance(found, str):
        return refusal(409, "refused", found)
    return CommandResult(200, {}, found)


# -- jobs ------------------------------------------------------------------------------------------


def _submit(command: SubmitJob, at: Situation) -> CommandResult:
    found = entries(
        *(command, at.config, at.desired, at.memory, at.now),
        new=at.new_job,
        named=at.named,
        unsent=at.unsent,
    )
    if isinstance(found, Refusal):
        return refused(found)
    body = {
        "job": at.new_job,
        "group": found[0].job.group,
        "jobs": [entry.job.id for entry in found],
    }
    return _queued(found, body, (), at)


def _submit_run(command: SubmitRun, at: Situation) -> CommandResult:
    found = run_entries(
        *(command, at.config, at.desired, at.memory, at.now), new=at.new_job, unsent=at.unsent
    )
    if isinstance(found, Refusal):
        return refused(found)
    by = command.by
    run = Run(at.new_job, command.origin, len(found), by.uid, by.name)
    body = {"run": run.id, "jobs": [entry.job.id for entry in found]}
    return _queued(found, body, (RunSubmitted(at.now, run),), at)


def _queued(
    found: tuple[Entry, ...], body: Mapping[str, object], before: tuple[Fact, ...], at: Situation
) -> CommandResult:
    facts = (*before, *(JobSubmitted(at.now, entry.job) for entry in found))
    return CommandResult(201, body, facts, {entry.job.id: entry.payload for entry in found})


def _cancel(command: CancelJobs, at: Situation) -> CommandResult:
    """Of many what has ended already is passed over; one alone, or all of them, is told."""
    ending: dict[JobId, Job] = {}
    over: list[JobId] = []
    found = {name: members(name, at.memory, at.named) for name in command.jobs}
    if missing := [name for name, known in found.items() if not known]:
        return _no_such_jobs(missing, len(found))
    for known in found.values():
        for job in known:
            entry = at.memory.jobs.get(job)
            if entry is None:
                over.append(job)
            elif not command.by.may_act_on(entry.uid):
                sentence = f"job {job} is not one of {command.by.name}'s"
                return refusal(403, "forbidden", sentence)
            else:
                ending[job] = entry
    if len(ending) > AT_ONCE:
        sentence = (
            f"these are {len(ending)} jobs, and at most {AT_ONCE} are cancelled at once: name fewer, or end "
            "all that are yours: mayfly cancel --mine"
        )
        return refusal(400, "bad_request", sentence)
    if not ending:
        have = f"job {over[0]} has" if len(over) == 1 else f"all {len(over)} jobs have"
        return refusal(409, "ended", f"{have} ended already")
    facts = [fact for entry in ending.values() for fact in _cancelled(entry, command.by.name, at)]
    body = {"job": next(iter(ending)), "jobs": list(ending), "ended": over}
    return CommandResult(200, body, tuple(facts))


def _no_such_jobs(missing: Sequence[str], of: int) -> CommandResult:
    """Every one of them is named, and what became of the others."""
    which = (
        f"job {missing[0]}"
        if len(missing) == 1
        else f"job {', '.join(missing[:-1])} or {missing[-1]}"
    )
    others = "; nothing was cancelled" if of > 1 else ""
    return refusal(404, "no_such_job", f"there is no {which}: see `mayfly jobs`{others}")


def _cancelled(job: Job, by: str, at: Situation) -> Iterator[Fact]:
    yield JobCancelling(at.now, job.id, by)
    agent = at.memory.agents.get(job.agent) if job.agent is not None else None
    if agent is None:
        yield JobEnded(at.now, job.id, JobState.CANCELLED, Cause.CANCELLED, None)
    elif agent.doom is None and not agent.settled:
        yield AgentDoomed(at.now, agent.generation, DoomReason.CANCELLED, by=by)


def _attach(command: AttachAgent, at: Situation) -> CommandResult:
    """The agent with the job, running or held, where there is one that the caller may go into."""
    one = hold_effects.found(command, at.desired, at.memory, at.named)
    if isinstance(one, Refusal):
        return refused(one)
    agent = one.agent
    if agent is None:
        return refusal(409, "refused", f"job {command.to} is queued: it runs nowhere yet")
    if not (agent.busy or agent.is_held) or agent.container is None:
        return refusal(409, "refused", f"the job in {agent.slot} has not begun yet: try again")
    body: dict[str, object] = {
        "generation": agent.generation,
        "container": agent.container,
        "slot": agent.slot,
    }
    if agent.is_held:
        begins = WORKSPACE if agent.brings or agent.door else None
        body |= {"held": True, "job": agent.job, "begins": begins}
    fact = AgentAttached(at.now, agent.generation, command.by.name, command.mark)
    return CommandResult(200, body, (fact,))


def _hold(command: HoldJob | ExtendHold | ReleaseHold, at: Situation) -> CommandResult:
    found = hold_effects.found(command, at.desired, at.memory, at.named)
    if isinstance(found, Refusal):
        return refused(found)
    match command:
        case HoldJob():
            effect = hold_effects.held(command, found, at.desired, at.memory, at.now)
        case ExtendHold():
            effect = hold_effects.extended(command, found, at.desired, at.memory, at.now)
        case ReleaseHold():
            effect = hold_effects.released(command, found, at.now)
        case _:
            assert_never(command)
    if isinstance(effect, Refusal):
        return refused(effect)
    return CommandResult(200, effect.body, effect.facts)


def _detach(command: DetachAgent, at: Situation) -> CommandResult:
    generation = command.generation
    if generation is None:
        visits = (
            agent.generation
            for agent in at.memory.agents.values()
            if any(visit.mark == command.mark for visit in agent.attached)
        )
        generation = next(visits, None)
    if generation is None:
        return CommandResult(200, {})
    fact = AgentDetached(at.now, generation, command.by.name, command.reason, command.mark)
    return CommandResult(200, {}, (fact,))


# -- slots -----------------------------------------------------------------------------------------


def _cordon(command: CordonSlots, at: Situation) -> CommandResult:
    names = _slots(at, command.slots)
    if isinstance(names, CommandResult):
        return names
    facts = []
    for name in names:
        before = at.memory.slot(name).cordon
        drained = before is not None and before.drain
        cordon = Cordon(at.now, command.by.name, command.note, command.until, drain=drained)
        facts.append(SlotCordoned(at.now, name, cordon))
    return CommandResult(200, {"slots": list(names)}, tuple(facts))


def _uncordon(command: UncordonSlots, at: Situation) -> CommandResult:
    names = _slots(at, command.slots)
    if isinstance(names, CommandResult):
        return names
    facts = tuple(
        SlotUncordoned(at.now, name, command.by.name)
        for name in names
        if at.memory.slot(name).cordon is not None
    )
    return CommandResult(200, {"slots": list(names)}, facts)


def _drain(command: DrainSlots, at: Situation) -> CommandResult:
    names = _slots(at, command.slots)
    if isinstance(names, CommandResult):
        return names
    by = command.by.name
    facts: list[Fact] = [
        SlotCordoned(at.now, name, Cordon(at.now, by, command.note, drain=True)) for name in names
    ]
    if command.force:
        facts.extend(
            AgentDoomed(at.now, agent.generation, DoomReason.FORCED, by=by)
            for agent in _stoppable(at.memory, names)
        )
    return CommandResult(200, {"slots": list(names)}, tuple(facts))


def _recycle(command: RecycleSlots, at: Situation) -> CommandResult:
    names = _slots(at, command.slots)
    if isinstance(names, CommandResult):
        return names
    facts = tuple(
        AgentDoomed(at.now, agent.generation, DoomReason.RECYCLED, by=command.by.name)
        for agent in _stoppable(at.memory, names)
        if _has_no_job(agent)
    )
    return CommandResult(200, {"slots": list(names), "replaced": len(facts)}, facts)


def _retry(command: RetrySlots, at: Situation) -> CommandResult:
    names = _slots(at, command.slots)
    if isinstance(names, CommandResult):
        return names
    facts = tuple(SlotReleased(at.now, name, command.by.name) for name in names)
    return CommandResult(200, {"slots": list(names)}, facts)


def _heal(command: HealGpu, at: Situation) -> CommandResult:
    scene = at.scene
    assert scene is not None  # looked up for this command
    gpu = command.gpu
    if gpu is None:
        sick = sick_gpus(scene)
        if len(sick) != 1:
            which = (
                f"there are: {', '.join(sick)}" if sick else "no GPU is sick of what one may mend"
            )
            return refusal(409, "refused", f"say which GPU is to be reset: {which}")
        gpu = sick[0]
    found = heal_plan(scene, gpu, by_hand=True)
    if found is None:
        there = ", ".join(one.uuid for one in scene.known) or "none"
        return refusal(404, "no_such_gpu", f"there is no GPU {gpu}; there are: {there}")
    body = _heal_document(found)
    if command.dry_run:
        return CommandResult(200, body)
    if at.memory.pause is not None:
        text = f"{found.gpu} is not reset: the manager is paused: `mayfly resume`"
        return refusal(409, "refused", text)
    if found.refusals:
        return refusal(409, "refused", f"{found.gpu} is not reset: {found.refusals[0]}")
    return CommandResult(200, body, (healing(found, at.now, command.by.name),))


def _heal_document(found: HealPlan) -> dict[str, object]:
    """A plan as ``mayfly gpus heal --json`` shows it."""
    return {
        "schema": "mayfly.heal/1",
        "gpu": found.gpu,
        "together": list(found.together),
        "mig": list(found.mig),
        "reason": found.reason,
        "stops": list(dict.fromkeys(agent.slot for agent in found.stops)),
        "refusals": list(found.refusals),
    }


def _slots(at: Situation, wanted: Iterable[str] | None) -> tuple[SlotName, ...] | CommandResult:
    """The slots of those names (``None``: all), each once; a refusal names the first that is not there."""
    known = [spec.name for spec in at.desired.slots]
    known += sorted({agent.slot for agent in at.memory.agents.values()} - set(known))
    if wanted is None:
        return tuple(known)
    names: list[SlotName] = []
    for name in wanted:
        if name not in known:
            there = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
            return refusal(404, "no_such_slot", f"there is no slot {name}; there are: {there}")
        if name not in names:
            names.append(SlotName(name))
    return tuple(names)


def _stoppable(memory: Memory, slots: Iterable[SlotName]) -> list[Agent]:
    """The agents of the slots that are not ended or ending already."""
    tenants = tenancies(memory.agents.values())
    return [
        agent
        for name in slots
        for agent in tenants.get(name, VACANCY).agents
        if not agent.settled and agent.doom is None
    ]


def _has_no_job(agent: Agent) -> bool:
    """Whether it waits for a job, at its gate or at its service."""
    if agent.committed is None:
        return True
    return not agent.embedded and agent.opened is not None and not agent.busy


# -- the manager -----------------------------------------------------------------------------------


def _pause(command: PauseManager, at: Situation) -> CommandResult:
    pause = Pause(at.now, command.by.name, command.note)
    return CommandResult(200, {"paused": True}, (ManagerPaused(at.now, pause),))


def _resume(command: ResumeManager, at: Situation) -> CommandResult:
    paused = at.memory.pause is not None
    facts = (ManagerResumed(at.now, command.by.name),) if paused else ()
    return CommandResult(200, {"paused": False}, facts)


def _reload(command: ReloadConfig, at: Situation) -> CommandResult:
    found = at.reread or Reread(at.config, at.desired)
    before = {spec.name: spec for spec in at.desired.slots}
    after = {spec.name: spec for spec in found.desired.slots}
    body = {
        "dry_run": command.dry_run,
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
        "replaced": [
            name
            for name, spec in after.items()
            if name in before and before[name].fingerprint != spec.fingerprint
        ],
        "held": dict(found.desired.obstacles),
        "restart": [f"host.{key}" for key in at.config.host.reread(found.config.host)[1]],
    }
    return CommandResult(200, body, config=None if command.dry_run else found.config)


def plan_document(plan: Plan, headline: str) -> dict[str, object]:
    """A plan as ``mayfly plan --json`` shows it."""
    return {
        "schema": "mayfly.plan/1",
        "headline": headline,
        "actions": [
            {
                "action": action_name(action),
                "slot": action.slot,
                "subject": action.subject,
                "reason": action.reason,
            }
            for action in plan.actions
        ],
    }
