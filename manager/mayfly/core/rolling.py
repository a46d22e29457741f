"""In which pools agents are replaced by new ones now: one slot at a time, none after one that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Desired, Phase, PoolName, SlotName, SlotSpec, World
from mayfly.core.slots import VACANCY, Tenancy, cooling, phase_of

UNREADY = (Phase.PREPARING, Phase.ENDING)


@dataclass(slots=True)
class Rolling:
    """The pools that are ``rolling``, found when one is asked for: where nothing is stale nobody asks."""

    desired: Desired
    memory: Memory
    world: World
    tenants: Mapping[SlotName, Tenancy]
    now: float
    _found: set[PoolName] | None = field(default=None, init=False)

    def __contains__(self, pool: PoolName) -> bool:
        return pool in self._pools()

    def add(self, pool: PoolName) -> None:
        """One of its agents is being replaced."""
        self._pools().add(pool)

    def _pools(self) -> set[PoolName]:
        if self._found is None:
            self._found = rolling(self.desired, self.memory, self.world, self.tenants, self.now)
        return self._found


def rolling(
    desired: Desired, memory: Memory, world: World, tenants: Mapping[SlotName, Tenancy], now: float
) -> set[PoolName]:
    """Pools in which nothing stale is replaced now: a slot has no agent that stands ready, or what the
    configuration wants was tried in one slot and has not been seen to work in any.
    """
    pools: set[PoolName] = set()
    tried: set[PoolName] = set()
    proven: set[PoolName] = set()
    for spec in desired.slots:
        known, pool = memory.slot(spec.name), spec.pool.name
        tenancy = tenants.get(spec.name, VACANCY)
        agents = [agent for agent in (tenancy.own, tenancy.standby) if agent is not None]
        fresh = [agent for agent in agents if agent.fingerprint == spec.fingerprint]
        proven |= {pool for agent in fresh if _works(agent)}
        trying = [agent for agent in fresh if not _awaits_its_turn(agent, tenancy)]
        tried |= {pool for agent in trying if not _works(agent)}
        if known.cordon is not None or spec.name in desired.obstacles:
            continue
        if known.booking is not None:
            continue  # it has another image for one job, which says nothing of the pool's own
        if known.held is not None:
            word = world.gpu_verdicts.get(spec.name)
            if word is None or word.sick is None:
                tried.add(pool)
        elif cooling(known, now):
            tried.add(pool)
        elif _moving(spec, tenancy):
            pools.add(pool)
    return pools | (tried - proven)


def _moving(spec: SlotSpec, tenancy: Tenancy) -> bool:
    """Whether the slot has no agent that stands ready, or its standby is being replaced."""
    own, standby = tenancy.own, tenancy.standby
    if own is None or phase_of(own, own=True) in UNREADY:
        return True
    if standby is None:
        return own.opened is not None and spec.standby
    return standby.doom is not None


def _works(agent: Agent) -> bool:
    """Whether an agent shows that its image and configuration are good: at its gate, or at its service."""
    if agent.settled or agent.doom is not None:
        return False
    at_gate = agent.embedded or agent.dispatched
    return agent.ready is not None if at_gate else agent.confirmed is not None


def _awaits_its_turn(agent: Agent, tenancy: Tenancy) -> bool:
    """Whether it is a standby at its gate: it shows nothing more until the slot's own agent goes."""
    waits_there = agent.ready is not None and agent.committed is None and agent.doom is None
    return waits_there and agent is tenancy.standby
