"""The loop: the one thread that owns all state.

Others put messages into its inbox: the Engine's bell, what the eye saw, what came of actions, what people
order. After each batch it makes passes: notice, decide, record, begin. Nothing is begun before what led to
it is on disk; where the disk does not take it, nothing is begun at all and the next pass tries again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import assert_never

from mayfly.core import naming
from mayfly.core.actions import (
    Action,
    Dismiss,
    Enrol,
    Forget,
    Open,
    Prepare,
    Remove,
    Rename,
    SetSchedulable,
    action_name,
)
from mayfly.core.apply import apply
from mayfly.core.command_effects import Reread, Situation, effects, refusal
from mayfly.core.commands import CancelJob, Command, PlanAhead, ReloadConfig, SubmitJob
from mayfly.core.decide import decide
from mayfly.core.desire import Hardware, Survey, desired, references
from mayfly.core.facts import (
    AgentArmed,
    AgentConfirmed,
    AgentCordoned,
    AgentDismissed,
    AgentEnrolled,
    AgentRemoved,
    ClockJumped,
    SlotReleased,
)
from mayfly.core.gpu_health import Reading
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Config,
    Container,
    ContainerId,
    ContainerState,
    Continuity,
    Death,
    Desired,
    Generation,
    HostId,
    JobId,
    Phase,
    World,
)
from mayfly.core.notice import doubtful_until, notice, unopened, unprepared
from mayfly.core.plan import Plan
from mayfly.core.rosters import busy_without_job, namesakes
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.log import Log
from mayfly.edge.room import Room
from mayfly.edge.witness import Witnesses
from mayfly.engines.protocol import EngineEvent, EngineFacts, EventCursor, StreamTurn
from mayfly.service.bugs import Bug
from mayfly.service.clock import Clock
from mayfly.service.engine_observer import (
    EngineDenied,
    EngineObserver,
    EngineSnapshot,
    HostSurvey,
    Observation,
    PollFailed,
)
from mayfly.service.gpu_monitor import GpuMonitor, GpuObservation, Probed
from mayfly.service.ledger import Ledger
from mayfly.service.messages import Heard, Message, Reload, Rung, Stop
from mayfly.service.observed import ObservedState
from mayfly.service.pending_command import PendingCommand
from mayfly.service.perform import ActionResult, Done, Failed, Workers
from mayfly.service.poll_schedule import SURVEY_REST, TICK, PollSchedule
from mayfly.service.refusals import Trial
from mayfly.service.report import Report, own_health
from mayfly.service.roster_watch import EnrolmentTried, RosterFailed, RosterSeen, RosterSight
from mayfly.service.services import Services

OPENING = (
    0.02  # seconds between looks at the witness of a gate that was written and is not yet open
)
OPENING_MOST = 1.0
BUSY_REST = 60.0  # seconds before a service that would not let go of a busy agent is asked again
ENROL_REST = 5.0  # the same for one that gave no enrolment
LOOKS_OWED = 2  # the first may have begun before the Engine's events turned
NAME_REST = 10.0  # seconds until a slot's name that somebody else has is tried again
REST = 1.0  # seconds that a subject rests after an action on it failed
ROUNDS = 12  # of noticing and deciding in one pass; each has a cause in the one before


@dataclass(frozen=True, slots=True)
class Hands:
    """Who does, who looks, and who sees to GPUs; made after the loop, whose inbox they need."""

    workers: Workers
    observer: EngineObserver
    gpus: GpuMonitor


class Loop:
    """All state of the manager; ``run`` is its thread."""

    def __init__(
        self,
        *,
        config: Config,
        host: HostId,
        inbox: SimpleQueue[Message],
        ledger: Ledger,
        witnesses: Witnesses,
        services: Services,
        report: Report,
        log: Log,
        clock: Clock,
        run_id: str,
        reload: Callable[[], Config],
        known_job: Callable[[str], bool],
    ) -> None:
        self.inbox = inbox
        self.config = config
        self.host = host
        self.step = 0
        self._ledger = ledger
        self._witnesses = witnesses
        self._services = services
        self._report = report
        self._log = log
        self._clock = clock
        self._run_id = run_id
        self._reload = reload
        self._recorded_job = known_job
        self._observed = ObservedState(host)
        self._schedule = PollSchedule()
        self._survey = Survey()
        self._info: EngineFacts | None = None
        self._room: tuple[Room, ...] = ()
        self._rejected: str | None = None  # what was wrong with the file, the last time it was read
        self._desired = Desired(())
        self._in_flight: dict[str, tuple[Action, float]] = {}  # with the steady time of their begin
        self._resting: dict[str, float] = {}
        self._rung: set[Generation] = set()
        self._all_rung = True
        self._opening: dict[
            Generation, float
        ] = {}  # written gates, and how long to wait for a look
        self._lost: float | None = None  # since when the Engine has not answered
        self._stopping = False
        self._denied: Refused | None = None
        self._bound: Hands | None = None
        self._cursor: Callable[[], EventCursor | None] = lambda: None
        self._taken_cursor: EventCursor | None = None  # all events up to it have been taken in
        self._looks_owed = 0  # until what a turn of the Engine's events did has been seen

    @property
    def memory(self) -> Memory:
        """What is remembered, as of the last commit; a value that never changes."""
        return self._ledger.memory

    @property
    def images(self) -> frozenset[str]:
        """The images that are needed, by name, as far as that is known; read by the eye."""
        return references(self.config, self._hardware)

    @property
    def _hands(self) -> Hands:
        assert self._bound is not None, "bound before it runs"
        return self._bound

    @property
    def _hardware(self) -> Hardware:
        return self._hands.gpus.hardware

    def bind(self, hands: Hands, cursor: Callable[[], EventCursor | None]) -> None:
        """Who works for the loop, and what the Engine said last."""
        self._bound = hands
        self._cursor = cursor
        self._ledger.watch(self._safe_cursor)

    def run(self) -> None:
        """Take messages and make passes until a ``Stop``; ``Refused`` where the Engine must not be used."""
        self._hands.gpus.use_config(self.config)
        self._hands.workers.use_providers(self._services.use(self.config))
        self._make_desired()
        now = self._clock.now()
        if self._ledger.detect_host_boot(now):
            self._observed.engine_stopped(now)
        self._ledger.detect_clock_set_back(now)
        due: float | None = None
        while True:
            self._take_all(due)
            if self._denied is not None:
                raise self._denied
            if self._stopping:
                self._ledger.keep_cursor()
                return
            now = self._clock.now()
            self._detect_clock_jump(now)
            due = self._pass(now)
            # After the pass: a look wants the processor that a hand-over needs.
            self._all_rung |= self._schedule.ask(self._hands.observer, now)
            self._ledger.upkeep(now, self.config.host)

    def hear(self, generation: Generation, stream: int, line: bytes) -> None:
        """A line of an agent of a service; called on the output's thread, it only passes on what it means."""
        del stream
        agent = self.memory.agents.get(generation)
        sign = self._services.read(agent, line) if agent is not None else None
        if sign is not None:
            self.inbox.put(Heard(generation, sign))

    # -- messages ---------------------------------------------------------------------------------

    def _take_all(self, due: float | None) -> None:
        now = self._clock.now()
        wait = max(0.0, min(self._schedule.due, due if due is not None else now + TICK) - now)
        cursor = self._cursor()
        try:
            self._take(self.inbox.get(timeout=min(wait, TICK)))
            while True:
                self._take(self.inbox.get_nowait())
        except Empty:
            self._taken_cursor = cursor

    def _take(self, message: Message) -> None:
        match message:
            case Rung(generation=generation):
                self._rung.add(generation)
            case Heard():
                self._on_sign(message)
            case RosterSeen() | RosterFailed() | EnrolmentTried():
                self._on_roster(message)
            case Reading() | Probed():
                self._on_gpus(message)
            case Done() | Failed():
                self._on_result(message)
            case EngineSnapshot() | PollFailed() | HostSurvey() | EngineDenied():
                self._on_observation(message)
            case EngineEvent():
                self._on_event(message)
            case StreamTurn():
                self._on_turn(message)
            case PendingCommand():
                self._on_command(message)
            case Reload():
                self._read_config()
            case Bug() | Stop():
                self._on_news(message)
            case _:
                assert_never(message)

    def _on_news(self, message: Bug | Stop) -> None:
        """What concerns the manager itself."""
        if isinstance(message, Bug):
            self._report.erred(message, self._clock.now())
        else:
            self._stopping = True

    def _on_event(self, event: EngineEvent) -> None:
        now = self._clock.now()
        if event.kind == "image":
            self._schedule.survey_soon(now, SURVEY_REST)
            return
        if event.kind == "container" and event.host != self.host:
            return
        if event.action == "die" and event.generation is not None:
            death = Death(ContainerId(event.id), event.exit_code, event.at)
            self._observed.died(event.generation, death)
            self._rung.add(event.generation)
        self._schedule.soon(now)

    def _on_turn(self, turn: StreamTurn) -> None:
        now = self._clock.now()
        self._schedule.at_once(now)
        self._looks_owed = LOOKS_OWED
        if not turn.up:
            self._log.event("engine.stream_ended", reason=turn.why)
            self._report.metrics.stream_lost()
            self._lost = self._lost or now
            return
        if turn.continuity is Continuity.RESTARTED:
            self._observed.engine_stopped(self._lost or now)
            self._log.event("engine.restarted")
        elif turn.continuity is Continuity.UNKNOWN and not self._observed.known and self._lost:
            self._observed.engine_stopped(self._lost)
        self._lost = None
        self._schedule.survey_soon(now)

    def _on_observation(self, sight: Observation) -> None:
        self._schedule.answered()
        now = self._clock.now()
        match sight:
            case EngineSnapshot(began=began, containers=containers):
                self._looks_owed = max(0, self._looks_owed - 1)
                if not self._observed.known:
                    self._log.event("engine.back")
                if not self._observed.seen(began, containers, self.memory, now):
                    self._schedule.soon(now)
                self._all_rung = True
            case EngineDenied(fault=fault):
                self._denied = fault
            case PollFailed(fault=fault):
                if self._observed.known:
                    self._log.event("engine.lost", reason=str(fault))
                self._observed.unseen(str(fault))
                self._all_rung = True
            case HostSurvey(survey=survey, info=info, sizes=sizes, room=room):
                self._survey, self._info, self._room = survey, info, room
                self._observed.grown(sizes)
                self._make_desired()

    def _on_gpus(self, sight: GpuObservation) -> None:
        if self._hands.gpus.take(sight):
            self._make_desired()
            self._schedule.survey_soon(self._clock.now())

    def _on_sign(self, on_facts: Heard) -> None:
        agent = self.memory.agents.get(on_facts.generation)
        if agent is not None:
            fact = self._services.signed(agent, on_facts.sign, self._clock.now())
            if fact is not None:
                self._ledger.note(fact)

    def _on_roster(self, sight: RosterSight) -> None:
        now, pool = self._clock.now(), sight.pool
        kept = frozenset(spec.name for spec in self._desired.slots if spec.keeps_entries)
        if isinstance(sight, RosterSeen):
            self._observed.on_roster(pool, sight.roster, self.memory, kept, now)
            self._services.refused.listed(pool)
        elif isinstance(sight, RosterFailed):
            self._observed.on_roster(pool, None, self.memory, kept, now)
            self._services.refused.list_refused(pool, sight.fault)
        else:
            self._services.refused.tried(pool, sight.fault, now)
        self._make_desired()

    def _safe_cursor(self, memory: Memory) -> EventCursor | None:
        """The newest event that the next manager need not hear of again; ``None`` while there is doubt.

        What was told of an agent's end counts only once its account is on disk.
        """
        if self._looks_owed:
            return None
        world = self._observed.world()
        for agent in memory.agents.values():
            told = agent.generation in world.deaths or doubtful_until(agent, world) is not None
            if told and not agent.settled:
                return None
        return self._taken_cursor

    # -- results ----------------------------------------------------------------------------------

    def _on_result(self, result: ActionResult) -> None:
        self.step += 1
        action = result.action
        _, begun = self._in_flight.pop(action.subject, (action, self._clock.steady()))
        done = isinstance(result, Done)
        self._report.metrics.ended(action, self._clock.steady() - begun, done=done)
        if isinstance(result, Failed):
            self._on_failure(action, result.fault)
        elif result.busy and isinstance(action, Dismiss | SetSchedulable):
            self._on_busy(action, self._clock.now())
        else:
            self._on_done(result, self._clock.now())

    def _on_done(self, result: Done, now: float) -> None:
        action, note = result.action, self._ledger.note
        match action:
            case Prepare(generation=generation):
                assert result.container is not None
                fresh = _fresh_container(self.host, action, result.container, now)
                self._observed.made(self.step, fresh)
                note(AgentArmed(now, generation, result.container))
                self._rung.add(generation)
            case Enrol(generation=generation, pool=pool):
                assert result.enrolment is not None
                given = result.enrolment
                if pool in self._services.refused.by_pool:
                    self._services.refused.enrolled(pool)
                    self._make_desired()
                note(
                    AgentEnrolled(
                        now, generation, given.registration, given.registered, self._run_id
                    )
                )
            case Dismiss(generation=generation):
                if generation is not None:
                    note(AgentDismissed(now, generation))
                self._observed.dismissed(action.pool, action.registration)
            case SetSchedulable(generation=generation, cordoned=cordoned):
                note(AgentCordoned(now, generation, cordoned))
            case Open(generation=generation):
                self._opening[generation] = OPENING / 2
            case Rename(generation=generation, to=to):
                self._observed.renamed(self.step, generation, to)
            case Remove(generation=generation):
                self._observed.removed(self.step, generation)
                self._rung.add(generation)
            case Forget(generation=generation):
                self._observed.forgotten(generation)
                note(AgentRemoved(now, generation))
            case _:
                pass

    def _on_busy(self, action: Dismiss | SetSchedulable, now: float) -> None:
        """Its service left an agent alone that runs a job."""
        # Nobody tells a busy agent again, and its key is to be taken as soon as it has ended.
        rest = REST if isinstance(action, SetSchedulable) else BUSY_REST
        if action.generation is not None:
            self._ledger.note(AgentConfirmed(now, action.generation, Phase.BUSY))
        else:
            rest = REST
        self._resting[action.subject] = now + rest
        self._schedule.at_once(now)

    def _on_failure(self, action: Action, fault: Fault) -> None:
        now, subject = self._clock.now(), action.subject
        name = action_name(action)
        self._log.event("action.failed", action=name, slot=action.slot, reason=str(fault))
        lasting = isinstance(fault, Refused)
        again = fault.retry_after if isinstance(fault, Passing) else None
        agent = self.memory.agents.get(Generation(subject))
        match action:
            case Prepare() if agent is not None and not agent.settled:
                facts = unprepared(agent, str(fault), lasting, self._ledger.drafted, now)
                self._ledger.note(*facts)
            case Dismiss() | SetSchedulable() if lasting:
                self._resting[subject] = now + BUSY_REST
            case Enrol(pool=pool, labels=labels):
                if agent is not None and self._services.refused.enrolment_refused(
                    pool, fault, Trial(agent, labels), now
                ):
                    self._make_desired()
                self._resting[subject] = now + (again or ENROL_REST)
            case Rename(to=to):
                # Only the name rests: its agent may take a job meanwhile.
                self._resting[naming.naming_of(to)] = now + (NAME_REST if lasting else REST)
            case Open() if agent is not None:
                self._ledger.note(*unopened(agent, str(fault), self._ledger.drafted, now))
            case _:
                self._resting[subject] = now + (again or REST)
        self._schedule.at_once(now)

    # -- commands ---------------------------------------------------------------------------------

    def _on_command(self, pending: PendingCommand) -> None:
        try:
            result = effects(pending.command, self._situation(pending.command))
            if result.config is not None:
                self._use_config(result.config)
        except Fault as fault:
            result = refusal(409, "refused", str(fault))
        self._ledger.take(pending, result)

    def _situation(self, command: Command) -> Situation:
        """How things stand, with what this command needs looked up."""
        memory, now = self._ledger.drafted, self._clock.now()
        common = Situation(self.config, self._desired, memory, now, self._ledger.disk_error)
        match command:
            case SubmitJob() if common.disk_error is None:
                return replace(common, new_job=self._new_job(now))
            case CancelJob(job=job):
                return replace(common, job_known=self._known_job(job))
            case ReloadConfig():
                return replace(common, reread=self._reread())
            case PlanAhead():
                world = self._observed.world()
                world = self._hands.gpus.with_gpu_health(self._desired, memory, world, now)
                plan = self._decide(memory, world, now)
                return replace(common, plan=plan, headline=self._report.headline)
            case _:
                return common

    def _known_job(self, job: JobId) -> bool:
        """Whether a job of that id was ever there, or is promised."""
        return self._ledger.promised(job) or self._recorded_job(job)

    def _new_job(self, now: float) -> JobId:
        job = naming.job(now, secrets.randbelow(36**3))
        while self._known_job(job):
            job = naming.job(now, secrets.randbelow(36**3))
        return job

    def _reread(self) -> Reread:
        config = self._reload()
        traits = self._services.preview(config)
        return Reread(config, desired(config, self._survey, traits, hardware=self._hardware))

    def _read_config(self) -> None:
        self._report.reloading()
        try:
            self._use_config(self._reload())
        except Fault as fault:
            self._rejected = str(fault)
            self._log.event("config.rejected", reason=str(fault))
            self._report.metrics.reloaded(self._clock.now(), good=False)

    def _use_config(self, config: Config) -> None:
        self._hands.workers.use_providers(self._services.use(config))
        self.config, self._rejected = config, None
        self._hands.gpus.use_config(config)
        self._make_desired()
        now = self._clock.now()
        self._schedule.survey_soon(now)
        self._report.metrics.use(config)
        self._report.metrics.reloaded(now, good=True)
        self._log.event("config.loaded", pools=len(config.pools))

    # -- passes -----------------------------------------------------------------------------------

    def _pass(self, now: float) -> float | None:
        """Notice, decide, record, begin; when the next pass is due at the latest."""
        if self._ledger.rests(now):
            return self._ledger.retry_at
        steady = self._clock.steady()
        self._read_witnesses(now)
        before, world = self.memory, self._observed.world()
        facts = self._ledger.pending
        memory = apply(before, facts)
        self._hands.gpus.on_facts(facts)
        actions: list[Action] = []
        wake: float | None = None
        for _ in range(ROUNDS):
            blocked = frozenset(self._in_flight) | {action.subject for action in actions}
            noticed = notice(memory, world, now, self._services.judge, blocked)
            memory = apply(memory, noticed)
            world = self._hands.gpus.with_gpu_health(self._desired, memory, world, now)
            plan = self._decide(memory, world, now, also=blocked)
            memory = apply(memory, plan.facts)
            facts += [*noticed, *plan.facts]
            actions += plan.actions
            wake = plan.wake
            if not noticed and not plan.facts:
                break
        facts = self._hands.gpus.attributed(facts)
        recorded = not facts or self._ledger.commit(facts, memory, now)
        if recorded:
            self._begin(actions)
        else:
            memory, self._all_rung = before, True
        self._publish(memory, world, now, steady, recorded=recorded)
        if not recorded:
            return self._ledger.retry_at
        self._report.recorded(facts, before, memory)
        self._services.retry(fact.slot for fact in facts if isinstance(fact, SlotReleased))
        self._services.try_enrolments(memory, now)
        self._services.await_confirmation(memory)
        return self._due(memory, world, now, wake)

    def _due(self, memory: Memory, world: World, now: float, wake: float | None) -> float | None:
        dues = [until for until in self._resting.values() if until > now]
        dues += [now + wait for wait in self._opening.values()]
        gpus = self._hands.gpus.schedule(self._desired, memory, world, now)
        dues += [due for due in (wake, gpus) if due is not None]
        return min(dues, default=None)

    def _decide(
        self, memory: Memory, world: World, now: float, also: frozenset[str] = frozenset()
    ) -> Plan:
        self._resting = {subject: until for subject, until in self._resting.items() if until > now}
        return decide(
            self._desired,
            world,
            memory,
            now,
            run_id=self._run_id,
            mint=lambda: naming.generation(now, secrets.randbelow(36**5)),
            in_flight=frozenset(self._in_flight) | frozenset(self._resting) | also,
        )

    def _read_witnesses(self, now: float) -> None:
        agents = self.memory.agents
        self._await_launchers()
        wanted = agents.keys() if self._all_rung else self._rung
        if self._all_rung:
            for generation in self._observed.world().containers or {}:
                if generation not in agents:
                    self._read_witness(generation, now)
        for generation in wanted:
            agent = agents.get(generation)
            if agent is not None and not agent.settled:
                self._read_witness(generation, now)
        self._rung.clear()
        self._all_rung = False

    def _read_witness(self, generation: Generation, now: float) -> None:
        try:
            self._observed.testify(generation, self._witnesses.read(generation), now)
        except Fault as fault:
            self._observed.unreadable(generation)
            self._log.event("witness.unreadable", generation=generation, reason=str(fault))

    def _await_launchers(self) -> None:
        """A launcher that passes its gate rings no bell: its witness is looked at until it has."""
        for generation, wait in list(self._opening.items()):
            agent = self.memory.agents.get(generation)
            if agent is None or agent.opened is not None or agent.doom is not None or agent.settled:
                del self._opening[generation]
            else:
                self._opening[generation] = min(wait * 2, OPENING_MOST)
                self._rung.add(generation)

    def _begin(self, actions: list[Action]) -> None:
        for action in actions:
            self._in_flight[action.subject] = (action, self._clock.steady())
            self._report.metrics.begun(action)
            agent = self.memory.agents.get(Generation(action.subject))
            self._hands.workers.begin(action, agent)

    def _publish(
        self, memory: Memory, world: World, now: float, began: float, *, recorded: bool
    ) -> None:
        if self._info is None and world.engine_error is None:
            return  # what was not looked at yet is neither there nor missing: no slot is held for that
        health = own_health(self._ledger.disk_error, self._info, self._rejected, self._room)
        health += self._hands.gpus.health(self.config, self._survey, now)
        doubted = busy_without_job(memory, world, now, self._services.judge)
        rows = self._report.publish(
            self.config.host, self._desired, memory, world, now, health, doubted
        )
        steady = self._clock.steady()
        self._report.metrics.passed(
            rows, memory, world, now, steady, steady - began, recorded=recorded
        )

    def _detect_clock_jump(self, now: float) -> None:
        """Move all times with a wall clock that jumped, so that nothing ages by it."""
        by = self._clock.jumped()
        if not by:
            return
        self._ledger.note(ClockJumped(now, by))
        self._ledger.reset_timers()
        self._observed.shift(by)
        self._resting = {subject: until + by for subject, until in self._resting.items()}
        self._schedule.reset_timers(now)
        if self._lost is not None:
            self._lost += by

    def _make_desired(self) -> None:
        self._desired = desired(
            self.config,
            self._survey,
            self._services.traits,
            hardware=self._hardware,
            refusals=self._services.refused.by_pool,
            namesakes=namesakes(self._observed.rosters),
        )


def _fresh_container(
    host: HostId, action: Prepare, container: ContainerId, now: float
) -> Container:
    spec = action.spec
    return Container(
        id=container,
        name=action.name,
        state=ContainerState.RUNNING,
        host=host,
        pool=spec.pool.name,
        slot=spec.name,
        generation=action.generation,
        fingerprint=spec.fingerprint,
        image=spec.image,
        created=now,
    )
