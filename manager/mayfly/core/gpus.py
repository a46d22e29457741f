"""The GPUs as decisions see them: readings in; verdicts of the health gate, probes and use added up out.

Judging and reckoning only: who asks NVML and the agents is told by requests, and what they find comes back as
stimuli.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import inf
from typing import TypeVar

from mayfly.core.desire import Hardware
from mayfly.core.facts import AgentExited, Fact, GpuReset, SlotReleased
from mayfly.core.gpu_checks import CheckTable, GpuFinding
from mayfly.core.gpu_findings import on_device
from mayfly.core.gpu_gate import judge
from mayfly.core.gpu_health import (
    RECHECK,
    Ours,
    Process,
    Quiet,
    Reading,
    Record,
    Tenant,
    forgiven,
    merged,
    recorded,
)
from mayfly.core.gpu_use import Tally
from mayfly.core.images import Catalogue
from mayfly.core.leases import Gpu
from mayfly.core.leftovers import to_be_ended
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Config,
    ContainerId,
    Desired,
    Generation,
    GpuVerdict,
    Pending,
    ProbeVerdict,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.requests import EndLeftover, PaceGpus, Probe, ReadGpus
from mayfly.core.slots import CLOCK_SLACK

PROBE_TIMEOUT = 30.0  # seconds; without persistence the driver wakes each GPU for some
PROBE_EVERY = 60.0
PROBE_AGAIN = 5.0  # seconds after the Engine could not run one
RECHECK_EVERY = 0.25  # seconds between looks at GPUs that a job has not left yet
PACE_AT_WORK = 2.0  # seconds between looks while jobs compute: what their use is told from
PACE = 10.0
# agents with GPUs whose processes, once they have ended, are told from a stranger's
REMEMBERED = 4096
LATE = 5.0  # seconds after which what is awaited is reported as late
_Name = TypeVar("_Name", ContainerId, Generation)


@dataclass(frozen=True, slots=True)
class Gpus:
    """All that is known of GPUs; never changed in place."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    architecture: str = "amd64"
    off: bool = False
    watching: bool = False
    known: tuple[Gpu, ...] | None = None  # of this host; None: NVML has not said
    reading: Reading | None = None  # the last; None: none yet
    records: Mapping[str, Record] = field(default_factory=dict)
    # Devices that were looked at while no agent had them, nor one that had just ended.
    rested: frozenset[str] = frozenset()
    earlier: Quiet = field(default_factory=Quiet)  # what an earlier run of the manager saw of that
    loading: str = ""  # the driver's that answered last; "": not known
    # When each slot with a lease was first looked at, or a person last wanted it tried again.
    since: Mapping[SlotName, float] = field(default_factory=dict)
    # When the last agent with each device ended, or what that had made was gone, whichever slot it was in.
    left: Mapping[str, float] = field(default_factory=dict)
    # Containers with a lease, also the last ones that are gone, and agents with one that could have some.
    ours: Mapping[ContainerId, SlotName] = field(default_factory=dict)
    makers: Mapping[Generation, SlotName] = field(default_factory=dict)
    probes: Mapping[Generation, ProbeVerdict] = field(default_factory=dict)
    # When to try again what was begun or failed.
    probing: Mapping[Generation, float] = field(default_factory=dict)
    # At their gates for long, and not yet seen to see their GPUs.
    unproven: tuple[Agent, ...] = ()
    table: CheckTable = field(default_factory=CheckTable)
    # What speaks against any GPU or MIG device of this host, as of the last reading.
    findings: tuple[GpuFinding, ...] = ()
    tally: Tally = field(default_factory=Tally)
    verdicts: Mapping[SlotName, GpuVerdict] = field(default_factory=dict)
    # Why GPUs that are to be reset are not yet, by UUID.
    waits: Mapping[str, str] = field(default_factory=dict)
    # When processes of agents that have ended were told to end, by number.
    told_to_end: Mapping[int, float] = field(default_factory=dict)
    paced: PaceGpus | None = None  # what was last asked for; None: nothing yet

    @classmethod
    def unwatched(cls, hardware: Hardware) -> Gpus:
        """GPUs that somebody else has listed: what there is is known, how it fares is not."""
        reading = Reading(
            began=inf,  # never of now, so nothing is judged by it
            ended=inf,
            driver=hardware.driver,
            cuda=hardware.cuda,
            gpus=hardware.gpus,
            problem=hardware.unknown or None,
        )
        return cls(hardware.catalogue, hardware.architecture, known=hardware.gpus, reading=reading)

    # -- what comes in ----------------------------------------------------------------------------

    def use_config(self, config: Config) -> Gpus:
        """Watch where a pool has GPUs; what is there now counts from now on, what is gone no more."""
        off = config.host.gpu == "off"
        wanted = any(pool.gpus != 0 for pool in config.pools) or config.host.gpu == "required"
        reading = self.reading
        return replace(
            self,
            off=off,
            watching=self.watching or (wanted and not off),
            known=reading.gpus if reading is not None and reading.gpus is not None else self.known,
            table=CheckTable(config.host.gpu_checks),
        ).examined()

    def read(self, reading: Reading) -> Gpus:
        """NVML has answered."""
        after = replace(self, reading=reading)
        if reading.gpus is None:
            return after
        after, probes = after.answered(reading), self.probes
        if reading.xids:  # what agents see is to be seen afresh
            probes = {
                generation: replace(verdict, at=verdict.at - PROBE_EVERY)
                for generation, verdict in probes.items()
            }
        return replace(
            after,
            known=merged(self.known or (), reading.gpus),
            records=recorded(after.records, reading, self.table),
            tally=self.tally.add(reading),
            probes=probes,
        ).examined()

    def answered(self, reading: Reading) -> Gpus:
        """With what an earlier run saw of what is quiet; what was seen of another driver says nothing."""
        loading, known = reading.loading, self.earlier
        gpus = replace(self, loading=loading or self.loading)
        if gpus.loading != (self.loading or gpus.loading):
            blank = {uuid: replace(one, quiet=None) for uuid, one in self.records.items()}
            gpus = replace(gpus, records=blank, rested=frozenset())
        if not known.used or known.loading != loading:
            return replace(gpus, earlier=Quiet())
        used = {uuid: known.used[uuid] for uuid in reading.vitals if uuid in known.used}
        first = {uuid: Record(quiet=least) for uuid, least in used.items()}
        left = {uuid: least for uuid, least in known.used.items() if uuid not in used}
        return replace(
            gpus,
            records={**first, **gpus.records},
            rested=gpus.rested | used.keys(),
            earlier=Quiet(loading, left),
        )

    @property
    def quiet(self) -> Quiet:
        """What the next run of the manager is to know of that; nothing where the loading is not known."""
        found = {uuid: one.quiet for uuid, one in self.records.items() if uuid in self.rested}
        used = {uuid: least for uuid, least in found.items() if least is not None}
        return Quiet(self.loading, {**self.earlier.used, **used}) if self.loading else Quiet()

    def examined(self) -> Gpus:
        """With what the checks find now, on every GPU and MIG device."""
        known, reading = self.known or (), self.reading
        if reading is None or reading.gpus is None or reading.began == inf:
            return self
        found = [
            finding
            for gpu in known
            for uuid in (gpu.uuid, *(part.uuid for part in gpu.mig))
            for finding in on_device(uuid, reading, self.records, known, self.table)
        ]
        return replace(self, findings=tuple(dict.fromkeys(found)))

    def probed(self, generation: Generation, verdict: ProbeVerdict | None) -> Gpus:
        """An agent has said what it sees; ``None``: the Engine could not look."""
        if verdict is None:
            return self
        probing = {name: due for name, due in self.probing.items() if name != generation}
        return replace(self, probes={**self.probes, generation: verdict}, probing=probing)

    def after(self, facts: Iterable[Fact]) -> Gpus:
        """What has happened: a slot that a person wants tried again is judged afresh."""
        gpus = self
        for fact in facts:
            if isinstance(fact, SlotReleased) and fact.by is not None:
                lease = gpus.tally.leases.get(fact.slot, ())
                gpus = replace(
                    gpus,
                    since={**gpus.since, fact.slot: fact.at},
                    records=forgiven(gpus.records, lease, gpus.known or (), gpus.reading),
                ).examined()
            elif isinstance(fact, GpuReset):
                gpus = gpus.after_reset(fact)
        return gpus

    def shifted(self, by: float) -> Gpus:
        """The same, on a clock that was set."""
        reading = self.reading
        if reading is not None:
            reading = replace(reading, began=reading.began + by, ended=reading.ended + by)
        return replace(
            self,
            reading=reading,
            since={slot: at + by for slot, at in self.since.items()},
            left={uuid: at + by for uuid, at in self.left.items()},
            probes={
                name: replace(verdict, at=verdict.at + by) for name, verdict in self.probes.items()
            },
            probing={name: due + by for name, due in self.probing.items()},
            tally=self.tally.shifted(by),
            told_to_end={pid: at + by for pid, at in self.told_to_end.items()},
        )

    def after_reset(self, fact: GpuReset) -> Gpus:
        """What was held against the devices is over, and what is said of them is to be from after it."""
        devices = frozenset(fact.devices)
        slots = [slot for slot, lease in self.tally.leases.items() if devices.intersection(lease)]
        return replace(
            self,
            since={**self.since, **dict.fromkeys(slots, fact.at)},
            records=forgiven(self.records, fact.devices, self.known or (), None),
        ).examined()

    # -- what it means ----------------------------------------------------------------------------

    @property
    def hardware(self) -> Hardware:
        """What the host has, as far as leases and images go."""
        reading = self.reading
        told = Hardware(None, architecture=self.architecture, catalogue=self.catalogue)
        if self.off:
            return replace(told, unknown='host.gpu is "off"')
        if reading is None:
            return replace(told, unknown="NVML has not answered yet", pending=self.watching)
        if reading.problem is not None:
            return replace(told, unknown=reading.problem)
        return replace(told, gpus=self.known, cuda=reading.cuda, driver=reading.driver)

    def judged(
        self, desired: Desired, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, World]:
        """The world with the gate's verdicts on all slots with a lease, as of this memory."""
        leased = [spec for spec in desired.slots if spec.lease]
        gpus = replace(self, left=_left(self.left, memory))
        if not leased:
            unchanged = not self.verdicts and gpus.left == self.left
            return (self if unchanged else replace(gpus, verdicts={})), world
        gpus, ours = gpus.whose(memory)
        gpus = gpus.resting(memory)
        # What Slurm has just given was somebody else's: NVML is to be asked since.
        anew = {spec.name for spec in desired.slots if spec.pool.by_slurm and not spec.lease}
        kept = {name: at for name, at in self.since.items() if name not in anew}
        since = {spec.name: now for spec in leased} | kept
        reading = self._of_now(now)
        verdicts = {
            spec.name: judge(
                _tenant(spec, since[spec.name], memory, gpus.left),
                reading,
                gpus.told_apart(spec.lease),
                self.known or (),
                ours,
                self.table,
            )
            for spec in leased
        }
        gpus = replace(gpus, since=since, verdicts=verdicts)
        return gpus, replace(world, gpu_verdicts=verdicts, probes=self.probes)

    def resting(self, memory: Memory) -> Gpus:
        """With the devices that the last reading found at rest: what is in use there is no job's of ours."""
        reading = self.reading
        if reading is None or reading.gpus is None or reading.vitals.keys() <= self.rested:
            return self
        busy = {
            uuid
            for agent in memory.agents.values()
            if agent.committed is not None
            and (agent.owes or agent.hold is not None or not agent.settled)
            for uuid in agent.lease
        } | _by_people(memory)
        found = {
            uuid
            for uuid in reading.vitals
            if uuid not in busy
            and (uuid not in self.left or reading.began >= self.left[uuid] + RECHECK)
        }
        return self if found <= self.rested else replace(self, rested=self.rested | found)

    def told_apart(self, lease: Iterable[str]) -> Mapping[str, Record]:
        """The records, with what is not known to be a device's quiet yet told apart."""
        unrested = [uuid for uuid in lease if uuid in self.records and uuid not in self.rested]
        if not unrested:
            return self.records
        return {
            **self.records,
            **{uuid: replace(self.records[uuid], rested=False) for uuid in unrested},
        }

    def whose(self, memory: Memory) -> tuple[Gpus, Ours]:
        """Whose processes are no stranger's, as of this memory."""
        holders = [
            agent for agent in memory.agents.values() if agent.lease and agent.container is not None
        ]
        containers = {one.container: one.slot for one in holders if one.container is not None}
        standing = {
            one.container
            for one in holders
            if one.container and (not one.settled or one.hold is not None)
        }
        makers = {agent.generation: agent.slot for agent in holders if agent.door}
        alive = {agent.generation for agent in holders if agent.lingers}
        shown = self._shown()
        gpus = replace(
            self,
            ours=_with_new(self.ours, containers, {one.container for one in shown}),
            makers=_with_new(self.makers, makers, {one.agent for one in shown}),
        )
        return gpus, Ours(gpus.ours.keys(), standing, gpus.makers, alive)

    def _shown(self) -> list[Process]:
        """The processes that the last reading showed."""
        vitals = self.reading.vitals.values() if self.reading is not None else ()
        return [process for seen in vitals for process in seen.processes]

    def _of_now(self, now: float) -> Reading | None:
        """The last reading; none where it is from a time to come, since the clock was set back."""
        reading = self.reading
        return reading if reading is None or reading.began <= now + CLOCK_SLACK else None

    def attributed(self, facts: Sequence[Fact], memory: Memory) -> tuple[Gpus, tuple[Fact, ...]]:
        """The facts, with what each agent that ended, as that memory has it, did with its GPUs."""
        gpus = self
        told: list[Fact] = []
        for fact in facts:
            ended = memory.agents.get(fact.generation) if isinstance(fact, AgentExited) else None
            use = gpus.tally.use_of(ended, fact.at) if ended is not None else None
            if isinstance(fact, AgentExited) and use is not None:
                told.append(replace(fact, gpus=use))
                gpus = replace(gpus, tally=gpus.tally.closed(fact.generation))
            else:
                told.append(fact)
        return gpus, tuple(told)

    # -- what is to be asked ----------------------------------------------------------------------

    def scheduled(
        self, desired: Desired, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, tuple[PaceGpus | ReadGpus | Probe | EndLeftover, ...], float | None]:
        """What is to be asked now, and when to come again; ``None`` where nothing is due."""
        leased = [spec for spec in desired.slots if spec.lease]
        gpus = self._without_gone(memory)
        requests: list[PaceGpus | ReadGpus | Probe | EndLeftover] = []
        dues: list[float] = []
        if leased:
            measured = frozenset(spec.pool.name for spec in leased if spec.pool.bench is not None)
            gpus = replace(gpus, tally=gpus.tally.assigned(leased, memory, measured))
            # What was just reset is looked at in a pause too, for it is not to be judged by what was before.
            proving = any(heal.is_proved for heal in memory.heals.values())
            pace = PaceGpus(
                PACE_AT_WORK if gpus.tally.working else PACE,
                resting=memory.pause is not None and not proving,
            )
            if pace != gpus.paced:
                requests.append(pace)
                gpus = replace(gpus, paced=pace)
            due = gpus.recheck(now)
            if due is not None and due <= now:
                requests.append(ReadGpus())
            elif due is not None:
                dues.append(due)
            gpus, probes, due = gpus.probe_all(memory, world, now)
            requests += probes
            if memory.pause is None:
                gpus, ending = gpus.to_end(leased, memory, now)
                requests += ending
            dues += [due] if due is not None else []
        return gpus, tuple(requests), min(dues, default=None)

    def to_end(
        self, leased: Sequence[SlotSpec], memory: Memory, now: float
    ) -> tuple[Gpus, tuple[EndLeftover, ...]]:
        """Which processes of agents that have ended are to be ended."""
        ours = self.whose(memory)[1]
        ending = to_be_ended(leased, self._of_now(now), ours, self.told_to_end, now)
        return replace(self, told_to_end=ending.told), ending.requests

    def recheck(self, now: float) -> float | None:
        """When to look again while a slot waits for its GPUs to be clean; ``None``: none does."""
        reading = self._of_now(now)
        if reading is None:
            return now if self.reading is not None else None
        waits = [verdict for verdict in self.verdicts.values() if verdict.pending is not None]
        if reading.problem is not None or not waits:
            return None
        unasked = any(reading.began < self.since.get(slot, 0.0) for slot in self.verdicts)
        if unasked or any(verdict.pending is Pending.NOT_ASKED for verdict in waits):
            return now
        return reading.began + RECHECK_EVERY

    def probe_all(
        self, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, list[Probe], float | None]:
        """Which agents at their gates are to be asked what they see, and when to come again."""
        probing = dict(self.probing)
        probes: list[Probe] = []
        dues: list[float] = []
        unproven: list[Agent] = []
        for agent in memory.agents.values():
            if not _at_gate(agent):
                continue
            verdict = self.probes.get(agent.generation)
            if verdict is None and agent.ready is not None:
                late = agent.ready + LATE
                if now >= late:
                    unproven.append(agent)
                else:
                    dues.append(late)
            container = (world.containers or {}).get(agent.generation)
            if container is None or not container.live:
                continue
            due = min(verdict.at, now) + PROBE_EVERY if verdict is not None else now
            due = max(due, probing.get(agent.generation, 0.0))
            if due > now:
                dues.append(due)
                continue
            probing[agent.generation] = now + PROBE_TIMEOUT + PROBE_AGAIN
            probes.append(
                Probe(agent.generation, container.id, agent.lease, self._minors(agent.lease))
            )
        gpus = replace(self, probing=probing, unproven=tuple(unproven))
        return gpus, probes, min(dues, default=None)

    def _minors(self, lease: Sequence[str]) -> dict[str, int]:
        return {
            gpu.uuid: gpu.minor
            for gpu in self.known or ()
            if gpu.uuid in lease and gpu.minor is not None
        }

    def _without_gone(self, memory: Memory) -> Gpus:
        if self.probes.keys() | self.probing.keys() <= memory.agents.keys():
            return self
        agents = memory.agents
        return replace(
            self,
            probes={name: verdict for name, verdict in self.probes.items() if name in agents},
            probing={name: due for name, due in self.probing.items() if name in agents},
        )


def _with_new(
    known: Mapping[_Name, SlotName], new: Mapping[_Name, SlotName], shown: Collection[_Name | None]
) -> Mapping[_Name, SlotName]:
    """With the new ones, without the oldest where they are too many; those whose processes show stay."""
    if new.keys() <= known.keys():
        return known
    both = {**known, **new}
    over = max(0, len(both) - REMEMBERED)
    old = (name for name in both if name not in new and name not in shown)
    gone = frozenset(islice(old, over))
    return {name: slot for name, slot in both.items() if name not in gone} if gone else both


def _left(known: Mapping[str, float], memory: Memory) -> Mapping[str, float]:
    """When each device was left last, also by an agent whose slot is gone or has another lease now: what it
    leaves on the device the next would find.
    """
    left = dict(known)
    ends = [
        *((slot.vacant_since, slot.left) for slot in memory.slots.values()),
        # An earlier Mayfly has not written it down with the slot.
        *((agent.cleared or agent.exited, agent.lease) for agent in memory.agents.values()),
    ]
    for end, devices in ends:
        if end is not None:
            left.update({uuid: max(end, left.get(uuid, end)) for uuid in devices})
    return left


def _by_people(memory: Memory) -> set[str]:
    """GPUs that people have for work outside of containers: what they do there is nobody's leftover."""
    return {uuid for uuid, one in memory.reserved.items() if not one.shell}


def _tenant(spec: SlotSpec, first: float, memory: Memory, left: Mapping[str, float]) -> Tenant:
    shared = spec.pool.share  # whose agents find each other's work there
    own = memory.slot(spec.name).vacant_since
    ends = (own, *(left.get(uuid) for uuid in spec.lease if not shared))
    at_work = not _by_people(memory).isdisjoint(spec.lease) or any(
        agent.committed is not None
        and (agent.owes or agent.hold is not None or not agent.settled)
        and set(agent.lease) & set(spec.lease)
        for agent in memory.agents.values()
    )
    since = max((first, *(end for end in ends if end is not None)))
    return Tenant(spec.lease, since, at_work, shared)


def _at_gate(agent: Agent) -> bool:
    """Whether it stands at its gate with a lease, and nothing has been decided about it."""
    if not agent.lease or agent.ready is None or agent.container is None:
        return False
    return agent.committed is None and agent.doom is None and not agent.settled
