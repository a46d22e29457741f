"""The loop: the one thread that owns all state.

Others put messages into its inbox: the Engine's bell, what the eye saw, what came of actions, what people
order. After each batch it makes passes: notice, decide, record, begin. Nothing is begun before what led to
it is on disk; where the disk does not take it, nothing is begun at all and the next pass tries again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import assert_never

from manager.core import naming
from manager.core.actions import (
    Action,
    Bury,
    Dismiss,
    Enrol,
    Open,
    Prepare,
    Remove,
    Rename,
    Tell,
)
from manager.core.decide import Plan, decide
from manager.core.desire import Hardware, Survey, Trait, desired, references
from manager.core.gpu_health import Reading
from manager.core.memory import (
    AgentArmed,
    AgentConfirmed,
    AgentDismissed,
    AgentEnrolled,
    AgentOpened,
    AgentRemoved,
    AgentTold,
    ClockJumped,
    Fact,
    Memory,
    ahead,
    apply,
)
from manager.core.model import (
    Config,
    Container,
    ContainerId,
    ContainerState,
    Continuity,
    Death,
    Desired,
    Generation,
    Health,
    HostId,
    JobId,
    Phase,
    PoolName,
    PoolSpec,
    Severity,
    World,
)
from manager.core.notice import notice, unopened, unprepared
from manager.core.outcomes import End, Outcome, Result
from manager.core.rosters import namesakes
from manager.core.slots import CLOCK_SLACK
from manager.edge.boot import host_boot
from manager.edge.engine_facts import EngineEvent, EngineInfo, EventMark, StreamTurn
from manager.edge.faults import AgentBusy, Fault, Passing, Refused
from manager.edge.history import History, Payload
from manager.edge.log import Log
from manager.edge.witness import Witnesses
from manager.providers import Provider, Sign
from manager.service import orders, status
from manager.service.board import Board
from manager.service.clock import Clock
from manager.service.commands import Command
from manager.service.eye import Denied, Eye, Seen, Sight, Surveyed, Unseen
from manager.service.gpu_desk import GpuDesk, GpuSight, Probed
from manager.service.outlook import Outlook
from manager.service.perform import Done, Failed, Workers
from manager.service.perform import Outcome as Performed
from manager.service.rosters import RosterFailed, RosterSeen, RosterSight, RosterWatch

TICK = 5.0  # seconds between looks that nobody rang for
LOOK_REST = 0.1  # seconds between two looks at the least, however often the Engine's bell rings
SCRUB_EVERY = 1.0  # seconds that what was erased may still stand in the write-ahead log
SURVEY_EVERY = 30.0
UPKEEP_EVERY = 600.0
OPENING = (
    0.02  # seconds between looks at the witness of a gate that was written and is not yet open
)
OPENING_MOST = 1.0
BUSY_REST = 60.0  # seconds before a service that would not let go of a busy agent is asked again
ENROL_REST = 5.0  # the same for one that gave no enrolment
NAME_REST = 10.0  # seconds until a slot's name that somebody else has is tried again
REST = 1.0  # seconds that a subject rests after an action on it failed
ROUNDS = 12  # of noticing and deciding in one pass; each has a cause in the one before
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Rung:
    """An agent may have something to say."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Stop:
    """The manager is to stop; agents go on."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The configuration is to be read again."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A line of an agent's output that means something to its provider."""

    generation: Generation
    sign: Sign


Message = (
    Rung
    | Heard
    | RosterSight
    | GpuSight
    | Stop
    | Reload
    | EngineEvent
    | StreamTurn
    | Sight
    | Performed
    | Command
)


@dataclass(slots=True)
class _Pending:
    """What the next commit must put on disk, and who waits for it."""

    facts: list[Fact]  # what came of actions: true whether or not the disk takes it
    ordered: list[Fact]  # what people ordered: done only once it is on disk
    payloads: dict[JobId, Payload]
    answers: list[tuple[Command, int, Mapping[str, object]]]


class Loop:
    """All state of the manager; ``run`` is its thread."""

    def __init__(
        self,
        *,
        config: Config,
        host: HostId,
        history: History,
        witnesses: Witnesses,
        provide: Callable[[PoolSpec], Provider],
        board: Board,
        log: Log,
        clock: Clock,
        boot: str,
        reload: Callable[[], Config],
        known_job: Callable[[str], bool],
    ) -> None:
        self.inbox: SimpleQueue[Message] = SimpleQueue()
        self.config = config
        self.host = host
        self.step = 0
        self._history = history
        self._witnesses = witnesses
        self._provide = provide
        self._providers: Mapping[PoolName, Provider] = {
            pool.name: provide(pool) for pool in config.pools
        }
        self._watches: dict[PoolName, RosterWatch] = {}
        self._refusals: dict[PoolName, str] = {}
        self._board = board
        self._log = log
        self._clock = clock
        self._boot = boot
        self._reload = reload
        self._known_job = known_job
        self._memory: Memory = history.load()
        self._outlook = Outlook(host)
        self._survey = Survey()
        self._info: EngineInfo | None = None
        self._desired = Desired(())
        self._in_flight: dict[str, Action] = {}
        self._resting: dict[str, float] = {}
        self._rung: set[Generation] = set()
        self._all_rung = True
        self._opening: dict[
            Generation, float
        ] = {}  # written gates, and how long to wait before a look
        self._pending = _Pending([], [], {}, [])
        self._lost: float | None = None  # since when the Engine has not answered
        self._disk_error: str | None = None
        self._headline = ""
        self._stopping = False
        self._denied: Refused | None = None
        self._next_look = 0.0
        self._look_pending = False  # the eye was asked and has not answered
        self._looked = 0.0  # when the last look was asked for
        self._next_survey = 0.0
        self._next_upkeep = 0.0
        self._next_scrub = 0.0
        self._mark: Callable[[], EventMark | None] = lambda: None
        self._kept_mark: EventMark | None = None
        self._after_pass: Callable[[str], None] = lambda sentence: None
        self._retry_at: float | None = None
        self._workers: Workers | None = None
        self._eye: Eye | None = None
        self._gpus: GpuDesk | None = None

    @property
    def memory(self) -> Memory:
        """What is remembered, as of the last commit; a value that never changes."""
        return self._memory

    @property
    def images(self) -> frozenset[str]:
        """The images that are needed, by name, as far as that is known; read by the eye."""
        return references(self.config, self._hardware)

    @property
    def _hardware(self) -> Hardware:
        return self._desk.hardware

    @property
    def _desk(self) -> GpuDesk:
        assert self._gpus is not None, "bound before it runs"
        return self._gpus

    def bind(
        self,
        workers: Workers,
        eye: Eye,
        mark: Callable[[], EventMark | None],
        after_pass: Callable[[str], None],
        gpus: GpuDesk,
    ) -> None:
        """Who does, who looks, what the Engine said last, who hears each pass's sentence, who sees to GPUs."""
        self._gpus = gpus
        self._workers = workers
        self._eye = eye
        self._mark = mark
        self._after_pass = after_pass

    def run(self) -> None:
        """Take messages and make passes until a ``Stop``; ``Refused`` where the Engine must not be used."""
        self._desk.use_config(self.config)
        self._make_desired()
        self._heed_a_clock_set_back()
        self._heed_host_boot()
        assert self._workers is not None
        self._workers.use_providers(self._providers)
        for pool, provider in self._providers.items():
            self._watch(pool, provider)
        due: float | None = None
        while True:
            self._take_all(due)
            if self._denied is not None:
                raise self._denied
            if self._stopping:
                self._keep_mark()
                return
            now = self._clock.now()
            self._heed_clock(now)
            due = self._pass(now)
            self._ask_eye(now)  # after the pass: a look wants the processor that a hand-over needs
            self._upkeep(now)

    def hear(self, generation: Generation, stream: int, line: bytes) -> None:
        """A line of an agent of a service; called on the output's thread, it only passes on what it means."""
        del stream
        agent = self._memory.agents.get(generation)
        provider = self._providers.get(agent.pool) if agent is not None else None
        sign = provider.read(line.decode(errors="replace")) if provider is not None else None
        if sign is not None:
            self.inbox.put(Heard(generation, sign))

    # -- messages ---------------------------------------------------------------------------------

    def _take_all(self, due: float | None) -> None:
        now = self._clock.now()
        wait = max(0.0, min(self._next_look, due if due is not None else now + TICK) - now)
        try:
            self._take(self.inbox.get(timeout=min(wait, TICK)))
            while True:
                self._take(self.inbox.get_nowait())
        except Empty:
            return

    def _take(self, message: Message) -> None:
        match message:
            case Rung(generation=generation):
                self._rung.add(generation)
            case Heard():
                self._take_sign(message)
            case RosterSeen() | RosterFailed():
                self._take_roster(message)
            case Reading() | Probed():
                self._take_gpus(message)
            case Done() | Failed():
                self._take_result(message)
            case Seen() | Unseen() | Surveyed() | Denied():
                self._take_sight(message)
            case EngineEvent():
                self._take_event(message)
            case StreamTurn():
                self._take_turn(message)
            case Command():
                self._take_command(message)
            case Reload():
                self._read_config()
            case Stop():
                self._stopping = True
            case _:
                assert_never(message)

    def _take_event(self, event: EngineEvent) -> None:
        now = self._clock.now()
        if event.kind == "image":
            self._next_survey = min(self._next_survey, now + 0.2)
            return
        if event.kind == "container" and event.host != self.host:
            return
        if event.action == "die" and event.generation is not None:
            death = Death(ContainerId(event.id), event.exit_code, event.at)
            self._outlook.died(event.generation, death)
            self._rung.add(event.generation)
        self._look_soon(now)

    def _take_turn(self, turn: StreamTurn) -> None:
        now = self._clock.now()
        self._next_look = now
        if not turn.up:
            self._log.event("engine.stream_ended", reason=turn.why)
            self._lost = self._lost or now
            return
        if turn.continuity is Continuity.RESTARTED:
            self._outlook.engine_stopped(self._lost or now)
            self._log.event("engine.restarted")
        elif turn.continuity is Continuity.UNKNOWN and not self._outlook.known and self._lost:
            self._outlook.engine_stopped(self._lost)
        self._lost = None
        self._next_survey = now

    def _take_sight(self, sight: Sight) -> None:
        self._look_pending = False
        now = self._clock.now()
        match sight:
            case Seen(began=began, containers=containers):
                if not self._outlook.known:
                    self._log.event("engine.back")
                if not self._outlook.seen(began, containers, self._memory, now):
                    self._look_soon(now)
                self._all_rung = True
            case Denied(fault=fault):
                self._denied = fault
            case Unseen(fault=fault):
                if self._outlook.known:
                    self._log.event("engine.lost", reason=str(fault))
                self._outlook.unseen(str(fault))
                self._all_rung = True
            case Surveyed(survey=survey, info=info, sizes=sizes):
                self._survey, self._info = survey, info
                self._outlook.grown(sizes)
                self._make_desired()

    def _take_gpus(self, sight: GpuSight) -> None:
        if self._desk.take(sight):
            self._make_desired()
            self._next_survey = self._clock.now()

    def _take_result(self, result: Performed) -> None:
        self.step += 1
        action = result.action
        self._in_flight.pop(action.subject, None)
        if isinstance(result, Failed):
            self._take_failure(action, result.fault)
            return
        now = self._clock.now()
        match action:
            case Prepare(generation=generation):
                assert result.container is not None
                self._outlook.made(
                    self.step, _fresh_container(self.host, action, result.container, now)
                )
                self._pending.facts.append(AgentArmed(now, generation, result.container))
                self._rung.add(generation)
            case Enrol(generation=generation):
                assert result.enrolment is not None
                given = result.enrolment
                self._pending.facts.append(
                    AgentEnrolled(now, generation, given.registration, given.registered)
                )
            case Dismiss(generation=generation):
                if generation is not None:
                    self._pending.facts.append(AgentDismissed(now, generation))
                self._outlook.dismissed(action.pool, action.registration)
            case Tell(generation=generation, cordoned=cordoned):
                self._pending.facts.append(AgentTold(now, generation, cordoned))
            case Open(generation=generation):
                self._opening[generation] = OPENING / 2
            case Rename(generation=generation, to=to):
                self._outlook.renamed(self.step, generation, to)
            case Remove(generation=generation):
                self._outlook.removed(self.step, generation)
                self._rung.add(generation)
            case Bury(generation=generation):
                self._outlook.buried(generation)
                self._pending.facts.append(AgentRemoved(now, generation))
            case _:
                pass

    def _take_sign(self, heard: Heard) -> None:
        """A client's line confirms only where no roster does; otherwise it makes us ask for one."""
        agent = self._memory.agents.get(heard.generation)
        provider = self._providers.get(agent.pool) if agent is not None else None
        if agent is None or provider is None or agent.settled:
            return
        phase = {"listening": Phase.IDLE, "job_started": Phase.BUSY}.get(heard.sign.kind)
        if provider.proof == "roster":
            self._watches[agent.pool].soon()
        elif phase is not None and agent.confirmed is not phase and not agent.busy:
            self._pending.facts.append(AgentConfirmed(self._clock.now(), agent.generation, phase))

    def _take_roster(self, sight: RosterSight) -> None:
        now, pool = self._clock.now(), sight.pool
        kept = frozenset(spec.name for spec in self._desired.slots if spec.keeps_entries)
        if isinstance(sight, RosterSeen):
            self._outlook.enlisted(pool, sight.roster, self._memory, kept, now)
            if self._refusals.pop(pool, None) is not None:
                self._log.event("provider.back", pool=pool)
        else:
            self._outlook.enlisted(pool, None, self._memory, kept, now)
            self._refused(pool, sight.fault)
        self._make_desired()

    def _refused(self, pool: PoolName, fault: Fault) -> None:
        """A service that refuses us holds its pool until it answers again."""
        if isinstance(fault, Refused) and self._refusals.get(pool) != str(fault):
            self._log.event("provider.refused", pool=pool, reason=str(fault))
            self._refusals[pool] = str(fault)
            self._make_desired()

    def _take_failure(self, action: Action, fault: Fault) -> None:
        now = self._clock.now()
        self._log.event(
            "action.failed",
            action=type(action).__name__.lower(),
            slot=action.slot,
            reason=str(fault),
        )
        lasting = isinstance(fault, Refused)
        agent = self._memory.agents.get(Generation(action.subject))
        match action:
            case Prepare() if agent is not None and not agent.settled:
                memory = apply(self._memory, self._pending.facts)
                self._pending.facts.extend(unprepared(agent, str(fault), lasting, memory, now))
            case Dismiss(generation=generation) | Tell(generation=generation) if (
                isinstance(fault, AgentBusy) and generation is not None
            ):
                self._pending.facts.append(AgentConfirmed(now, generation, Phase.BUSY))
                self._resting[action.subject] = now + BUSY_REST
            case Dismiss() | Tell() if lasting:
                self._resting[action.subject] = now + BUSY_REST
            case Enrol(pool=pool):
                self._refused(pool, fault)
                rest = fault.retry_after if isinstance(fault, Passing) else None
                self._resting[action.subject] = now + (rest or ENROL_REST)
            case Open() if agent is not None:
                memory = apply(self._memory, self._pending.facts)
                self._pending.facts.extend(unopened(agent, str(fault), memory, now))
            case Rename(to=to):
                # Only the name rests: its agent may take a job meanwhile.
                self._resting[naming.naming_of(to)] = now + (NAME_REST if lasting else REST)
            case _:
                rest = fault.retry_after if isinstance(fault, Passing) else None
                self._resting[action.subject] = now + (rest or REST)
        self._next_look = now

    # -- orders -----------------------------------------------------------------------------------

    def _take_command(self, command: Command) -> None:
        now = self._clock.now()
        memory = apply(self._memory, [*self._pending.facts, *self._pending.ordered])
        try:
            order = self._order(command, memory, now)
        except Fault as fault:
            order = orders.refusal(409, "refused", str(fault))
        if order.facts:
            self._pending.ordered.extend(order.facts)
            self._pending.answers.append((command, order.status, order.body))
        else:
            command.answer(order.status, order.body)

    def _order(self, command: Command, memory: Memory, now: float) -> orders.Order:
        given, by = command.arguments, command.caller.name
        slots = _names(given.get("slots"))
        match command.verb:
            case "submit":
                return self._submit(given, memory, now)
            case "cancel":
                job = JobId(str(given["job"]))
                return orders.cancel(memory, job, self._known_job(job), by, now)
            case "cordon":
                return orders.cordon(
                    self._desired,
                    memory,
                    slots or (),
                    by,
                    now,
                    note=str(given.get("note") or ""),
                    until=_number(given.get("until")),
                )
            case "uncordon":
                return orders.uncordon(self._desired, memory, slots or (), by, now)
            case "drain":
                force = bool(given.get("force"))
                return orders.drain(self._desired, memory, slots, by, now, force=force)
            case "recycle":
                return orders.recycle(self._desired, memory, slots or (), by, now)
            case "retry":
                return orders.retry(self._desired, memory, slots or (), by, now)
            case "pause":
                return orders.pause(by, str(given.get("note") or ""), now)
            case "resume":
                return orders.resume(memory, by, now)
            case "reload":
                return self._reload_order(dry_run=bool(given.get("dry_run")))
            case "plan":
                return self._plan_order(memory, now)
            case _:
                return orders.refusal(400, "no_such_verb", f"there is no verb {command.verb!r}")

    def _submit(self, given: Mapping[str, object], memory: Memory, now: float) -> orders.Order:
        if self._disk_error is not None:
            return orders.refusal(503, "no_disk", f"the job was not accepted: {self._disk_error}")
        job = naming.job(now, secrets.randbelow(36**3))
        while job in memory.jobs or job in self._pending.payloads or self._known_job(job):
            job = naming.job(now, secrets.randbelow(36**3))
        pool = given.get("pool")
        order = orders.submit(
            self.config,
            memory,
            job,
            str(pool) if pool is not None else None,
            _number(given.get("timeout")),
            now,
        )
        if order.facts:
            argv, env = given.get("argv"), given.get("env")
            assert isinstance(argv, (list, tuple))
            assert isinstance(env, Mapping)
            self._pending.payloads[job] = Payload(
                tuple(str(word) for word in argv), {str(k): str(v) for k, v in env.items()}
            )
        return order

    def _reload_order(self, *, dry_run: bool) -> orders.Order:
        config = self._reload()
        before = {spec.name: spec for spec in self._desired.slots}
        wanted = desired(config, self._survey, self._traits(), hardware=self._hardware)
        after = {spec.name: spec for spec in wanted.slots}
        changes = {
            "added": [name for name in after if name not in before],
            "removed": [name for name in before if name not in after],
            "replaced": [
                name
                for name, spec in after.items()
                if name in before and before[name].fingerprint != spec.fingerprint
            ],
        }
        if not dry_run:
            self._use_config(config)
        held = dict(wanted.obstacles)
        return orders.Order(200, {"dry_run": dry_run, **changes, "held": held})

    def _read_config(self) -> None:
        try:
            self._use_config(self._reload())
        except Fault as fault:
            self._log.event("config.rejected", reason=str(fault))

    def _use_config(self, config: Config) -> None:
        self._use_providers(config)
        self.config = config
        self._desk.use_config(config)
        self._make_desired()
        self._next_survey = self._clock.now()
        self._log.event("config.loaded", pools=len(config.pools))

    def _plan_order(self, memory: Memory, now: float) -> orders.Order:
        world = self._desk.dress(self._desired, memory, self._outlook.world(), now)
        plan = self._decide(memory, world, now)
        return orders.Order(
            200,
            {
                "schema": "mayfly.plan/1",
                "headline": self._headline,
                "actions": [
                    {
                        "action": type(action).__name__.lower(),
                        "slot": action.slot,
                        "subject": action.subject,
                        "reason": action.reason,
                    }
                    for action in plan.actions
                ],
            },
        )

    # -- passes -----------------------------------------------------------------------------------

    def _pass(self, now: float) -> float | None:
        """Notice, decide, record, begin; when the next pass is due at the latest."""
        if self._retry_at is not None and now < self._retry_at and not self._pending.answers:
            return self._retry_at
        self._read_witnesses(now)
        world = self._outlook.world()
        facts = [*self._pending.facts, *self._pending.ordered]
        memory = apply(self._memory, facts)
        self._desk.heard(facts)
        actions: list[Action] = []
        wake: float | None = None
        for _ in range(ROUNDS):
            blocked = frozenset(self._in_flight) | {action.subject for action in actions}
            noticed = notice(memory, world, now, self._judge, blocked)
            memory = apply(memory, noticed)
            world = self._desk.dress(self._desired, memory, world, now)
            plan = self._decide(memory, world, now, also=blocked)
            memory = apply(memory, plan.facts)
            facts += [*noticed, *plan.facts]
            actions += plan.actions
            wake = plan.wake
            if not noticed and not plan.facts:
                break
        facts = self._desk.attributed(facts)
        if facts and not self._commit(facts, memory, now):
            return self._retry_at
        self._begin(actions)
        self._publish(memory, world, now)
        self._tell(facts)
        self._await_services()
        dues = [until for until in self._resting.values() if until > now]
        dues += [now + wait for wait in self._opening.values()]
        gpus = self._desk.tend(self._desired, memory, world, now)
        dues += [gpus] if gpus is not None else []
        return min([*dues, wake] if wake is not None else dues, default=None)

    def _decide(
        self, memory: Memory, world: World, now: float, also: frozenset[str] = frozenset()
    ) -> Plan:
        self._resting = {subject: until for subject, until in self._resting.items() if until > now}
        return decide(
            self._desired,
            world,
            memory,
            now,
            boot=self._boot,
            mint=lambda: naming.generation(now, secrets.randbelow(36**5)),
            in_flight=frozenset(self._in_flight) | frozenset(self._resting) | also,
        )

    def _judge(self, pool: PoolName, end: End, signs: tuple[str, ...]) -> Outcome:
        provider = self._providers.get(pool)
        if provider is None:
            return Outcome(Result.UNKNOWN, detail="its pool is not configured any more")
        return provider.judge(end, signs)

    def _read_witnesses(self, now: float) -> None:
        agents = self._memory.agents
        self._await_launchers()
        wanted = agents.keys() if self._all_rung else self._rung
        if self._all_rung:
            for generation in self._outlook.world().containers or {}:
                if generation not in agents:
                    self._outlook.testify(generation, self._witnesses.read(generation), now)
        for generation in wanted:
            agent = agents.get(generation)
            if agent is not None and not agent.settled:
                self._outlook.testify(generation, self._witnesses.read(generation), now)
        self._rung.clear()
        self._all_rung = False

    def _await_services(self) -> None:
        """Agents that their service has not confirmed yet are asked for sooner."""
        for agent in self._memory.agents.values():
            if not agent.queue and agent.opened is not None and agent.confirmed is None:
                watch = self._watches.get(agent.pool)
                if watch is not None and not agent.settled:
                    watch.soon()

    def _await_launchers(self) -> None:
        """A launcher that passes its gate rings no bell: its witness is looked at until it has."""
        for generation, wait in list(self._opening.items()):
            agent = self._memory.agents.get(generation)
            if agent is None or agent.opened is not None or agent.doom is not None or agent.settled:
                del self._opening[generation]
            else:
                self._opening[generation] = min(wait * 2, OPENING_MOST)
                self._rung.add(generation)

    def _commit(self, facts: list[Fact], memory: Memory, now: float) -> bool:
        """Put the facts on disk; False where it did not take them, and then nothing has happened."""
        pending = self._pending
        mark = self._mark()
        try:
            self._history.commit(facts, memory, pending.payloads, mark=_mark_text(mark))
        except Fault as fault:
            self._refuse_all(str(fault))
            self._retry_at = now + REST
            self._publish(self._memory, self._outlook.world(), now)
            return False
        if self._disk_error is not None:
            self._log.event("disk.back")
        self._disk_error, self._retry_at = None, None
        self._kept_mark = mark
        self._memory = memory
        self._pending = _Pending([], [], {}, [])
        for command, code, body in pending.answers:
            command.answer(code, body)
        return True

    def _refuse_all(self, reason: str) -> None:
        """Nothing was recorded: orders are refused, results of actions wait for the next pass."""
        if self._disk_error is None:
            self._log.event("disk.lost", reason=reason)
        self._disk_error = reason
        for command, _, _ in self._pending.answers:
            command.answer(503, {"error": f"nothing was changed: {reason}", "kind": "no_disk"})
        self._pending = _Pending(self._pending.facts, [], {}, [])
        self._all_rung = True

    def _begin(self, actions: list[Action]) -> None:
        assert self._workers is not None
        for action in actions:
            self._in_flight[action.subject] = action
            agent = self._memory.agents.get(Generation(action.subject))
            self._workers.begin(action, agent)

    def _publish(self, memory: Memory, world: World, now: float) -> None:
        if self._info is None and world.engine_error is None:
            return  # what was not looked at yet is neither there nor missing: no slot is held for that
        rows = status.statuses(self._desired, memory, now)
        headline = status.headline(rows, memory, world)
        health = status.health_of(rows, memory, world, now) + self._own_health()
        health += self._desk.health(self.config, now)
        self._board.publish(
            status.document(self.config.host, rows, memory, world, headline, health)
        )
        if headline != self._headline:
            self._log.event("pass.ended", headline)
            self._headline = headline
        self._after_pass(headline)

    def _own_health(self) -> list[Health]:
        lines = []
        if self._disk_error is not None:
            text = (
                f"{self._disk_error}; no gate is opened until it can be written, running jobs go on"
            )
            lines.append(Health("disk.refused", Severity.ERROR, text, "df -h"))
        if self._info is not None and not self._info.live_restore:
            lines.append(
                Health(
                    "engine.restart_ends_jobs",
                    Severity.INFO,
                    "live-restore is off: a restart of Docker ends the jobs that run",
                    'set "live-restore": true in /etc/docker/daemon.json, then reload Docker',
                )
            )
        return lines

    def _tell(self, facts: list[Fact]) -> None:
        for fact in facts:
            self._log.fact(fact, self._memory)

    # -- upkeep -----------------------------------------------------------------------------------

    def _heed_host_boot(self) -> None:
        """After a crash of the host a missing ``opened`` proves nothing: it may not have reached the disk.

        An agent whose gate was being opened then counts as opened, so that its job is never run twice.
        """
        boot = host_boot()
        if self._history.meta("host_boot") not in (None, boot):
            now = self._clock.now()
            self._outlook.engine_stopped(now)
            self._pending.facts.extend(
                AgentOpened(now, agent.generation)
                for agent in self._memory.agents.values()
                if agent.committed is not None and agent.opened is None and not agent.settled
            )
        self._history.set_meta("host_boot", boot)

    def _heed_a_clock_set_back(self) -> None:
        """Nothing was remembered in the future: the clock was set back while no manager ran."""
        now = self._clock.now()
        by = ahead(self._memory, now)
        if by > CLOCK_SLACK:
            self._pending.facts.append(ClockJumped(now, -by))

    def _heed_clock(self, now: float) -> None:
        """Move all times with a wall clock that jumped, so that nothing ages by it."""
        by = self._clock.jumped()
        if not by:
            return
        self._pending.facts.append(ClockJumped(now, by))
        self._outlook.shift(by)
        self._resting = {subject: until + by for subject, until in self._resting.items()}
        self._next_look = self._next_survey = self._next_upkeep = self._next_scrub = now
        self._looked = 0.0
        if self._lost is not None:
            self._lost += by

    def _look_soon(self, now: float) -> None:
        """At once after a quiet while; while much is going on, a few times a second for all of it."""
        self._next_look = min(self._next_look, max(now, self._looked + LOOK_REST))

    def _ask_eye(self, now: float) -> None:
        assert self._eye is not None
        if now >= min(self._next_look, self._next_survey):
            # An Engine that hangs rings no bell: the witnesses are looked at all the same.
            self._all_rung |= self._look_pending
            self._look_pending = True
        if now >= self._next_survey:
            self._next_survey = now + SURVEY_EVERY
            self._looked, self._next_look = now, now + TICK
            self._eye.survey()
        elif now >= self._next_look:
            self._looked, self._next_look = now, now + TICK
            self._eye.look()
        self._next_look = min(self._next_look, now + TICK)

    def _upkeep(self, now: float) -> None:
        if now >= self._next_scrub:
            self._history.scrub()
            self._next_scrub = now + SCRUB_EVERY
        if now < self._next_upkeep:
            return
        self._next_upkeep = now + UPKEEP_EVERY
        host = self.config.host
        try:
            self._history.prune(now - host.history_days * DAY, host.history_events)
        except Fault as fault:
            self._log.event("history.prune_failed", reason=str(fault))

    def _keep_mark(self) -> None:
        mark = self._mark()
        text = _mark_text(mark)
        if text is not None and mark != self._kept_mark:
            try:
                self._history.set_meta("engine_mark", text)
            except Fault as fault:
                self._log.event("disk.lost", reason=str(fault))

    def _make_desired(self) -> None:
        self._desired = desired(
            self.config,
            self._survey,
            self._traits(),
            hardware=self._hardware,
            refusals=self._refusals,
            namesakes=namesakes(self._outlook.rosters),
        )

    def _traits(self) -> dict[PoolName, Trait]:
        return {name: _trait(provider) for name, provider in self._providers.items()}

    def _use_providers(self, config: Config) -> None:
        """The providers of the pools; one of a pool that is gone stays, since its agents may still be there."""
        providers = dict(self._providers)
        before = {pool.name: pool for pool in self.config.pools}
        for pool in config.pools:
            if pool.name not in providers or before.get(pool.name) != pool:
                providers[pool.name] = self._provide(pool)
                self._watch(pool.name, providers[pool.name])
        self._providers = providers
        assert self._workers is not None
        self._workers.use_providers(providers)

    def _watch(self, pool: PoolName, provider: Provider) -> None:
        before = self._watches.pop(pool, None)
        if before is not None:
            before.stop()
        if not provider.queue:
            self._watches[pool] = RosterWatch(pool, provider, self.inbox.put)


def _trait(provider: Provider) -> Trait:
    return Trait(
        queue=provider.queue,
        ladder=provider.stop_ladder,
        enrol_deadline=provider.enrol_deadline,
        tells=provider.tells,
        keeps_entries=provider.keeps_entries,
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


def _names(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    assert isinstance(value, (list, tuple))
    return tuple(str(name) for name in value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _mark_text(mark: EventMark | None) -> str | None:
    return f"{mark.time_nano} {mark.id} {mark.action}" if mark is not None else None


def mark_from(text: str | None) -> EventMark | None:
    """The mark that was kept as text; ``None`` where none was."""
    if text is None:
        return None
    time_nano, identity, action = text.split(" ", 2)
    return EventMark(int(time_nano), identity, action)
