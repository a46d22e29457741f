"""NVML as plain values beside the simulated host: what it would say, and the GPUs that are judged by it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mayfly.core.gpu_health import RECHECK, Reading, Vitals
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Desired, Generation, PoolName, ProbeVerdict, World
from mayfly.core.requests import Probe
from mayfly.core.xids import Xid, XidKind
from tests.core.simulator import START, Box, Host

TOTAL = 80 * 1024**3
MUCH = 40 * 1024**3  # bytes in use that no process accounts for


@dataclass(frozen=True, slots=True)
class WatchedGpus(Gpus):
    """GPUs that are judged by readings, and seen by whoever they are leased to."""

    unseen: frozenset[PoolName] = frozenset()  # of whose agents nobody can say what they see

    def judged(
        self, desired: Desired, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, World]:
        gpus, world = Gpus.judged(self, desired, memory, world, now)
        probes = {
            generation: ProbeVerdict(sees=True, at=now)
            for generation in world.containers or {}
            if generation not in memory.agents or memory.agents[generation].pool not in self.unseen
        }
        return gpus, replace(world, probes=probes)

    def probe_all(
        self, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, list[Probe], float | None]:
        """Nobody is asked: days of that would cost days."""
        del memory, world, now
        return self, [], None


@dataclass
class Nvml:
    """The truth about the GPUs, and what NVML says of it."""

    gpus: tuple[Gpu, ...]
    lost: set[str] = field(default_factory=set)  # fallen off the bus
    hangs: bool = False
    used: dict[str, float] = field(default_factory=dict)  # not returned until then
    xids: list[Xid] = field(default_factory=list)  # that nobody has been told of yet
    version: int = 0  # of all that, so that it is known when there is something new to read

    def loses(self, *uuids: str) -> None:
        self.lost.update(uuids)
        self.version += 1

    def finds(self, *uuids: str) -> None:
        """They are back."""
        self.lost.difference_update(uuids)
        self.version += 1

    def reports(self, uuid: str, *codes: int, at: float) -> None:
        """The driver reports XIDs."""
        self.xids += [Xid(uuid, code, at) for code in codes]
        self.version += 1

    def keeps(self, uuid: str, until: float) -> None:
        """Memory that a job had is not returned before then."""
        self.used[uuid] = until
        self.version += 1

    def stirs(self) -> None:
        """Somebody looks anyhow."""
        self.version += 1

    def reading(self, now: float) -> Reading:
        """What it says."""
        vitals = {
            gpu.uuid: Vitals(MUCH if self.used.get(gpu.uuid, 0.0) > now else 0, TOTAL, 0)
            for gpu in self.gpus
            if gpu.uuid not in self.lost
        }
        return Reading(now, now, gpus=self.gpus, vitals=vitals, xids=tuple(self.xids))

    def first(self) -> WatchedGpus:
        """The GPUs as a manager knows them that has never looked at how they fare."""
        return WatchedGpus(known=self.gpus, reading=replace(self.reading(START - 1.0), xids=()))


@dataclass
class GpuHost(Host):
    """A host that remembers when each GPU was computed on last, and what was in use on it before that."""

    left: dict[str, float] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)  # bytes

    def _vanishes(self, box: Box) -> None:
        super()._vanishes(box)
        if box.sent:
            self.left.update(dict.fromkeys(box.lease, self.now))


@dataclass
class Gatekeeper:
    """What has to be so where a gate is opened on GPUs."""

    host: GpuHost
    nvml: Nvml
    shown: Reading  # what this manager was told last
    spoiled: set[str] = field(default_factory=set)  # by hardware's XIDs, until a person says retry
    quiet: dict[str, int] = field(default_factory=dict)  # the least that this manager saw in use

    def told(self, reading: Reading) -> None:
        """The manager was told that."""
        self.shown = reading
        for uuid, seen in reading.vitals.items():
            self.quiet[uuid] = min(seen.used or 0, self.quiet.get(uuid, TOTAL))
        self.spoiled.update(
            xid.uuid for xid in reading.xids if xid.meaning.kind is XidKind.HARDWARE
        )

    def opens(self, agent: Agent) -> None:
        """A gate is to be opened for that agent."""
        for uuid in agent.lease:
            assert uuid in self.shown.vitals, f"{uuid} is not there"
            assert uuid not in self.spoiled, f"an XID speaks against {uuid}"
            seen = self.shown.vitals[uuid]
            assert seen.used == self.quiet[uuid], f"what the last job had of {uuid} is not returned"
            last = self.host.left.get(uuid)
            long_ago = last is None or self.shown.began >= last + RECHECK
            older = (seen.used or 0) <= self.host.before.get(uuid, 0)
            assert older or long_ago, f"what is in use on {uuid} may be the last job's"
            assert last is None or self.shown.began >= last, f"nobody looked at {uuid} since"
            self.host.before[uuid] = seen.used or 0


def running(host: Host, generation: Generation) -> bool:
    """Whether that agent works."""
    box = host.boxes.get(generation)
    return box is not None and box.running
