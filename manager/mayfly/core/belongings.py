"""What agents have made by their doors, containers, networks and volumes: shut, cleared, and waited for.

Pure. A door is shut by whoever reads the witness of an agent that has ended; only then is it known whether
anything was made. No gate opens in a slot while an ended agent's belongings may be there, since they may
be at work on its GPUs, and nobody is told of an end before its door is shut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from mayfly.core import naming
from mayfly.core.actions import Clear
from mayfly.core.facts import AgentExited, Fact
from mayfly.core.in_vain import Tries
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Closing,
    Condition,
    Config,
    EngineLines,
    Generation,
    PoolName,
    Severity,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.plan import STAY, Act, Verdict, View
from mayfly.core.slots import Tenancy
from mayfly.core.stimuli import Failure

TELLING = 2  # tries after which it is told that something stays
SPELT_OUT = 3  # agents that a line to type names


def to_be_shut(agents: Iterable[Agent], world: World, in_flight: Iterable[str]) -> list[Generation]:
    """The agents that have ended and whose doors are not shut yet.

    Of one that something is being done to the engine's list says nothing: it may just be being made. Nor of
    one that may have been made although that failed: it is no agent.
    """
    found: list[Generation] = []
    for agent in agents:
        if not agent.door or agent.settled or agent.generation in world.closed:
            continue
        told = agent.generation in world.ended or agent.generation in world.deaths
        unsure = agent.generation in world.unsure or agent.generation in in_flight
        if told or (not unsure and is_gone(agent, world)):
            found.append(agent.generation)
    return found


def is_gone(agent: Agent, world: World) -> bool:
    """Whether its container is known to run no longer: it is not there, or has ended."""
    if world.containers is None:
        return False
    container = world.containers.get(agent.generation)
    return container is None or container.ended


def is_shut(agent: Agent, world: World) -> bool:
    """Whether an agent that has ended can make nothing more, and what it has made is known."""
    return not agent.door or agent.generation in world.closed


def with_closing(fact: Fact, agent: Agent, closing: Closing | None) -> Fact:
    """The account of an agent's end, with what was found when its door was shut. Who never passed its gate
    has made nothing, whatever was found.
    """
    if closing is None or not isinstance(fact, AgentExited):
        return fact
    made = closing.made and agent.committed is not None
    return replace(fact, made=made, refusals=closing.refusals, refused=closing.refused)


def clearing(view: View, agent: Agent) -> Verdict:
    """The removal of what an ended agent has made, where that is there and nobody is at it."""
    if not agent.owes or not view.free(naming.belongings_of(agent.generation)):
        return STAY
    return Act((Clear(agent.generation, agent.slot, "its agent has ended"),))


def unowned(view: View) -> Iterator[Verdict]:
    """The removal of what agents have made whom nobody remembers."""
    for generation, slot in view.world.unowned.items():
        known = generation in view.memory.agents or generation in view.containers
        if not known and view.free(naming.belongings_of(generation)):
            yield Act((Clear(generation, slot, "nobody remembers its agent", unowned=True),))


def in_the_way(view: View, spec: SlotSpec, tenancy: Tenancy) -> bool:
    """Whether what an earlier agent of the slot has made may be there, or what one of a slot that is gone has
    made, of which nobody knows the GPUs any more.
    """
    if any(other.owes for other in tenancy.settled):
        return True
    left = _forgotten(view)
    if not left:
        return False
    return spec.name in left or (bool(spec.lease) and not left <= _configured(view))


def gpus_of_forgotten(view: View) -> set[str]:
    """The GPUs of slots where what a forgotten agent has made may be at work; all where its slot is gone."""
    left = _forgotten(view)
    if not left:
        return set()
    anywhere = not left <= _configured(view)
    return {
        uuid for spec in view.desired.slots if anywhere or spec.name in left for uuid in spec.lease
    }


def _forgotten(view: View) -> set[SlotName]:
    """The slots, also some that are gone, in which what an agent has made may be that nobody remembers."""
    return {
        slot
        for generation, slot in view.world.unowned.items()
        if generation not in view.memory.agents
    }


def _configured(view: View) -> set[SlotName]:
    return {spec.name for spec in view.desired.slots}


def gateway_is_missing(view: View, spec: SlotSpec) -> bool:
    """Whether a job of the slot could ask in vain for the containers that its pool allows it."""
    return spec.pool.containers and bool(view.world.gateway)


@dataclass(frozen=True, slots=True)
class Clearings(Tries):
    """What could not be cleared away so far."""

    SELDOM: ClassVar[float] = 30.0

    def tells_nothing_new(self, generation: Generation, failure: Failure) -> bool:
        """Whether that it failed so is known."""
        known = self.of.get(generation)
        return known is not None and known.why.text == failure.text

    def conditions(self, engine: EngineLines) -> list[Condition]:
        """One for each pool that has a slot which waits for what stays."""
        pools: dict[PoolName, list[Generation]] = {}
        for generation, one in self.of.items():
            if one.why.lasting or one.tries >= TELLING:
                pools.setdefault(naming.pool_of(one.slot), []).append(generation)
        return [self._condition(pool, stuck, engine) for pool, stuck in sorted(pools.items())]

    def _condition(self, pool: PoolName, stuck: list[Generation], engine: EngineLines) -> Condition:
        first, more = self.of[stuck[0]], len(stuck) - 1
        others = f"; so it is with {more} more" if more else ""
        lines = "; ".join(engine.on(engine.clear, generation) for generation in stuck[:SPELT_OUT])
        return Condition(
            "belongings.left",
            Severity.ERROR,
            f"{first.slot} gets no job: what its last one has made cannot be removed: "
            f"{first.why.text}{others}",
            lines,
            pool,
            tuple(dict.fromkeys(self.of[generation].slot for generation in stuck)),
        )


def gateway_conditions(config: Config, world: World, memory: Memory) -> list[Condition]:
    """That the gateway does not answer, or what it sees, for the pools whose jobs may have containers."""
    pools = [pool.name for pool in config.pools if pool.containers]
    if not pools:
        return []
    if not world.gateway:
        return [one for one in world.gateway_sees if one.pool is None or one.pool in pools]
    if memory.pause is not None:
        return []
    return [
        Condition(
            "gateway.away",
            Severity.ERROR,
            f"jobs of pool {', '.join(pools)} wait: they may have containers of their own, and "
            f"{world.gateway}",
            "sudo systemctl restart mayfly-gateway",
        )
    ]
