"""Whether an agent may stay as it is. One that may have a job is never doomed for being in the way."""

from __future__ import annotations

from math import inf

from mayfly.core.actions import SetSchedulable
from mayfly.core.job_images import wanted_for
from mayfly.core.memory import Agent
from mayfly.core.model import DoomReason, Hold, Phase, SlotSpec
from mayfly.core.plan import STAY, Act, Doom, Stay, Verdict, View
from mayfly.core.rolling import Rolling
from mayfly.core.rosters import ABSENCE, job_taken_back
from mayfly.core.slots import (
    DEADLINES,
    WITNESS_LOST,
    due_since,
    enrol_limit,
    job_limit,
    overdue,
    phase_of,
    phase_since,
    prepare_limit,
    within,
)

NO_NETWORK = "the sandbox that it is in is gone, or not clean"
TAKEN_BACK = "its service has ended its job: cancelled there, over a limit, or its entry deleted"
# seconds for a launcher to say that a gate opened by a dead manager is open
INTERRUPTED_GRACE = 2.0


def keep(
    view: View, rolling: Rolling, spec: SlotSpec, agent: Agent, due: float | None, *, own: bool
) -> Verdict:
    """Whether the agent may stay as it is; in pools that are ``rolling`` no stale one is replaced now.

    ``due``: its ``deadline``.
    """
    if agent.committed is not None and agent.opened is None and agent.run_id != view.run_id:
        return keep_committed(view, agent)
    if (gone := lease_lost(view, agent)) is not None:
        return gone
    if due is not None and due <= view.now:
        late = overdue(agent, spec, view.now, own=own, written=view.written.get(agent.generation))
        if late is not None:
            return STAY if awaits_roster(view, spec, agent) else Doom(*late)
    if agent.opened is not None:
        return _keep_working(view, rolling, spec, agent)
    if agent.committed is not None:
        return STAY
    return _unfit(view, rolling, spec, agent, own=own) or _while_missed(view, agent)


def may_hold_untracked_job(agent: Agent) -> bool:
    """Whether the agent may have a job that only a roster can show.

    Without its registration nobody can ask the service to let go of it, so ending it might end a job.
    """
    opened = agent.opened is not None and not agent.embedded
    return opened and agent.confirmed is None and agent.registration is None


def awaits_roster(view: View, spec: SlotSpec | None, agent: Agent) -> bool:
    """Whether the agent stays until a roster comes that is newer than its deadline: after an older one it may
    have got a job.
    """
    roster = view.world.rosters.get(agent.pool)
    due = phase_since(agent, Phase.ENROLLING) + (enrol_limit(spec) or 0.0)
    return may_hold_untracked_job(agent) and (roster is None or roster.at < due)


def _keep_working(view: View, rolling: Rolling, spec: SlotSpec, agent: Agent) -> Verdict:
    """Whether nobody has ended its job, and what it has written is within its pool's limit."""
    if (given_up := cancelled(view, agent)) is not None:
        return given_up
    limit = spec.pool.limits.disk
    if limit is not None and (size := view.world.sizes.get(agent.generation, 0)) > limit:
        return Doom(DoomReason.DISK, f"wrote {size} bytes; its pool allows {limit}")
    if agent.generation in view.world.overfull:
        return Doom(DoomReason.DISK, "wrote more into its witness (/run/mayfly/w) than is for it")
    if spec.entry_ends_with_job and job_taken_back(agent, view.world):
        return Doom(DoomReason.TAKEN_BACK, TAKEN_BACK)
    return STAY if agent.busy else _keep_waiting(view, rolling, spec, agent)


def _witness_is_gone(view: View, agent: Agent) -> bool:
    lost = view.world.unwitnessed.get(agent.generation)
    return lost is not None and view.now - lost > WITNESS_LOST


def _while_missed(view: View, agent: Agent) -> Stay:
    """It stays while its witness or its entry at the service has not been missed for too long."""
    lost = view.world.unwitnessed.get(agent.generation)
    since = view.world.absent.get(agent.generation)
    if lost is None and (since is None or agent.confirmed is None):
        return STAY  # nearly always
    dues = (
        lost + WITNESS_LOST if lost is not None else inf,
        since + ABSENCE if since is not None else inf,
    )
    return Stay(min(dues) + 0.001)


def without_sandbox(view: View, agent: Agent) -> bool:
    """Whether the sandbox that it is in is gone, or not to be used: it has no network, or no clean one."""
    container = view.containers.get(agent.generation)
    joined = container.sandbox if container is not None else None
    return joined is not None and joined not in view.sandboxes


def _stale(view: View, spec: SlotSpec, agent: Agent) -> bool:
    """Whether it is known to be made from another configuration or image than is wanted now."""
    if agent.fingerprint == spec.fingerprint:
        return False
    return spec.name not in view.desired.undetermined | view.desired.image_blocked


def _keep_waiting(view: View, rolling: Rolling, spec: SlotSpec, agent: Agent) -> Verdict:
    """Whether an agent that waits at its service for a job may go on waiting."""
    cordon = view.memory.slot(spec.name).cordon
    since = view.world.absent.get(agent.generation)
    if may_hold_untracked_job(agent):
        return STAY  # what it does is not known yet: it is confirmed, or misses its deadline
    if cordon is not None and (cordon.drain or not spec.can_cordon):
        return Doom(DoomReason.DRAINED, "the slot is to take no new job")
    if since is not None and agent.confirmed is not None and view.now - since > ABSENCE:
        return Doom(DoomReason.MISSED, "its service does not show it online any more")
    if agent.generation in view.cut_off:
        return Doom(
            DoomReason.CUT_OFF, "its service answers again, and its client has not come back to it"
        )
    if _witness_is_gone(view, agent):
        return Doom(DoomReason.MISSED, "its witness is gone")
    if without_sandbox(view, agent):
        return Doom(DoomReason.NO_SANDBOX, NO_NETWORK)
    if agent.generation in view.surplus:
        return Doom(DoomReason.SURPLUS, "its service has no job for it any more")
    if _stale(view, spec, agent) and spec.pool.name not in rolling:
        return Doom(DoomReason.STALE, "it was made from another configuration or image")
    told = agent.cordoned_there == (cordon is not None)
    if agent.registration is None or told or not spec.can_cordon:
        return _while_missed(view, agent)
    reason = "the slot is cordoned" if cordon is not None else "the slot is uncordoned"
    return set_schedulable(view, spec, agent, cordoned=cordon is not None, reason=reason)


def set_schedulable(
    view: View, spec: SlotSpec, agent: Agent, *, cordoned: bool, reason: str
) -> Stay | Act:
    """Have the service told whether it may give the agent a new job, unless that is under way."""
    assert agent.registration is not None
    action = SetSchedulable(
        agent.generation,
        spec.name,
        spec.pool.name,
        agent.registration,
        cordoned,
        reason,
    )
    return Act((action,)) if view.asks(action.pool, action.subject) else STAY


def cancelled(view: View, agent: Agent) -> Doom | None:
    """The end of one whose job a person gave up, or whose reservation is over."""
    job = view.memory.jobs.get(agent.job) if agent.job is not None else None
    if job is None or job.cancelled_by is None:
        return None
    return Doom(DoomReason.CANCELLED, by=job.cancelled_by)


def lease_lost(view: View, agent: Agent) -> Doom | None:
    """The end of one whose GPUs may be somebody else's now, whatever it does."""
    gone = view.world.lost_leases.get(agent.generation)
    if gone is None or agent.opened is None:
        return None
    return Doom(DoomReason.LEASE_LOST, gone)


def keep_committed(view: View, agent: Agent) -> Verdict:
    """A gate that another run of the manager was opening is never opened again."""
    if agent.run_id == view.run_id or not view.free(agent.generation):
        return STAY
    committed = agent.committed or view.now
    if within(view.now, committed, INTERRUPTED_GRACE):
        return Stay(committed + INTERRUPTED_GRACE)
    return Doom(DoomReason.INTERRUPTED, "its gate was being opened when the manager stopped")


def _unfit(view: View, rolling: Rolling, spec: SlotSpec, agent: Agent, *, own: bool) -> Doom | None:
    """Why an agent at its gate is not to take a job; ``None`` where it may."""
    known = view.memory.slot(spec.name)
    if known.cordon is not None and known.cordon.drain:
        return Doom(DoomReason.DRAINED, "the slot is drained")
    if known.held is not None and known.hold in (Hold.PERSON, Hold.GPU):
        return Doom(DoomReason.UNWANTED, "the slot is held")
    if view.world.resetting.intersection(agent.lease):
        return Doom(DoomReason.UNWANTED, "its GPU is to be reset")
    if spec.name in view.desired.undetermined:
        return None
    if agent.asked_image != spec.asked_image:
        return Doom(DoomReason.IMAGE, _other_image(spec))
    image_blocked = spec.name in view.desired.image_blocked and agent.ready is not None
    if spec.name in view.desired.obstacles and not image_blocked:
        return Doom(DoomReason.UNWANTED, view.desired.obstacles[spec.name])
    if _witness_is_gone(view, agent):
        return Doom(DoomReason.MISSED, "its witness is gone")
    probe = view.world.probes.get(agent.generation)
    if agent.lease and probe is not None and not probe.sees:
        return Doom(DoomReason.BLIND, probe.text)
    if without_sandbox(view, agent):
        return Doom(DoomReason.NO_SANDBOX, NO_NETWORK)
    if agent.fingerprint != spec.fingerprint and not image_blocked:
        return _outdated(rolling, spec, agent)
    if not own and not spec.standby:
        return Doom(DoomReason.UNWANTED, "the slot keeps no standby")
    return _interrupted(view, spec, agent)


def _interrupted(view: View, spec: SlotSpec, agent: Agent) -> Doom | None:
    """What another run of the manager began with it and nobody can go on with."""
    if spec.dispatched and agent.enrolled_by_run not in (None, view.run_id):
        return Doom(DoomReason.INTERRUPTED, "its enrolment went with the manager that asked for it")
    if agent.armed is None and view.free(agent.generation):
        return Doom(DoomReason.INTERRUPTED, "it was being made when the manager stopped")
    return None


def _outdated(rolling: Rolling, spec: SlotSpec, agent: Agent) -> Doom | None:
    """Whether an agent that was made otherwise than is wanted goes now."""
    if agent.allocation != spec.allocation:
        return Doom(DoomReason.STALE, "its GPUs are Slurm's again")
    ready = agent.ready is not None and agent.lease == spec.lease
    if spec.pool.name in rolling and ready and spec.asked_image is None:
        return None
    return Doom(DoomReason.STALE, "it was made from another configuration or image")


def _other_image(spec: SlotSpec) -> str:
    if spec.asked_image is None:
        return "it was made for a job that does not wait for it any more"
    return wanted_for(spec.asked_image)


def deadline(view: View, spec: SlotSpec, agent: Agent, *, own: bool) -> float | None:
    """When the phase that the agent is in has lasted too long; ``None``: it may last for ever."""
    phase = phase_of(agent, own=own)
    limit = DEADLINES[phase].seconds
    if phase is Phase.IDLE:
        limit = spec.pool.limits.idle_recycle
    elif phase is Phase.BUSY:
        limit = job_limit(agent, spec)
    elif phase is Phase.ENROLLING:
        limit = enrol_limit(spec)
    elif phase is Phase.PREPARING:
        limit = prepare_limit(spec, agent)
    since = due_since(agent, phase, view.written.get(agent.generation))
    return since + limit + 0.001 if limit is not None and since < inf else None
