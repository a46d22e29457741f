"""Jobs that fail one after the other in a slot, counted beside what other slots of the pool make of theirs.

Pure. One failing job says nothing of its slot. Many in a row do, where jobs that began meanwhile in other
slots of the pool succeed: then the slot eats the queue, and its GPU is the first suspect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mayfly.core.facts import AgentExited
from mayfly.core.memory import Agent, FailedRun, SlotMemory
from mayfly.core.model import Cause, Phase, SlotName

FEW = 3  # jobs in a row: fewer say nothing of a slot
BY_CHANCE = 1 / 1000  # a run is no accident where it is less likely than that
# Ends that a person or the world wanted, whatever the job would have come to.
NOT_THE_JOB_S = (Cause.CANCELLED, Cause.ENGINE_STOPPED, Cause.KILLED)
LIMITS = {
    Cause.OOM: "out of memory",
    Cause.TIMEOUT: "over the time limit",
    Cause.DISK: "over the disk limit",
}


def after_end(
    slots: Mapping[SlotName, SlotMemory], agent: Agent, end: AgentExited
) -> dict[SlotName, FailedRun | None]:
    """The runs that the end of an agent's job changes, by slot; ``None``: its run is over."""
    begun = agent.confirmed_at if agent.confirmed is Phase.BUSY else agent.opened
    if end.job_succeeded is None or end.cause in NOT_THE_JOB_S or begun is None:
        return {}
    changed: dict[SlotName, FailedRun | None] = {}
    before = slots[agent.slot].failed_run if agent.slot in slots else None
    own = None if end.job_succeeded else _longer(before, agent, begun, end)
    if own is not before:
        changed[agent.slot] = own
    for name, known in slots.items():
        run = known.failed_run
        if run is None or name == agent.slot or name.rpartition("-")[0] != agent.pool:
            continue
        if begun < run.since:
            continue
        if own is None:
            changed[name] = replace(run, others_succeeded=run.others_succeeded + 1)
        elif own.jobs <= FEW:  # of a slot that fails all of its own nothing more is learnt
            changed[name] = replace(run, others_failed=run.others_failed + 1)
    return changed


def _longer(before: FailedRun | None, agent: Agent, begun: float, end: AgentExited) -> FailedRun:
    how = _how(end)
    if before is None or before.fingerprint != agent.fingerprint:
        return FailedRun(1, begun, end.at, agent.fingerprint, how)
    return replace(
        before, jobs=before.jobs + 1, last=end.at, how=how, alike=before.alike and before.how == how
    )


def _how(end: AgentExited) -> str:
    if end.cause in LIMITS:
        return LIMITS[end.cause]
    return f"exit code {end.exit_code}" if end.exit_code else "told as failed by their service"


def stands_out(run: FailedRun) -> bool:
    """Whether the slot fails its jobs and not the jobs themselves: beside it too many succeed for chance."""
    if run.jobs < FEW or not run.others_succeeded:
        return False
    others = run.others_succeeded + run.others_failed
    failing = (run.others_failed + 1) / (others + 2)  # of jobs beside it, by Laplace's rule
    # Jobs of one person are alike: many of them say no more than there are others to compare them with.
    return bool(failing ** min(run.jobs, run.others_succeeded) < BY_CHANCE)
