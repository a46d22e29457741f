"""The GPUs as the loop deals with them: readings in, verdicts of the health gate out, probes, use added up.

Used by the loop's thread alone, but for ``document``, which gives what was published last. NVML and the
Engine are asked on threads of their own, which put what they found into the loop's inbox; nothing here waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue

from mayfly.core.desire import Hardware, Survey
from mayfly.core.facts import AgentExited, Fact, SlotReleased
from mayfly.core.gpu_health import (
    Reading,
    Record,
    Tenant,
    foreign,
    foreign_containers_on_lease,
    forgiven,
    judge,
    merged,
    recorded,
)
from mayfly.core.gpu_probe import mismatch, read
from mayfly.core.gpu_use import Tally
from mayfly.core.images import Catalogue
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Condition,
    Config,
    ContainerId,
    Desired,
    Generation,
    GpuVerdict,
    ProbeVerdict,
    Severity,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.slots import CLOCK_SLACK
from mayfly.edge.faults import Fault
from mayfly.edge.gpus import GpuWatch, probe_script
from mayfly.engines.protocol import Engine
from mayfly.service.gpu_document import document

PROBE_TIMEOUT = 30.0  # seconds; without persistence the driver wakes each GPU for some
PROBERS = 4
PROBE_EVERY = 60.0
PROBE_AGAIN = 5.0  # seconds after the Engine could not run one
RECHECK_EVERY = 0.25  # seconds between looks at GPUs that a job has not left yet
PACE_AT_WORK = 2.0  # seconds between looks while jobs compute: what their use is told from
PACE = 10.0
LATE = 5.0  # seconds after which a look under way is told to be late


@dataclass(frozen=True, slots=True)
class Probed:
    """What an agent at its gate sees; ``None``: the Engine could not look."""

    generation: Generation
    verdict: ProbeVerdict | None


GpuObservation = Reading | Probed


@dataclass(frozen=True, slots=True)
class _Look:
    """One probe to be made."""

    generation: Generation
    container: ContainerId
    lease: tuple[str, ...]
    minors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class GpuBoard:
    """What is published: the last reading, and who holds what."""

    gpus: tuple[Gpu, ...] | None
    reading: Reading | None
    verdicts: Mapping[SlotName, GpuVerdict]
    leases: Mapping[SlotName, tuple[str, ...]]
    late: float | None  # when a look under way began that has taken too long
    watched: bool


class GpuMonitor:
    """All that the loop knows of GPUs."""

    def __init__(
        self,
        send: Callable[[GpuObservation], None],
        engine: Engine,
        catalogue: Catalogue,
        architecture: str,
        clock: Callable[[], float],
    ) -> None:
        self._watch = GpuWatch(send, every=PACE)
        self._watching = False
        self._prober = _Prober(engine, send, clock)
        self._catalogue = catalogue
        self._architecture = architecture
        self._gpus: tuple[Gpu, ...] | None = None
        self._reading: Reading | None = None
        self._records: dict[str, Record] = {}
        self._since: dict[SlotName, float] = {}  # when each slot with a lease was first looked at
        self._ours: set[ContainerId] = set()  # containers with a lease, also those that are gone
        self._probes: dict[Generation, ProbeVerdict] = {}
        self._probing: dict[Generation, float] = {}  # when to try again what was begun or failed
        self._unproven: list[
            Agent
        ] = []  # at their gates for long, and not yet seen to see their GPUs
        self._tally = Tally()
        self._verdicts: dict[SlotName, GpuVerdict] = {}
        self._off = False
        self._published = GpuBoard(None, None, {}, {}, None, watched=False)

    # -- what it is told --------------------------------------------------------------------------

    def use_config(self, config: Config) -> None:
        """Watch where a pool has GPUs; what is there now counts from now on, what is gone no more."""
        self._off = config.host.gpu == "off"
        wanted = any(pool.gpus != 0 for pool in config.pools) or config.host.gpu == "required"
        if wanted and not self._off and not self._watching:
            self._watching = True
            self._watch.start()
            self._prober.start()
        if self._reading is not None and self._reading.gpus is not None:
            self._gpus = self._reading.gpus

    def take(self, sight: GpuObservation) -> bool:
        """Take in what was seen; whether the host's GPUs are others than before."""
        if isinstance(sight, Probed):
            if sight.verdict is not None:
                self._probes[sight.generation] = sight.verdict
                self._probing.pop(sight.generation, None)
            return False
        before = self.hardware
        self._reading = sight
        if sight.gpus is not None:
            self._gpus = merged(self._gpus or (), sight.gpus)
            self._records = recorded(self._records, sight)
            self._tally.add(sight)
            if sight.xids:
                self._look_again()
        return self.hardware != before

    def _look_again(self) -> None:
        """The driver reported something: what agents see is to be seen afresh."""
        self._probes = {
            generation: replace(verdict, at=verdict.at - PROBE_EVERY)
            for generation, verdict in self._probes.items()
        }

    def on_facts(self, facts: Iterable[Fact]) -> None:
        """What has happened: a slot that a person wants tried again is judged afresh."""
        for fact in facts:
            if isinstance(fact, SlotReleased):
                self._forgive(fact.slot, fact.at)

    def _forgive(self, slot: SlotName, at: float) -> None:
        self._since[slot] = at
        lease = self._leases.get(slot, ())
        self._records = forgiven(self._records, lease, self._gpus or (), self._reading)

    @property
    def _leases(self) -> Mapping[SlotName, tuple[str, ...]]:
        return self._tally.leases

    def stop(self) -> None:
        """End the threads; nobody waits for one that NVML holds."""
        self._watch.stop()
        self._prober.stop()

    # -- what it tells ----------------------------------------------------------------------------

    @property
    def hardware(self) -> Hardware:
        """What the host has, as far as leases and images go."""
        reading = self._reading
        told = Hardware(None, architecture=self._architecture, catalogue=self._catalogue)
        if self._off:
            return replace(told, unknown='host.gpu is "off"')
        if reading is None:
            return replace(told, unknown="NVML has not answered yet", pending=self._watching)
        if reading.problem is not None:
            return replace(told, unknown=reading.problem)
        return replace(told, gpus=self._gpus, cuda=reading.cuda)

    def with_gpu_health(self, desired: Desired, memory: Memory, world: World, now: float) -> World:
        """The world with the gate's verdicts on all slots with a lease, as of this memory."""
        leased = [spec for spec in desired.slots if spec.lease]
        if not leased:
            self._verdicts = {}
            return world
        standing = {
            agent.container
            for agent in memory.agents.values()
            if agent.lease and agent.container is not None and not agent.settled
        }
        self._ours |= {
            agent.container
            for agent in memory.agents.values()
            if agent.lease and agent.container is not None
        }
        self._verdicts = {
            spec.name: judge(
                self._tenant(spec, memory, now),
                self._of_now(now),
                self._records,
                self._gpus or (),
                self._ours,
                standing,
            )
            for spec in leased
        }
        return replace(world, gpu_verdicts=self._verdicts, probes=dict(self._probes))

    def _of_now(self, now: float) -> Reading | None:
        """The last reading; none where it is from a time to come, since the clock was set back."""
        reading = self._reading
        return reading if reading is None or reading.began <= now + CLOCK_SLACK else None

    def _tenant(self, spec: SlotSpec, memory: Memory, now: float) -> Tenant:
        first = self._since.setdefault(spec.name, now)
        ended = memory.slot(spec.name).vacant_since
        at_work = any(
            agent.committed is not None and not agent.settled and set(agent.lease) & set(spec.lease)
            for agent in memory.agents.values()
        )
        since = first if ended is None else max(first, ended)
        return Tenant(spec.lease, since, at_work, spec.pool.share)

    def schedule(self, desired: Desired, memory: Memory, world: World, now: float) -> float | None:
        """Have asked what has to be asked; when to come again, ``None`` where nothing is due."""
        leased = [spec for spec in desired.slots if spec.lease]
        dues: list[float] = []
        if leased:
            self._tally.assign(leased, memory)
            self._watch.rest(memory.pause is not None)
            self._watch.pace(PACE_AT_WORK if self._tally.working else PACE)
            dues += self._recheck(now)
            dues += self._probe_all(memory, world, now)
        self._forget_gone(memory)
        late = self._watch.since
        self._published = GpuBoard(
            gpus=self._gpus,
            reading=self._reading,
            verdicts=self._verdicts,
            leases={spec.name: spec.lease for spec in leased},
            late=late if late is not None and now - late > LATE else None,
            watched=self._watching,
        )
        return min(dues, default=None)

    def _recheck(self, now: float) -> list[float]:
        """Look again while a slot waits for its GPUs to be clean."""
        reading = self._of_now(now)
        if reading is None and self._reading is not None:
            self._watch.ask()
        if reading is None or reading.problem is not None:
            return []
        if all(verdict.fit or verdict.sick is not None for verdict in self._verdicts.values()):
            return []
        if self._watch.since is not None:
            return []
        unasked = any(reading.began < self._since.get(slot, 0.0) for slot in self._verdicts) or any(
            verdict.pending.startswith("NVML has not been asked")
            for verdict in self._verdicts.values()
        )
        if unasked or now - reading.began >= RECHECK_EVERY:
            self._watch.ask()
            return []
        return [reading.began + RECHECK_EVERY]

    def _probe_all(self, memory: Memory, world: World, now: float) -> list[float]:
        dues: list[float] = []
        self._unproven = []
        for agent in memory.agents.values():
            if not _at_gate(agent):
                continue
            if agent.generation not in self._probes and now - (agent.ready or now) > LATE:
                self._unproven.append(agent)
            container = (world.containers or {}).get(agent.generation)
            if container is None or not container.live:
                continue
            verdict = self._probes.get(agent.generation)
            due = min(verdict.at, now) + PROBE_EVERY if verdict is not None else now
            due = max(due, self._probing.get(agent.generation, 0.0))
            if due > now:
                dues.append(due)
                continue
            self._probing[agent.generation] = now + PROBE_TIMEOUT + PROBE_AGAIN
            self._prober.look(
                _Look(agent.generation, container.id, agent.lease, self._minors(agent.lease))
            )
        return dues

    def _minors(self, lease: Sequence[str]) -> dict[str, int]:
        return {
            gpu.uuid: gpu.minor
            for gpu in self._gpus or ()
            if gpu.uuid in lease and gpu.minor is not None
        }

    def _forget_gone(self, memory: Memory) -> None:
        for table in (self._probes, self._probing):
            for generation in [entry for entry in table if entry not in memory.agents]:
                del table[generation]

    def attributed(self, facts: Sequence[Fact]) -> list[Fact]:
        """The facts, with what each agent that ended did with its GPUs."""
        return [
            replace(fact, gpus=self._tally.close(fact.generation))
            if isinstance(fact, AgentExited) and self._tally.knows(fact.generation)
            else fact
            for fact in facts
        ]

    def health(self, config: Config, survey: Survey, now: float) -> list[Condition]:
        """The lines of ``mayfly status`` that are about GPUs."""
        lines: list[Condition] = []
        late = self._watch.since
        if late is not None and now - late > LATE:
            lines.append(
                Condition(
                    "gpu.nvml_late",
                    Severity.ERROR,
                    f"NVML has not answered for {now - late:.0f} s: no slot with GPUs takes a new job",
                    "dmesg | grep -i -e nvrm -e xid",
                )
            )
        reading = self._reading
        if config.host.gpu == "required" and reading is not None and not reading.gpus:
            text = reading.problem or "the driver answers and finds none"
            lines.append(
                Condition(
                    "gpu.required",
                    Severity.ERROR,
                    f"this host is to have a GPU: {text}",
                    "mayfly gpus",
                )
            )
        for slot, verdict in self._verdicts.items():
            if verdict.pending and reading is not None and reading.problem is None:
                text = f"slot {slot} waits for its GPUs: {verdict.pending}"
                lines.append(Condition("gpu.waits", Severity.WARNING, text, "mayfly gpus"))
        lines += [
            Condition(
                "gpu.unproven",
                Severity.WARNING,
                f"slot {agent.slot} takes no job yet: for {now - (agent.ready or now):.0f} s its agent "
                "has not answered which GPUs it sees",
                "mayfly gpus",
            )
            for agent in self._unproven
        ]
        lines += self._foreigners()
        lines += self._trespassers(survey)
        return lines

    def _trespassers(self, survey: Survey) -> list[Condition]:
        lease = dict.fromkeys(uuid for lease in self._leases.values() for uuid in lease)
        return [
            Condition(
                "gpu.foreign_container",
                Severity.WARNING,
                f"container {foreign.name} was given {uuid}, which is leased, and is not Mayfly's",
                f"docker inspect {foreign.name}",
            )
            for uuid, foreign in foreign_containers_on_lease(
                lease, self._gpus or (), survey.foreign_containers
            )
        ]

    def _foreigners(self) -> list[Condition]:
        if self._reading is None:
            return []
        lease = dict.fromkeys(uuid for lease in self._leases.values() for uuid in lease)
        return [
            Condition(
                "gpu.foreign",
                Severity.WARNING,
                f"process {process.pid} "
                + (f"of container {process.container[:12]} " if process.container else "")
                + f"computes on {uuid}, which is leased, and is not Mayfly's",
                f"ps -fp {process.pid}",
            )
            for uuid, process in foreign(lease, self._reading, self._ours)
        ]

    def document(self) -> GpuBoard:
        """What was published last; may be called from any thread."""
        return self._published


def gpu_document(board: GpuBoard) -> dict[str, object]:
    """What is published, as ``mayfly gpus --json`` prints it."""
    return document(
        board.gpus,
        board.reading,
        board.verdicts,
        board.leases,
        late=board.late,
        watched=board.watched,
    )


def _at_gate(agent: Agent) -> bool:
    """Whether it stands at its gate with a lease, and nothing has been decided about it."""
    if not agent.lease or agent.ready is None or agent.container is None:
        return False
    return agent.committed is None and agent.doom is None and not agent.settled


class _Prober:
    """Has agents say what they see, on a few threads of its own: one that hangs keeps no other waiting."""

    def __init__(
        self, engine: Engine, send: Callable[[GpuObservation], None], clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._command = (
            "/bin/sh",
            "-c",
            probe_script(),
        )  # the manager's own, whatever the image has
        self._send = send
        self._clock = clock
        self._queue: SimpleQueue[_Look | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"gpu-probe-{number}", daemon=True)
            for number in range(PROBERS)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the probes under way, which nobody waits for."""
        for _ in self._threads:
            self._queue.put(None)

    def look(self, look: _Look) -> None:
        """Have it made soon."""
        self._queue.put(look)

    def _run(self) -> None:
        while (look := self._queue.get()) is not None:
            self._send(Probed(look.generation, self._word(look)))

    def _word(self, look: _Look) -> ProbeVerdict | None:
        try:
            code, output = self._engine.exec_probe(look.container, self._command, PROBE_TIMEOUT)
        except Fault as fault:
            return self._unanswered(fault)
        at = self._clock()
        if code != 0:
            said = output.decode(errors="replace").strip()[-200:]
            return ProbeVerdict(sees=False, text=f"its GPU probe failed with {code}: {said}", at=at)
        text = mismatch(look.lease, read(output), look.minors)
        return ProbeVerdict(sees=text is None, text=text or "", at=at)

    def _unanswered(self, fault: Fault) -> ProbeVerdict | None:
        """A probe that hangs says that of the GPUs; an Engine that does not answer says nothing of them."""
        try:
            self._engine.ping()
        except Fault:
            return None
        return ProbeVerdict(
            sees=False, text=f"its GPU probe does not answer: {fault}", at=self._clock()
        )
