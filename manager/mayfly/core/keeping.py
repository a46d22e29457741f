"""Whether an agent may stay as it is. One that may have a job is never doomed for being in the way."""

from __future__ import annotations

from mayfly.core.actions import SetSchedulable
from mayfly.core.memory import Agent
from mayfly.core.model import DoomReason, Phase, SlotSpec
from mayfly.core.plan import Pass
from mayfly.core.rosters import ABSENCE
from mayfly.core.slots import (
    DEADLINES,
    WITNESS_LOST,
    enrol_limit,
    job_limit,
    overdue,
    phase_of,
    phase_since,
    within,
)

INTERRUPTED_GRACE = (
    2.0  # seconds for a launcher to say that a gate opened by a dead manager is open
)


def keep(run: Pass, spec: SlotSpec, agent: Agent, *, own: bool) -> bool:
    """Whether the agent may stay as it is; if not, it is doomed."""
    late = overdue(agent, spec, run.now, own=own)
    if late is not None:
        if awaits_roster(run, spec, agent):
            return True
        run.doom(agent, *late)
        return False
    _remember_deadline(run, spec, agent, own=own)
    if agent.opened is not None:
        return _keep_working(run, spec, agent)
    if agent.committed is not None:
        return keep_committed(run, agent)
    reason = _unfit(run, spec, agent, own=own)
    if reason is None:
        return True
    run.doom(agent, *reason)
    return False


def may_hold_untracked_job(agent: Agent) -> bool:
    """Whether the agent may have a job that only a roster can show.

    Without its registration nobody can ask the service to let go of it, so ending it might end a job.
    """
    opened = agent.opened is not None and not agent.embedded
    return opened and agent.confirmed is None and agent.registration is None


def awaits_roster(run: Pass, spec: SlotSpec | None, agent: Agent) -> bool:
    """Whether the agent stays until a roster comes that is newer than its deadline: after an older one it may
    have got a job.
    """
    roster = run.world.rosters.get(agent.pool)
    due = phase_since(agent, Phase.ENROLLING) + (enrol_limit(spec) or 0.0)
    return may_hold_untracked_job(agent) and (roster is None or roster.at < due)


def _keep_working(run: Pass, spec: SlotSpec, agent: Agent) -> bool:
    """Whether nobody has cancelled its job, and what it has written is within its pool's limit."""
    job = run.memory.jobs.get(agent.job) if agent.job is not None else None
    if job is not None and job.cancelled_by is not None:
        run.doom(agent, DoomReason.CANCELLED, by=job.cancelled_by)
        return False
    limit, size = spec.pool.limits.disk, run.world.sizes.get(agent.generation, 0)
    if limit is not None and size > limit:
        run.doom(agent, DoomReason.DISK, f"wrote {size} bytes; its pool allows {limit}")
        return False
    return agent.busy or _keep_waiting(run, spec, agent)


def _witness_is_gone(run: Pass, agent: Agent) -> bool:
    lost = run.world.unwitnessed.get(agent.generation)
    return lost is not None and run.now - lost > WITNESS_LOST


def _stale(run: Pass, spec: SlotSpec, agent: Agent) -> bool:
    """Whether it is known to be made from another configuration or image than is wanted now."""
    known = spec.name not in run.desired.undetermined | run.desired.image_blocked
    return known and agent.fingerprint != spec.fingerprint


def _keep_waiting(run: Pass, spec: SlotSpec, agent: Agent) -> bool:
    """Whether an agent that waits at its service for a job may go on waiting."""
    cordon = run.memory.slot(spec.name).cordon
    since = run.world.absent.get(agent.generation)
    if may_hold_untracked_job(agent):
        return True  # what it does is not known yet: it is confirmed, or misses its deadline
    if cordon is not None and (cordon.drain or not spec.can_cordon):
        run.doom(agent, DoomReason.DRAINED, "the slot is to take no new job")
    elif since is not None and agent.confirmed is not None and run.now - since > ABSENCE:
        run.doom(agent, DoomReason.MISSED, "its service does not show it online any more")
    elif _witness_is_gone(run, agent):
        run.doom(agent, DoomReason.MISSED, "its witness is gone")
    elif _stale(run, spec, agent) and spec.pool.name not in run.rolling:
        run.rolling.add(spec.pool.name)
        run.doom(agent, DoomReason.STALE, "it was made from another configuration or image")
    else:
        if (
            agent.registration is not None
            and agent.cordoned_there != (cordon is not None)
            and spec.can_cordon
        ):
            reason = "the slot is cordoned" if cordon is not None else "the slot is uncordoned"
            tell(run, spec, agent, cordoned=cordon is not None, reason=reason)
        return True
    return False


def tell(run: Pass, spec: SlotSpec, agent: Agent, *, cordoned: bool, reason: str) -> None:
    assert agent.registration is not None
    action = SetSchedulable(
        agent.generation,
        spec.name,
        spec.pool.name,
        agent.registration,
        cordoned,
        reason,
    )
    if run.free(action.subject):
        run.actions.append(action)


def keep_committed(run: Pass, agent: Agent) -> bool:
    """A gate that another run of the manager was opening is never opened again."""
    if agent.run_id == run.run_id or not run.free(agent.generation):
        return True
    committed = agent.committed or run.now
    if within(run.now, committed, INTERRUPTED_GRACE):
        run.wakes.append(committed + INTERRUPTED_GRACE)
        return True
    run.doom(agent, DoomReason.INTERRUPTED, "its gate was being opened when the manager stopped")
    return False


def _unfit(run: Pass, spec: SlotSpec, agent: Agent, *, own: bool) -> tuple[DoomReason, str] | None:
    """Why an agent at its gate is not to take a job; ``None`` where it may."""
    known = run.memory.slot(spec.name)
    if known.cordon is not None and known.cordon.drain:
        return DoomReason.DRAINED, "the slot is drained"
    if known.held is not None:
        return DoomReason.UNWANTED, "the slot is held"
    if spec.name in run.desired.undetermined:
        return None
    image_blocked = spec.name in run.desired.image_blocked and agent.ready is not None
    if spec.name in run.desired.obstacles and not image_blocked:
        return DoomReason.UNWANTED, run.desired.obstacles[spec.name]
    if _witness_is_gone(run, agent):
        return DoomReason.MISSED, "its witness is gone"
    probe = run.world.probes.get(agent.generation)
    if agent.lease and probe is not None and not probe.sees:
        return DoomReason.BLIND, probe.text
    if agent.fingerprint != spec.fingerprint and not image_blocked:
        ready = agent.ready is not None and agent.lease == spec.lease
        if spec.pool.name in run.rolling and ready:
            return None
        run.rolling.add(spec.pool.name)
        return DoomReason.STALE, "it was made from another configuration or image"
    if not own and not spec.pool.standby:
        return DoomReason.UNWANTED, "the pool keeps no standby"
    if agent.armed is None and run.free(agent.generation):
        return DoomReason.INTERRUPTED, "it was being made when the manager stopped"
    return None


def _remember_deadline(run: Pass, spec: SlotSpec, agent: Agent, *, own: bool) -> None:
    phase = phase_of(agent, own=own)
    limit = DEADLINES[phase].seconds
    if phase is Phase.IDLE:
        limit = spec.pool.limits.idle_recycle
    elif phase is Phase.BUSY:
        limit = job_limit(agent, spec)
    elif phase is Phase.ENROLLING:
        limit = enrol_limit(spec)
    if limit is not None:
        run.wakes.append(phase_since(agent, phase) + limit + 0.001)
