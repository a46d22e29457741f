"""The loop: the one thread that owns the state. It takes messages, steps, commits, begins and publishes.

What anything means is decided in ``core/machine.py``. Nothing is begun before what led to it is on disk;
where the disk does not take it, nothing is begun at all and the next step tries again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from mayfly.core import allocations, held_jobs, machine
from mayfly.core.belongings import gateway_conditions
from mayfly.core.command_result import refusal
from mayfly.core.image_conditions import image_conditions
from mayfly.core.machine import Step
from mayfly.core.model import Condition, World
from mayfly.core.polls import TICK
from mayfly.core.recording import Recorder
from mayfly.core.state import State, accounted
from mayfly.core.stimuli import (
    ClockSet,
    Commanded,
    Started,
    Stimulus,
    Stopping,
)
from mayfly.core.tainted_devices import tainted_conditions
from mayfly.core.token_end import credential_conditions, token_conditions
from mayfly.edge.descriptors import descriptors
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.free_memory import give_back
from mayfly.edge.lasting_thread import lacking
from mayfly.engines.protocol import EventCursor, StreamTurn
from mayfly.service.bugs import Bug
from mayfly.service.clock import Clock
from mayfly.service.command_handler import CommandHandler
from mayfly.service.configuration import Configuration
from mayfly.service.engine_observer import EngineDenied, HostSurvey
from mayfly.service.figures_writer import FiguresWriter
from mayfly.service.ledger import Ledger
from mayfly.service.messages import Message, Reload, Sight, Stop, stimuli_of
from mayfly.service.pending_command import PendingCommand
from mayfly.service.perform import Done, Failed
from mayfly.service.report import Ground, Report, own_health
from mayfly.service.request_handler import RequestHandler, Worker

BUSY_WHILE = 100  # passes after which what they took is given back, once there is nothing to do
TAKEN_AT_ONCE = 200  # messages between two steps: who sends much delays no step by more


@dataclass(frozen=True, slots=True)
class Parts:
    """All that the loop works with."""

    inbox: SimpleQueue[Message]
    ledger: Ledger
    requests: RequestHandler
    workers: Worker
    commands: CommandHandler
    report: Report
    recorder: Recorder
    clock: Clock
    configuration: Configuration
    figures: FiguresWriter
    cursor: Callable[[], EventCursor | None]  # the last event of the Engine that is in the inbox


class Loop:
    """Owns the state; ``run`` is its thread. ``state`` may be read from any other: it is a value."""

    def __init__(self, state: State, parts: Parts) -> None:
        self.state = state
        self._parts = parts
        self._ground = Ground(parts.report.words)
        self._batch: list[Stimulus] = []  # taken, and not stepped over yet
        self._passes = 0  # since memory was given back
        self._denied: Refused | None = None
        self._cursor: EventCursor | None = None  # all events up to it have been taken in

    def run(self) -> None:
        """Take messages and step until a ``Stop``; ``Refused`` where the Engine must not be used."""
        parts = self._parts
        self._batch = [
            Started(parts.ledger.host_restarted()),
            parts.configuration.use(self.state.config),
        ]
        due = 0.0
        while True:
            heard = self._take_all(due)
            if self._denied is not None:
                raise self._denied
            now = parts.clock.now()
            if by := parts.clock.jumped():
                self._batch.insert(0, ClockSet(by))  # what follows is of the clock as it is now
                parts.ledger.reset_timers()
                heard = True
            stopping = Stopping() in self._batch
            if parts.ledger.rests(now) and not stopping:
                due = parts.ledger.retry_at or now
                continue
            if heard or now >= due or not parts.ledger.in_place():
                due = self._pass(now)
            else:  # a step would find nothing before that
                parts.report.rested()
                self._give_back()
            if stopping:
                parts.ledger.keep_cursor(self._safe_cursor(self.state))
                parts.ledger.keep_gpu_use(self.state.gpus.tally)
                parts.ledger.keep_gpu_quiet(self.state.gpus.quiet)
                return
            parts.ledger.upkeep(now, self.state.config.host)
            parts.ledger.note_gpu_use(self.state.gpus.tally, now)
            parts.ledger.note_gpu_quiet(self.state.gpus, now)

    def _give_back(self) -> None:
        if self._passes > BUSY_WHILE:
            self._passes = 0
            give_back()

    # -- messages ---------------------------------------------------------------------------------

    def _take_all(self, due: float) -> bool:
        """Wait until then or for a tick, and take what comes; whether anything did."""
        wait = min(max(0.0, due - self._parts.clock.now()), TICK)
        cursor, heard = self._parts.cursor(), False
        try:
            self._take(self._parts.inbox.get(timeout=wait))
            heard = True
            for _ in range(TAKEN_AT_ONCE):
                self._take(self._parts.inbox.get_nowait())
        except Empty:
            self._cursor = cursor
        return heard

    def _take(self, message: Message) -> None:
        match message:
            case Bug():
                self._parts.report.erred(message, self._parts.clock.now())
            case Stop():
                self._batch.append(Stopping())
            case EngineDenied(fault=fault):
                self._denied = fault
            case Reload():
                self._batch.extend(self._parts.configuration.reload())
            case PendingCommand():
                self._on_command(message)
            case _:
                self._on_sight(message)

    def _on_sight(self, sight: Sight) -> None:
        match sight:
            case StreamTurn(up=False):
                self._parts.report.metrics.stream_lost()
            case Done(action=action) | Failed(action=action):
                steady = self._parts.clock.steady()
                self._parts.report.ended(action, steady, done=isinstance(sight, Done))
            case HostSurvey(info=info, room=room):
                self._ground = replace(self._ground, info=info, room=room)
                self._parts.report.metrics.surveyed(room)
            case _:
                pass
        self._batch.extend(stimuli_of(sight, self.state.host))

    def _on_command(self, pending: PendingCommand) -> None:
        parts, now = self._parts, self._parts.clock.now()
        state = machine.taken_in(self.state, self._batch, now)
        result = parts.commands.result(pending.command, state, now, parts.report.headline)
        try:
            if result.config is not None:
                self._batch.append(parts.configuration.reuse(result.config))
        except Fault as fault:
            result = refusal(409, "refused", str(fault))
        if result.facts:
            self._batch.append(Commanded(result.facts))
        parts.ledger.take(pending, result)

    # -- steps ------------------------------------------------------------------------------------

    def _pass(self, now: float) -> float:
        """Step over what was taken, record, begin, publish, answer; when the next is due at the latest."""
        parts, began = self._parts, self._parts.clock.steady()
        batch, self._batch = self._batch, []
        self._passes += 1
        step = parts.recorder.step(self.state, batch, now)
        if step.witnesses:
            self.state = parts.recorder.keep(batch, now, step, recorded=True)
            parts.requests.carry_out(step.requests)
            batch = [parts.requests.read(step.witnesses, self.state.observed, step.closing)]
            step = parts.recorder.step(self.state, batch, now)
        cursor = self._safe_cursor(step.state)
        recorded = parts.ledger.commit(step.facts, step.state.memory, now, cursor)
        before = self.state.memory
        self.state = parts.recorder.keep(batch, now, step, recorded=recorded)
        if recorded:
            self._begin(step)
        self._publish(step.world, now, began, recorded=recorded)
        parts.ledger.answer()
        # After the rest: a look wants the processor that a hand-over needs.
        parts.requests.carry_out(step.requests)
        if not recorded:
            return parts.ledger.retry_at or now
        parts.report.recorded(step.facts, before, self.state.memory)
        return step.wake if step.wake is not None else now + TICK

    def _publish(self, world: World, now: float, began: float, *, recorded: bool) -> None:
        parts, gpus = self._parts, self._parts.requests.gpus
        gpus.watch(self.state.gpus.watching)
        gpus.publish(self.state, now)
        parts.figures.publish(self.state)
        if self._ground.info is None and world.engine_error is None:
            return  # what was not looked at yet is neither there nor missing: no slot is held for that
        error, rejected = parts.ledger.disk_error, parts.configuration.rejected
        at_start = parts.configuration.at_start
        ground = replace(
            self._ground,
            disk_error=error,
            state_gone=parts.ledger.gone,
            rejected=rejected,
            at_start=at_start,
            descriptors=descriptors(),
            no_threads=lacking(),
        )
        self._show(ground, world, now, began, recorded=recorded)

    def _show(
        self, ground: Ground, world: World, now: float, began: float, *, recorded: bool
    ) -> None:
        """Make the state known, with all conditions. What cannot be shown must not end what goes on."""
        parts, state = self._parts, self.state
        report, config, services = parts.report, state.config, parts.requests.services
        sources: dict[str, Callable[[], list[Condition]]] = {
            "the manager's own ground": lambda: own_health(ground),
            "what is left behind": lambda: [*state.left_behind.conditions(config.host.state_dir)],
            "what agents have made": lambda: [
                *state.clearings.conditions(report.words),
                *gateway_conditions(config, state.observed.world, state.memory),
            ],
            "the isolation": lambda: [*state.isolation.conditions(config)],
            "the GPUs": lambda: [*parts.requests.gpus.health(state, now)],
            "the tainted devices": lambda: tainted_conditions(
                state.survey.tainted, state.host, report.words
            ),
            "the images": lambda: [
                *image_conditions(state.desired.slots, state.survey, state.traits, now)
            ],
            "the tokens' ends": lambda: token_conditions(services.token_ends(config), now),
            "the engine's token": lambda: credential_conditions(state.survey.credential, now),
            "Slurm": lambda: [*allocations.conditions(state.allocations, config, now)],
            "the held jobs": lambda: [*held_jobs.conditions(state.memory, state.desired.slots)],
            "the jobs that wait": lambda: state.queues.conditions(config.pools, state.memory, now),
        }
        conditions = [
            line
            for what, source in sources.items()
            for line in report.asked(f"telling of {what}", source, now)
        ]
        steady = (began, parts.clock.steady())
        try:
            report.stepped(
                *(state, world, now, conditions, services.judge, steady), recorded=recorded
            )
        except Exception as error:  # noqa: BLE001  to show the state must not end what all pools go on by
            report.met("showing the state", error, now)
            report.rested()

    def _begin(self, step: Step) -> None:
        for action in step.actions:
            self._parts.report.begun(action, self._parts.clock.steady())
            known = self.state.memory.agents
            agent = known.get(action.generation) if action.generation is not None else None
            self._parts.workers.begin(action, agent)
        self._parts.requests.carry_out(step.afterwards)

    def _safe_cursor(self, state: State) -> EventCursor | None:
        """The newest event that the next manager need not hear of again; ``None`` while there is doubt."""
        return self._cursor if accounted(state) else None
