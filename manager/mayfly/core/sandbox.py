"""A slot's sandbox: a network namespace that is kept, and joined by the slot's agents one after the other.

Pure. A holder, a container that only sleeps, keeps it. Nothing of it is remembered: what is there the engine
shows, by sealed labels as an agent's, so every run of the manager finds it again. It must never be taken away
while an agent that may run is in it, and never be used again once a look has shown that something was left.
See ADR 0023.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mayfly.core import naming
from mayfly.core.actions import MakeSandbox, RemoveSandbox
from mayfly.core.agent_plan import Network
from mayfly.core.container_labels import labels_of
from mayfly.core.model import (
    Container,
    ContainerId,
    Generation,
    HostId,
    PoolName,
    SlotName,
    World,
)
from mayfly.core.plan import Act, View

MEMORY = 32 * 1024 * 1024  # bytes that a holder may have; it has a tenth of a MiB
PROCESSES = 1  # of a holder
PIDS = 16  # that it may have: the engine needs some while it starts it


@dataclass(frozen=True, slots=True)
class SandboxPlan:
    """A holder's container."""

    host: HostId
    pool: PoolName
    slot: SlotName
    generation: Generation
    name: str
    image: str  # the pool's: it is there
    labels: Mapping[str, str]
    network: Network
    userns: str | None = None


def sandbox_plan(action: MakeSandbox, *, host: HostId) -> SandboxPlan:
    """The plan of the holder that is to be made."""
    spec, pool, generation = action.spec, action.spec.pool, action.generation
    return SandboxPlan(
        host=host,
        pool=pool.name,
        slot=spec.name,
        generation=generation,
        name=action.name,
        image=spec.image,
        labels=labels_of(spec, generation, host, holds=True),
        network=Network(pool.network, pool.dns),
        userns=pool.security.userns,
    )


@dataclass(frozen=True, slots=True)
class Sandboxes:
    """The holders that keep a namespace in which nothing is known to be left."""

    usable: frozenset[ContainerId]
    newest: Mapping[
        tuple[SlotName, str], Container
    ]  # that agents are to join, by slot and fingerprint


def sandboxes(world: World) -> Sandboxes:
    """Those of that world."""
    usable = [one for one in world.holders.values() if one.live and one.id not in world.spoilt]
    usable.sort(key=lambda one: (one.created, one.generation))
    newest = {(one.slot, one.fingerprint): one for one in usable}
    return Sandboxes(frozenset(one.id for one in usable), newest)


def leftover(view: View, chosen: Mapping[tuple[SlotName, str], Container]) -> Iterable[Act]:
    """The removal of every holder that no slot wants any more, once nobody can be in its namespace."""
    if not view.world.holders:
        return
    wanted = {spec.name: spec for spec in view.desired.slots}
    inhabited = {one.sandbox for one in view.containers.values() if one.live}
    filling = {
        agent.slot
        for agent in view.memory.agents.values()
        if agent.armed is None and not agent.settled
    }
    for holder in view.world.holders.values():
        spec = wanted.get(holder.slot)
        if spec is not None and holder.slot in view.desired.undetermined:
            continue
        if spec is not None and spec.sandboxed:
            kept = chosen.get((spec.name, spec.fingerprint))
            if kept is not None and kept.id == holder.id:
                continue
        occupied = holder.live and (holder.id in inhabited or holder.slot in filling)
        if occupied or not view.free(holder.generation):
            continue
        if not view.free(naming.sandbox_of(holder.slot)):
            continue  # it may be the one that is being made
        reason = "nobody is in it, and its slot wants another or none"
        yield Act((RemoveSandbox(holder.generation, holder.slot, holder.id, reason),))
