"""A slot's sandboxes: network namespaces that are kept, and joined by its agents one after the other.

Pure. A holder, a container that only sleeps, keeps one. Nothing of it is remembered: what is there the engine
shows, by sealed labels as an agent's, so every run of the manager finds it again. It must never be taken away
while an agent that may run is in it, never be joined while another is, and after a job not before a look has
shown that nothing is left of it, here or elsewhere. See ADR 0023.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mayfly.core import naming
from mayfly.core.actions import CheckSandbox, MakeSandbox, RemoveSandbox
from mayfly.core.agent_plan import Network
from mayfly.core.container_labels import labels_of
from mayfly.core.memory import Agent
from mayfly.core.model import (
    Container,
    ContainerId,
    Generation,
    HostId,
    PoolName,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.plan import Act, View

MEMORY = 32 * 1024 * 1024  # bytes that a holder may have; it has a tenth of a MiB
PROCESSES = 1  # of a holder
MOST = 2  # that a slot keeps: its agent is in one, and its next one in the other
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
    # Those that the next agent may join: nobody is in them, and nothing is left of whoever was.
    vacant: Mapping[tuple[SlotName, str], Container]  # by slot and fingerprint
    unchecked: Mapping[Generation, Container]  # that somebody was in, and nobody is any more
    newest: Mapping[SlotName, Container]  # of all that are there, of use or not
    inside: frozenset[ContainerId | None]  # those in whose namespaces a process of an agent may be


def sandboxes(world: World, held: AbstractSet[Generation] = frozenset()) -> Sandboxes:
    """Those of that world; in the containers of ``held`` agents somebody may be, whatever else is known."""
    there = sorted(world.holders.values(), key=_age)
    usable = [one for one in there if one.live and one.id not in world.spoilt]
    inside = _inhabited(world, held)
    empty = [one for one in usable if one.id not in inside]
    return Sandboxes(
        frozenset(one.id for one in usable),
        {(one.slot, one.fingerprint): one for one in empty if one.id in world.clean},
        {one.generation: one for one in empty if one.id not in world.clean},
        {one.slot: one for one in there},
        inside,
    )


def _age(holder: Container) -> tuple[float, Generation]:
    return holder.created, holder.generation


def _inhabited(world: World, held: AbstractSet[Generation]) -> frozenset[ContainerId | None]:
    return frozenset(
        one.sandbox
        for one in (world.containers or {}).values()
        if one.generation in held
        or (one.live and one.generation not in world.ended and one.generation not in world.deaths)
    )


def is_filling(world: World, agents: Iterable[Agent]) -> bool:
    """Whether one of a slot's agents is being made, so that it may be in any of the slot's namespaces."""
    return any(
        agent.armed is None and (not agent.settled or agent.generation in world.unsure)
        for agent in agents
    )


def is_checked(found: Sandboxes, spec: SlotSpec) -> bool:
    """Whether the slot has no namespace of which it is about to be known if it may be used again."""
    known = (spec.name, spec.fingerprint)
    return not any((one.slot, one.fingerprint) == known for one in found.unchecked.values())


def tended(view: View, found: Sandboxes) -> Iterable[Act]:
    """The look into every namespace that its agent is gone from, and the removal of every holder that no slot
    wants any more, once nobody can be in its namespace.
    """
    if not view.world.holders:
        return
    filling = {one.slot for one in view.memory.agents.values() if is_filling(view.world, (one,))}
    wanted = _wanted(view, found)
    for holder in view.world.holders.values():
        occupied = holder.live and (holder.id in found.inside or holder.slot in filling)
        if occupied or not view.free(holder.generation):
            continue
        subject = (holder.generation, holder.slot, holder.id)
        if holder.id not in wanted:
            if view.free(naming.sandbox_of(holder.slot)):  # it may be the one that is being made
                reason = "nobody is in it, and its slot wants another or none"
                yield Act((RemoveSandbox(*subject, reason),))
        elif holder.generation in found.unchecked:
            yield Act((CheckSandbox(*subject, "the agent that was in it is gone"),))


def _wanted(view: View, found: Sandboxes) -> AbstractSet[ContainerId]:
    """The holders that stay: of each slot those that may be joined, and the newest; none of one that is
    drained.
    """
    slots = {spec.name: spec for spec in view.desired.slots}
    joinable = {one.id for one in found.vacant.values()}
    wanted: set[ContainerId] = set()
    kept: Counter[SlotName] = Counter()
    for holder in sorted(view.world.holders.values(), key=_age, reverse=True):
        spec = slots.get(holder.slot)
        if spec is None:
            continue
        if spec.name in view.desired.undetermined:
            wanted.add(holder.id)
            continue
        cordon = view.memory.slot(spec.name).cordon
        drained = cordon is not None and cordon.drain
        fits = spec.sandboxed and holder.fingerprint == spec.fingerprint and not drained
        has_place = kept[spec.name] < MOST or holder.id in joinable
        if fits and holder.id in found.usable and has_place:
            wanted.add(holder.id)
            kept[spec.name] += 1
    return wanted
