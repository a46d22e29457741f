"""What each agent did with its GPUs: peak memory and mean utilisation, added up from reading to reading.

Pure but for being a running sum. Where agents share a GPU, only what NVML says of an agent's own processes
counts as its memory; utilisation is the GPU's, whoever caused it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Generation, GpuUse, PoolName, SlotName, SlotSpec


@dataclass(slots=True)
class _Sum:
    """One agent on one device so far."""

    peak: int | None = None
    load: int = 0
    loads: int = 0
    samples: int = 0

    def add(self, vitals: Vitals, agent: Agent, *, alone: bool) -> None:
        """Memory counts from the gate on, for a service may say late that a job runs; load while it does."""
        container = agent.container
        own = [process.memory for process in vitals.processes if process.container == container]
        memory = sum(part or 0 for part in own) if own and container is not None else None
        if memory is None and alone:
            memory = vitals.used
        if memory is not None:
            self.peak = max(self.peak or 0, memory)
        if not agent.busy:
            return
        self.samples += 1
        if vitals.utilisation is not None:
            self.load += vitals.utilisation
            self.loads += 1

    def told(self, uuid: str) -> GpuUse:
        mean = round(self.load / self.loads, 1) if self.loads else None
        return GpuUse(uuid, self.peak, mean, self.samples)


@dataclass(slots=True)
class Tally:
    """The sums of all agents that work with GPUs now."""

    leases: Mapping[SlotName, tuple[str, ...]] = field(default_factory=dict)
    _agents: dict[Generation, Agent] = field(default_factory=dict)
    _sums: dict[Generation, dict[str, _Sum]] = field(default_factory=dict)
    _sharing: frozenset[PoolName] = frozenset()

    @property
    def working(self) -> bool:
        """Whether any agent runs a job, as far as is known."""
        return any(agent.busy for agent in self._agents.values())

    def assign(self, leased: Sequence[SlotSpec], memory: Memory) -> None:
        """Who works with GPUs, as of this memory; sums of those that have ended are kept until closed."""
        self.leases = {spec.name: spec.lease for spec in leased}
        self._sharing = frozenset(spec.pool.name for spec in leased if spec.pool.share)
        self._agents = {
            agent.generation: agent
            for agent in memory.agents.values()
            if agent.lease and agent.opened is not None and not agent.settled
        }
        for generation, agent in self._agents.items():
            self._sums.setdefault(generation, {uuid: _Sum() for uuid in agent.lease})
        for generation in [known for known in self._sums if known not in memory.agents]:
            del self._sums[generation]

    def add(self, reading: Reading) -> None:
        """One more reading."""
        for generation, agent in self._agents.items():
            for uuid, found in self._sums[generation].items():
                vitals = reading.vitals.get(uuid)
                if vitals is not None and vitals.problem is None:
                    found.add(vitals, agent, alone=agent.pool not in self._sharing)

    def knows(self, generation: Generation) -> bool:
        """Whether the agent has worked with GPUs."""
        return generation in self._sums

    def close(self, generation: Generation) -> tuple[GpuUse, ...]:
        """What the agent did, in the order of its lease; it is over."""
        sums = self._sums.pop(generation, {})
        self._agents.pop(generation, None)
        return tuple(found.told(uuid) for uuid, found in sums.items())
