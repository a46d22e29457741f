"""Whose the host is, where jobs that are measured have it to themselves (``others_idle``).

Pure. The host is one thing that jobs in the lane and all others have by turns: while a job of the lane waits
for the others to end no other gate opens, and after it each slot that waited has a gate before the lane has
the host again. So neither starves, and nobody waits for a slot that could not open its gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from mayfly.core.bench_lane import Lane, has_begun, retries_at
from mayfly.core.memory import Agent
from mayfly.core.model import ContainerState, PoolSpec, SlotName, SlotSpec
from mayfly.core.opening import why_shut
from mayfly.core.plan import View
from mayfly.core.slots import VACANCY, cooling, within
from mayfly.core.taking_turns import Wants

NOBODY: Mapping[str, list[Agent]] = {}  # on any GPU: whoever is will end
OWED = 120.0  # seconds in which those who waited for a job of the lane have their gates first


def lane_of(view: View, wants: Wants) -> Lane:
    """Whose the host is now, and whose next."""
    alone = [spec for spec in view.desired.slots if spec.bench and spec.bench.others_idle]
    if not alone:
        return view.lane
    names = {spec.name for spec in alone}
    at_work = dict.fromkeys(
        agent.slot
        for agent in view.memory.agents.values()
        if (agent.at_work or (agent.lingers and agent.committed is not None))
        or has_begun(view.run_id, wants.enrolling, agent)
    )
    for slot in names:
        if slot in at_work or _is_about_to_open(view, slot):
            return Lane(view.lane.locks, holder=slot)
    if (
        view.reserved.held
    ):  # who has reserved a GPU works beside it, for longer than others could wait
        return view.lane
    waiting = [spec for spec in alone if _could_open(view, wants, spec)]
    if not waiting or _is_owed(view, wants, names):
        return view.lane
    first = min(waiting, key=lambda spec: view.memory.slot(spec.name).gate_at or 0.0)
    return Lane(view.lane.locks, next=first.name, others=tuple(at_work))


def _is_about_to_open(view: View, slot: SlotName) -> bool:
    lock = view.lane.locks.get(slot)
    return lock is not None and not lock.refused and lock.generation in view.memory.agents


def _could_open(view: View, wants: Wants, spec: SlotSpec) -> bool:
    """Whether a job waits for the slot, and nothing but the lane, or its GPUs, keeps its gate shut."""
    tenancy = wants.tenants.get(spec.name, VACANCY)
    own, known = tenancy.own, view.memory.slot(spec.name)
    if own is None or not _stands_at_gate(view, own):
        return False
    if known.booking is None and _waiting(wants, spec.pool) <= 0:
        return False
    if known.held is not None or cooling(known, view.now):
        return False
    if spec.name in view.desired.obstacles or retries_at(view, spec) is not None:
        return False
    alone = replace(view, lane=Lane({}, next=spec.name if spec.bench else None))
    return why_shut(alone, NOBODY, spec, own, tenancy) is None


def _stands_at_gate(view: View, own: Agent) -> bool:
    if own.committed is not None or own.ready is None or own.doom is not None:
        return False
    container = view.containers.get(own.generation)
    return container is not None and container.live and container.state is not ContainerState.PAUSED


def _waiting(wants: Wants, pool: PoolSpec) -> int:
    if pool.embedded:
        return wants.queue.waiting(pool.name)
    return max(0, wants.gates.get(pool.name, 0))


def _is_owed(view: View, wants: Wants, lane: AbstractSet[SlotName]) -> bool:
    """Whether somebody who waited while a job of the lane had the host has not had a gate since."""
    ends = [
        known.vacant_since
        for name in lane
        if (known := view.memory.slot(name)).gate_at is not None and known.vacant_since is not None
    ]
    if not ends or not within(view.now, max(ends), OWED):
        return False
    ended = max(ends)
    return any(
        _could_open(view, wants, spec)
        for spec in view.desired.slots
        if spec.name not in lane and (view.memory.slot(spec.name).gate_at or 0.0) < ended
    )
