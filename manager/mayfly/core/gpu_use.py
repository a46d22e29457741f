"""What each agent did with its GPUs: peak memory and mean utilisation, added up from reading to reading.

Where agents share a GPU, only what NVML says of an agent's own processes counts as its memory; utilisation is
the GPU's, whoever caused it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Generation, GpuUse, PoolName, SlotName, SlotSpec


@dataclass(frozen=True, slots=True)
class DeviceSum:
    """One agent on one device so far."""

    peak: int | None = None  # bytes; None: never looked at
    load: int = 0
    loads: int = 0
    samples: int = 0

    def add(self, vitals: Vitals, agent: Agent, *, alone: bool) -> DeviceSum:
        """Memory counts from the gate on, for a service may say late that a job runs; load while it does."""
        container = agent.container
        own = [
            process.memory
            for process in vitals.processes
            if process.container == container or process.agent == agent.generation
        ]
        memory = sum(part or 0 for part in own) if own and container is not None else None
        if memory is None and alone:
            memory = vitals.used
        peak = self.peak if memory is None else max(self.peak or 0, memory)
        if not agent.busy:
            return replace(self, peak=peak)
        load = vitals.utilisation
        return DeviceSum(
            peak, self.load + (load or 0), self.loads + int(load is not None), self.samples + 1
        )

    def told(self, uuid: str) -> GpuUse:
        """What it comes to."""
        mean = round(self.load / self.loads, 1) if self.loads else None
        return GpuUse(uuid, self.peak, mean, self.samples)


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums of all agents that work with GPUs now; never changed in place."""

    leases: Mapping[SlotName, tuple[str, ...]] = field(default_factory=dict)
    agents: Mapping[Generation, Agent] = field(default_factory=dict)
    sums: Mapping[Generation, Mapping[str, DeviceSum]] = field(default_factory=dict)
    sharing: frozenset[PoolName] = frozenset()

    @property
    def working(self) -> bool:
        """Whether any agent runs a job, as far as is known."""
        return any(agent.busy for agent in self.agents.values())

    def assigned(self, leased: Sequence[SlotSpec], memory: Memory) -> Tally:
        """Who works with GPUs, as of this memory; sums of those that have ended are kept until closed."""
        agents = {
            agent.generation: agent
            for agent in memory.agents.values()
            if agent.lease and agent.opened is not None and not agent.settled
        }
        sums = {name: known for name, known in self.sums.items() if name in memory.agents}
        for generation, agent in agents.items():
            sums.setdefault(generation, dict.fromkeys(agent.lease, DeviceSum()))
        return Tally(
            leases={spec.name: spec.lease for spec in leased},
            agents=agents,
            sums=sums,
            sharing=frozenset(spec.pool.name for spec in leased if spec.pool.share),
        )

    def add(self, reading: Reading) -> Tally:
        """One more reading."""
        sums = dict(self.sums)
        for generation, agent in self.agents.items():
            sums[generation] = {
                uuid: self._added(found, reading.vitals.get(uuid), agent)
                for uuid, found in sums[generation].items()
            }
        return replace(self, sums=sums)

    def _added(self, found: DeviceSum, vitals: Vitals | None, agent: Agent) -> DeviceSum:
        if vitals is None or vitals.problem is not None:
            return found
        return found.add(vitals, agent, alone=agent.pool not in self.sharing)

    def use_of(self, generation: Generation) -> tuple[GpuUse, ...] | None:
        """What the agent did, in the order of its lease; ``None`` where it has not worked with GPUs."""
        sums = self.sums.get(generation)
        return tuple(found.told(uuid) for uuid, found in sums.items()) if sums is not None else None

    def closed(self, generation: Generation) -> Tally:
        """The agent's work is over."""
        return replace(
            self,
            agents={name: agent for name, agent in self.agents.items() if name != generation},
            sums={name: known for name, known in self.sums.items() if name != generation},
        )
