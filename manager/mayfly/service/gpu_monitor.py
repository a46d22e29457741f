"""The GPUs as the loop deals with them: NVML and agents are asked on threads, and what is known is published.

What the answers mean is decided in ``core/gpus.py``; nothing here waits or judges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue

from mayfly.core import bench_lane, reservation_words
from mayfly.core.desire import Survey
from mayfly.core.gpu_checks import GpuFinding
from mayfly.core.gpu_conditions import all_found, conditions
from mayfly.core.gpu_health import (
    Ours,
    Reading,
    foreign,
    foreign_containers_on_lease,
    physical,
)
from mayfly.core.gpu_probe import mismatch, read
from mayfly.core.gpus import LATE, PACE, PROBE_TIMEOUT, Gpus
from mayfly.core.healing import ResetOutcome
from mayfly.core.leases import Gpu
from mayfly.core.memory import Heal
from mayfly.core.model import Condition, EngineLines, GpuVerdict, ProbeVerdict, Severity, SlotName
from mayfly.core.requests import EndLeftover, PaceGpus, Probe, ResetGpu
from mayfly.core.state import State
from mayfly.core.stimuli import GpuResetDone, GpusRead, Probed
from mayfly.edge.faults import Fault
from mayfly.edge.gpu_reset import Reset
from mayfly.edge.gpus import GpuWatch, Session, probe_script
from mayfly.edge.lasting_thread import LastingThread
from mayfly.edge.leftover_processes import end_leftover
from mayfly.engines.protocol import Engine
from mayfly.service.gpu_document import document

PROBERS = 4
BEGUN_IN = 60.0  # seconds after which a reset that was asked for is not begun any more


@dataclass(frozen=True, slots=True)
class GpuBoard:
    """What is published: the last reading, and who holds what."""

    gpus: tuple[Gpu, ...] | None
    reading: Reading | None
    verdicts: Mapping[SlotName, GpuVerdict]
    leases: Mapping[SlotName, tuple[str, ...]]
    late: float | None  # when a look under way began that has taken too long
    watched: bool
    at_work: frozenset[SlotName] = frozenset()  # slots whose agents have their GPUs now
    found: tuple[GpuFinding, ...] = ()  # by the health gate's checks
    heals: Mapping[str, Heal] = field(default_factory=dict)  # the last of each GPU


class GpuMonitor:
    """The threads that ask, and what was published last; used by the loop's thread, but for ``document``."""

    def __init__(
        self,
        send: Callable[[GpusRead | Probed | GpuResetDone], None],
        engine: Engine,
        clock: Callable[[], float],
    ) -> None:
        self._watch = GpuWatch(lambda reading: send(GpusRead(reading)), every=PACE)
        self._watching = False
        self._send = send
        self._words = engine.lines
        self._prober = _Prober(engine, send, clock)
        self._published = GpuBoard(None, None, {}, {}, None, watched=False)

    def watch(self, wanted: bool) -> None:
        """Begin to ask NVML, where that is wanted; it never ends before the manager does."""
        if wanted and not self._watching:
            self._watching = self._watch.start() and self._prober.start()

    def stop(self) -> None:
        """End the threads; nobody waits for one that NVML holds."""
        self._watch.stop()
        self._prober.stop()

    def look(self) -> None:
        """Ask NVML now, unless it is being asked."""
        if self._watch.since is None:
            self._watch.ask()

    def pace(self, pace: PaceGpus) -> None:
        """Ask that often from now on."""
        self._watch.rest(pace.resting)
        self._watch.pace(pace.seconds)

    def probe(self, probe: Probe) -> None:
        """Have an agent say what it sees."""
        self._prober.look(probe)

    def reset(self, request: ResetGpu) -> None:
        """Have the GPU reset, while nobody else of ours looks at it."""
        asked = time.monotonic()

        def work(session: Session) -> None:
            outcome = ResetOutcome(f"{request.gpu} was not reset: Mayfly failed", untouched=True)
            try:
                outcome = _reset(request, session, time.monotonic() - asked)
            finally:
                self._send(GpuResetDone(request.gpu, outcome))

        self._watch.aside(work)

    def end(self, request: EndLeftover) -> bool:
        """End a process of an agent that has ended; whether it was one."""
        return end_leftover(request.pid, request.container, request.agent)

    def publish(self, state: State, now: float) -> None:
        """Make what is known readable for everybody."""
        gpus, late = state.gpus, self._watch.since
        self._published = GpuBoard(
            gpus=gpus.known,
            reading=gpus.reading,
            verdicts=gpus.verdicts,
            leases={spec.name: spec.lease for spec in state.desired.slots if spec.lease},
            late=late if late is not None and now - late > LATE else None,
            watched=self._watching,
            at_work=frozenset(
                agent.slot
                for agent in state.memory.agents.values()
                if agent.lease and agent.at_work
            ),
            found=all_found(gpus.findings, gpus.verdicts),
            heals=state.memory.heals,
        )

    def health(self, state: State, now: float) -> list[Condition]:
        """The lines of ``mayfly status`` that are about GPUs."""
        lines: list[Condition] = []
        gpus = state.gpus
        late = self._watch.since
        if late is not None and now - late > LATE:
            lines.append(
                Condition(
                    "gpu.nvml_late",
                    Severity.ERROR,
                    f"NVML has not answered for {now - late:.0f} s: no slot with GPUs takes a new job",
                    "sudo dmesg | grep -i -e nvrm -e xid",
                )
            )
        reading = gpus.reading
        if state.config.host.gpu == "required" and reading is not None and not reading.gpus:
            text = reading.problem or "the driver answers and finds none"
            lines.append(
                Condition(
                    "gpu.required",
                    Severity.ERROR,
                    f"this host is to have a GPU: {text}",
                    "mayfly gpus",
                )
            )
        for slot, verdict in gpus.verdicts.items():
            if verdict.pending is not None and reading is not None and reading.problem is None:
                text = f"slot {slot} waits for its GPUs: {verdict.text}"
                lines.append(Condition("gpu.waits", Severity.WARNING, text, "mayfly gpus"))
        lines += [
            Condition(
                "gpu.unproven",
                Severity.WARNING,
                f"slot {agent.slot} takes no job yet: for {now - (agent.ready or now):.0f} s its agent "
                "has not answered which GPUs it sees",
                "mayfly gpus",
            )
            for agent in gpus.unproven
        ]
        lines += _checked(gpus, state)
        lines += [
            Condition(
                "gpu.heal_waits",
                Severity.WARNING,
                f"{uuid} waits to be reset: {why}",
                f"mayfly gpus heal {uuid}",
            )
            for uuid, why in gpus.waits.items()
        ]
        lines += bench_lane.conditions(state.desired.slots, state.memory, now)
        lines += reservation_words.conditions(state.memory, state.desired, gpus.reading, now)
        lines += _foreign_processes(gpus, state.memory.reserved)
        lines += _foreign_containers(gpus, state.survey, self._words)
        return lines

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
        at_work=board.at_work,
        found=board.found,
        heals=board.heals,
    )


def _checked(gpus: Gpus, state: State) -> list[Condition]:
    known = gpus.known or ()
    leased = {uuid for spec in state.desired.slots for uuid in spec.lease}
    leased |= {physical(uuid, known) for uuid in leased}
    return conditions(all_found(gpus.findings, gpus.verdicts), leased)


def _foreign_containers(gpus: Gpus, survey: Survey, words: EngineLines) -> list[Condition]:
    lease = dict.fromkeys(uuid for lease in gpus.tally.leases.values() for uuid in lease)
    return [
        Condition(
            "gpu.foreign_container",
            Severity.WARNING,
            f"container {foreign.name} was given {uuid}, which is leased, and is not Mayfly's",
            words.on(words.inspect, foreign.name),
        )
        for uuid, foreign in foreign_containers_on_lease(
            lease, gpus.known or (), survey.foreign_containers
        )
    ]


def _foreign_processes(gpus: Gpus, reserved: Container[str]) -> list[Condition]:
    """Of the GPUs that are not ``reserved``: on those a person is at work."""
    if gpus.reading is None:
        return []
    leases = gpus.tally.leases.values()
    lease = dict.fromkeys(uuid for one in leases for uuid in one if uuid not in reserved)
    return [
        Condition(
            "gpu.foreign",
            Severity.WARNING,
            f"{process.named} computes on {uuid}, which is leased, and is not Mayfly's",
            f"ps -fp {process.pid}",
        )
        for uuid, process in foreign(
            lease, gpus.reading, Ours(gpus.ours.keys(), makers=gpus.makers)
        )
    ]


def _reset(request: ResetGpu, session: Session, waited: float) -> ResetOutcome:
    """Reset it, where nothing is seen to use it in the last moment; what waited for too long is not begun."""
    not_reset = f"{request.gpu} was not reset"
    if waited > BEGUN_IN:
        text = (
            f"{not_reset}: NVML kept it waiting for {waited:.0f} s: see dmesg, then `mayfly retry`"
        )
        return ResetOutcome(text, untouched=True)
    reading = session.read()
    session.close()  # whoever has the driver open is a client that a reset is refused for
    for uuid in request.devices:
        vitals = reading.vitals.get(uuid)
        for process in vitals.processes if vitals is not None else ():
            if not process.gone:
                text = f"{process.named} computes on {uuid}"
                return ResetOutcome(
                    f"{not_reset}: {text}: end it, then `mayfly gpus heal {request.gpu}`",
                    untouched=True,
                )
    return Reset((request.gpu, *request.together), split=request.split).make()


class _Prober:
    """Has agents say what they see, on a few threads of its own: one that hangs keeps no other waiting."""

    def __init__(
        self, engine: Engine, send: Callable[[GpusRead | Probed], None], clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        # The manager's own, whatever the image has.
        self._command = ("/bin/sh", "-c", probe_script())
        self._send = send
        self._clock = clock
        self._queue: SimpleQueue[Probe | None] = SimpleQueue()
        self._threads = [
            LastingThread(self._run, f"gpu-probe-{number}") for number in range(PROBERS)
        ]

    def start(self) -> bool:
        """Begin; False where a thread is not to be had now."""
        return all(thread.start_if_possible() for thread in self._threads)

    def stop(self) -> None:
        """End after the probes under way, which nobody waits for."""
        for _ in self._threads:
            self._queue.put(None)

    def look(self, look: Probe) -> None:
        """Have it made soon."""
        self._queue.put(look)

    def _run(self) -> None:
        while (look := self._queue.get()) is not None:
            verdict: ProbeVerdict | None = None
            try:
                verdict = self._word(look)
            finally:
                self._send(Probed(look.generation, verdict))

    def _word(self, look: Probe) -> ProbeVerdict | None:
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
