"""What each agent did with its GPUs, added up from reading to reading: peak memory, mean utilisation, energy,
the time for which the clocks were throttled, and XIDs.

An agent's own processes are those of its container and of containers that it has made. Where agents share a
GPU, only what NVML says of these counts as its memory; all else is the GPU's, whoever caused it. A job of a
pool that is not to be disturbed is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mayfly.core.gpu_health import Reading, Vitals, physical
from mayfly.core.gpu_metering import UNMEASURED, Meter, Metered
from mayfly.core.lifetime import busy_since
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Generation, GpuUse, PoolName, SlotName, SlotSpec, UseOf
from mayfly.core.xids import Xid

XIDS = 32  # different ones that are counted for an agent; a GPU that is well has none
MIG = "MIG-"  # how the UUID of a part of a GPU begins


@dataclass(frozen=True, slots=True)
class DeviceSum:
    """One agent on one device so far."""

    peak: int | None = None  # bytes; None: never looked at
    load: int = 0
    loads: int = 0
    samples: int = 0
    metered: Metered = field(default_factory=Metered)
    xids: Mapping[int, int] = field(default_factory=dict)  # how often each was reported meanwhile

    def add(
        self, vitals: Vitals, agent: Agent, *, alone: bool, before: Meter | None, at: float
    ) -> DeviceSum:
        """Memory counts from the gate on, for a service may say late that a job runs; all else while it does.

        ``before`` is the device's last meter; ``None``: it was not read yet.
        """
        container = agent.container
        own = [
            process.memory
            for process in vitals.processes
            if process.container == container or process.agent == agent.generation
        ]
        known = [part for part in own if part is not None]
        memory = sum(known) if known and container is not None else None
        if alone and (memory is None or len(known) < len(own)):
            memory = vitals.used
        peak = self.peak if memory is None else max(self.peak or 0, memory)
        if not agent.busy:
            return replace(self, peak=peak)
        load = vitals.utilisation
        metered, since = self.metered, busy_since(agent)
        if before is not None and since is not None:
            metered = metered.add(before, meter(vitals, at), since)
        return replace(
            self,
            peak=peak,
            load=self.load + (load or 0),
            loads=self.loads + int(load is not None),
            samples=self.samples + 1,
            metered=metered,
        )

    def reported(self, xids: Iterable[Xid]) -> DeviceSum:
        """With what the driver has reported of the device since the last reading."""
        codes = [xid.code for xid in xids]
        if not codes:
            return self
        after = dict(self.xids)
        for code in codes:
            if code in after or len(after) < XIDS:
                after[code] = after.get(code, 0) + 1
        return replace(self, xids=after)

    def told(self, uuid: str, use_of: UseOf, seconds: float | None) -> GpuUse:
        """What it comes to for a job that ran so many seconds; ``None``: it had none."""
        if use_of is UseOf.BENCH:
            return GpuUse(uuid, None, None, use_of=use_of)
        mean = round(self.load / self.loads, 1) if self.loads else None
        energy, throttled = self.metered.joules, self.metered.seconds_throttled
        seen = [
            *([self.metered.metered] if energy is not None else []),
            *([self.metered.watched] if throttled is not None else []),
        ]
        # Of a MIG device nothing tells for how long it was looked at.
        lacking = (seconds or 0.0) - min(seen) if seen else 0.0
        return GpuUse(
            uuid=uuid,
            peak_memory=self.peak,
            utilisation=mean,
            samples=self.samples,
            energy=energy,
            metered=round(self.metered.metered, 1),
            throttled=throttled,
            watched=round(self.metered.watched, 1),
            use_of=use_of,
            partial=lacking > UNMEASURED,
            xids=None
            if self.peak is None and not self.samples
            else {str(code): number for code, number in sorted(self.xids.items())},
        )


def meter(vitals: Vitals, at: float) -> Meter:
    """What a reading tells of a device's energy and clocks."""
    return Meter(at, vitals.energy, vitals.throttles)


@dataclass(frozen=True, slots=True)
class Tally:
    """The sums of all agents that work with GPUs now; never changed in place."""

    leases: Mapping[SlotName, tuple[str, ...]] = field(default_factory=dict)
    agents: Mapping[Generation, Agent] = field(default_factory=dict)
    sums: Mapping[Generation, Mapping[str, DeviceSum]] = field(default_factory=dict)
    sharing: frozenset[PoolName] = frozenset()
    undisturbed: frozenset[PoolName] = frozenset()  # whose jobs nobody looks at
    meters: Mapping[str, Meter] = field(default_factory=dict)  # the last of each GPU that has one

    @property
    def working(self) -> bool:
        """Whether any agent that is looked at runs a job, as far as is known."""
        return any(
            agent.busy and agent.pool not in self.undisturbed for agent in self.agents.values()
        )

    def assigned(
        self,
        leased: Sequence[SlotSpec],
        memory: Memory,
        undisturbed: frozenset[PoolName] = frozenset(),
    ) -> Tally:
        """Who works with GPUs, as of this memory; sums of those that have ended are kept until closed.

        ``undisturbed``: pools during whose jobs their GPUs are not looked at.
        """
        agents = _at_work(memory)
        sums = {name: known for name, known in self.sums.items() if name in memory.agents}
        for generation, agent in agents.items():
            sums.setdefault(generation, dict.fromkeys(agent.lease, DeviceSum()))
        return Tally(
            leases={spec.name: spec.lease for spec in leased},
            agents=agents,
            sums=sums,
            sharing=frozenset(spec.pool.name for spec in leased if spec.pool.share),
            undisturbed=undisturbed,
            meters=self.meters,
        )

    def add(self, reading: Reading) -> Tally:
        """One more reading."""
        sums = dict(self.sums)
        for generation, agent in self.agents.items():
            known = sums.get(generation) or dict.fromkeys(agent.lease, DeviceSum())
            sums[generation] = {
                uuid: self._added(found, uuid, reading, agent) for uuid, found in known.items()
            }
        # What does not answer now is metered from its last answer on, once it does.
        meters = {
            uuid: meter(vitals, reading.began)
            for uuid, vitals in reading.vitals.items()
            if vitals.problem is None and _has_meter(vitals)
        }
        return replace(self, sums=sums, meters={**self.meters, **meters})

    def _added(self, found: DeviceSum, uuid: str, reading: Reading, agent: Agent) -> DeviceSum:
        if agent.pool in self.undisturbed:
            return found
        if reading.xids:
            gpu = physical(uuid, reading.gpus or ())  # of a part of it nobody tells
            found = found.reported(xid for xid in reading.xids if xid.uuid == gpu)
        vitals = reading.vitals.get(uuid)
        if vitals is None or vitals.problem is not None:
            return found
        return found.add(
            vitals,
            agent,
            alone=agent.pool not in self.sharing,
            before=self.meters.get(uuid),
            at=reading.began,
        )

    def use_of(self, agent: Agent, ended: float) -> tuple[GpuUse, ...] | None:
        """What an agent that ended then did, in the order of its lease; ``None``: it had no GPU."""
        sums = self.sums.get(agent.generation)
        if sums is None:
            return None
        since = busy_since(agent)
        seconds = ended - since if since is not None else None
        return tuple(
            found.told(uuid, self._kind(uuid, agent.pool), seconds) for uuid, found in sums.items()
        )

    def _kind(self, uuid: str, pool: PoolName) -> UseOf:
        if pool in self.undisturbed:
            return UseOf.BENCH
        if uuid.startswith(MIG):
            return UseOf.MIG
        return UseOf.SHARED if pool in self.sharing else UseOf.GPU

    def shifted(self, by: float) -> Tally:
        """The clock has jumped by so many seconds."""
        meters = {uuid: replace(known, at=known.at + by) for uuid, known in self.meters.items()}
        return replace(self, meters=meters)

    @property
    def kept(self) -> Tally:
        """What the next run of the manager cannot find out for itself: sums, and where the meters stood."""
        return replace(self, leases={}, agents={})

    def resumed(self, memory: Memory) -> Tally:
        """What was kept, with who is at work still: a reading may come before it is known who has what."""
        return replace(self, agents=_at_work(memory))

    def closed(self, generation: Generation) -> Tally:
        """The agent's work is over."""
        return replace(
            self,
            agents={name: agent for name, agent in self.agents.items() if name != generation},
            sums={name: known for name, known in self.sums.items() if name != generation},
        )


def _has_meter(vitals: Vitals) -> bool:
    return vitals.energy is not None or vitals.throttles is not None


def _at_work(memory: Memory) -> dict[Generation, Agent]:
    return {
        agent.generation: agent
        for agent in memory.agents.values()
        if agent.lease and agent.opened is not None and not agent.settled
    }
