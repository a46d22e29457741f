"""What each stimulus makes of the state, and what is asked of the outside for it.

Nothing is decided here: a stimulus says what is so, and what follows from that is `machine`'s. Facts that
have happened already (an action came to its end) wait in the state to be recorded with the next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from mayfly.core import bench_lane, naming
from mayfly.core.actions import (
    AcquireJobs,
    Action,
    CheckSandbox,
    Clear,
    Dismiss,
    Enrol,
    Forget,
    Freeze,
    LockClocks,
    MakeSandbox,
    Open,
    Prepare,
    Remove,
    RemoveSandbox,
    Rename,
    SetSchedulable,
    StartAgain,
    Subject,
    TakeResults,
    Thaw,
    UnlockClocks,
    Weigh,
    action_name,
)
from mayfly.core.allocations import AllocationsSeen
from mayfly.core.apply import ahead
from mayfly.core.contact import ServiceAction, call_kind
from mayfly.core.desire import desired
from mayfly.core.dispatch import Dispatch
from mayfly.core.facts import (
    AgentArmed,
    AgentCleared,
    AgentConfirmed,
    AgentCordoned,
    AgentDismissed,
    AgentEnrolled,
    AgentOpened,
    AgentRemoved,
    ClockJumped,
    ClocksLocked,
    ClocksRefused,
    ClocksUnlocked,
    Fact,
    ResultsTaken,
    WaitingCancelled,
    WaitingCancelling,
)
from mayfly.core.healing import after_reset
from mayfly.core.held_jobs import not_started
from mayfly.core.isolation import Isolation
from mayfly.core.model import (
    Config,
    Container,
    ContainerId,
    ContainerState,
    Continuity,
    DoomReason,
    Excess,
    Generation,
    HostId,
    Phase,
    PoolName,
    Results,
    Traits,
)
from mayfly.core.mounts import Source
from mayfly.core.notice import unmade, unopened, unprepared
from mayfly.core.polls import SURVEY_REST
from mayfly.core.queue import share_with_hold
from mayfly.core.refusals import Refusals
from mayfly.core.requests import Note, ReadGpus, Request, Trial
from mayfly.core.rosters import bounded, namesakes, online
from mayfly.core.signs import heard, wants_roster
from mayfly.core.slots import CLOCK_SLACK
from mayfly.core.state import Opening, State, scene_of
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    ActivitySeen,
    AgentStirred,
    ClientSign,
    ClockSet,
    ClocksHandled,
    Commanded,
    ConfigRead,
    ContainerDied,
    EngineSeen,
    EngineStirred,
    EngineUnseen,
    EnrolmentTried,
    Failure,
    GatewaySeen,
    GpuResetDone,
    GpusRead,
    HostSurveyed,
    ImagesChanged,
    IsolationProbed,
    JobsTold,
    JobsUntold,
    LayersMeasured,
    MountsSeen,
    OutputKept,
    Printed,
    Probed,
    ProcessesGone,
    RosterFailed,
    RosterSeen,
    ServiceAnswered,
    Started,
    Stimulus,
    Stopping,
    StreamTurned,
    WaitingAnswered,
    WaitingSeen,
    WaitingUnseen,
    WitnessesRead,
)
from mayfly.core.throttle import (
    OUTPUT,
    Allowance,
    connections,
    dearness,
    processes,
    weight,
)
from mayfly.core.waiting import idle_slot

# seconds between looks at the witness of a gate that was written and is not yet open
OPENING = 0.02
BUSY_REST = 60.0  # seconds before a service that would not let go of a busy agent is asked again
LOOKS_OWED = 2  # the first may have begun before the Engine's events turned
NAME_REST = 10.0  # seconds until a slot's name that somebody else has is tried again
RESULTS_REST = 5.0  # seconds until results are tried again that could not be taken
UNPUT = "the Engine or a disk failed"
UNLOCK_REST = 5.0  # seconds until clocks are tried again that could not be unlocked
REST = 1.0  # seconds that a subject rests after an action on it failed


class Draft:
    """A state that takes in stimuli one after the other, and what is asked of the outside for them."""

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.requests: list[Request] = []

    def _set(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def _pend(self, *facts: Fact) -> None:
        self._set(pending=(*self.state.pending, *facts))

    def _note(self, event: str, **fields: object) -> None:
        self.requests.append(Note(event, fields))

    def _stir(self, generation: Generation) -> None:
        self._set(stirred=self.state.stirred | {generation})

    def _rest(self, subject: Subject, until: float) -> None:
        self._set(resting={**self.state.resting, subject: until})

    def take(self, stimulus: Stimulus) -> None:  # noqa: C901, PLR0912, PLR0915  a case for each
        """Take one in."""
        match stimulus:
            case EngineSeen() | EngineUnseen() | HostSurveyed():
                self._set(polls=self.state.polls.answered())
                self._on_look(stimulus)
            case LayersMeasured(sizes=sizes, unmeasured=unmeasured):
                self._set(observed=self.state.observed.grown(sizes, unmeasured))
            case MountsSeen(sources=sources):
                self._on_mounts(sources)
            case StreamTurned():
                self._on_turn(stimulus)
            case ContainerDied() | ProcessesGone() | EngineStirred() | ImagesChanged():
                self._on_event(stimulus)
            case AgentStirred(generation=generation):
                self._stir(generation)
            case Printed(generation=generation, lines=lines, size=size):
                self._on_printed(generation, lines, size)
            case ActivitySeen():
                self._on_activity(stimulus)
            case OutputKept(generation=generation, words=words):
                self._on_output(generation, words)
            case WitnessesRead(found=found, unreadable=unreadable, closed=closed):
                observed = self.state.observed.witnessed(found, unreadable, self.now)
                self._set(observed=observed.shut(closed), witnesses_read=True)
            case GatewaySeen(missing=missing, conditions=conditions):
                self._set(observed=self.state.observed.gateway_seen(missing, conditions))
            case ClientSign():
                self._on_sign(stimulus)
            case ServiceAnswered(pool=pool):
                self._set(contacts=self.state.contacts.answered(pool))
            case JobsTold() | JobsUntold():
                self._on_jobs(stimulus)
            case WaitingSeen() | WaitingUnseen() | WaitingAnswered():
                self._on_waiting(stimulus)
            case RosterSeen() | RosterFailed() | EnrolmentTried():
                self._on_service(stimulus)
            case ActionDone(action=action):
                self._ended(action)
                self._on_done(stimulus)
            case ActionFailed(action=action, failure=failure):
                self._ended(action)
                self._on_failed(action, failure)
            case Commanded(facts=facts):
                self._set(commanded=(*self.state.commanded, *facts))
            case ConfigRead(config=config, traits=traits):
                self._on_config(config, traits)
            case GpusRead() | Probed():
                self._on_gpus(stimulus)
            case GpuResetDone(gpu=gpu, outcome=outcome):
                self._pend(*after_reset(scene_of(self.state, self.now), gpu, outcome))
                self.requests.append(ReadGpus())
            case IsolationProbed():
                self._on_isolation(stimulus)
            case AllocationsSeen():
                self._on_allocations(stimulus)
            case Started() | Stopping() | ClockSet():
                self._on_run(stimulus)
            case _:
                assert_never(stimulus)

    # -- the run and its clock --

    def _on_run(self, stimulus: Started | Stopping | ClockSet) -> None:
        match stimulus:
            case Started(host_restarted=restarted):
                if restarted:
                    self._on_host_restart()
                by = ahead(self.state.drafted, self.now)
                if by > CLOCK_SLACK:  # the clock was set back while no manager ran
                    self._pend(ClockJumped(self.now, -by))
            case Stopping():
                self._set(stopping=True)
            case ClockSet(by=by):
                self._on_clock(by)

    def _on_host_restart(self) -> None:
        """After a crash a missing ``opened`` proves nothing: it may not have reached the disk. An agent whose
        gate was being opened counts as opened, so that its job is never run twice.
        """
        self._set(observed=self.state.observed.engine_stopped(self.now))
        self._pend(
            *(
                AgentOpened(self.now, agent.generation)
                for agent in self.state.memory.agents.values()
                if agent.committed is not None and agent.opened is None and not agent.settled
            )
        )

    def _on_clock(self, by: float) -> None:
        """Move all times with a wall clock that jumped, so that nothing ages by it."""
        self._pend(ClockJumped(self.now, by))
        lost = self.state.engine_lost
        self._set(
            observed=self.state.observed.shifted(by),
            resting={name: until + by for name, until in self.state.resting.items()},
            polls=self.state.polls.reset_timers(self.now),
            contacts=self.state.contacts.shifted(by, self.now),
            dispatches={pool: known.shifted(by) for pool, known in self.state.dispatches.items()},
            queues=self.state.queues.shifted(by, self.now),
            debts=self.state.debts.shifted(by),
            gpus=self.state.gpus.shifted(by),
            allocations=self.state.allocations.shifted(by),
            opening={
                generation: replace(one, written=one.written + by)
                for generation, one in self.state.opening.items()
            },
            engine_lost=lost + by if lost is not None else None,
        )

    # -- the Engine --

    def _on_look(self, stimulus: EngineSeen | EngineUnseen | HostSurveyed) -> None:
        state = self.state
        match stimulus:
            case EngineSeen(began=began, containers=containers, overfull=overfull):
                if not state.observed.known:
                    self._note("engine.back")
                observed, overtaken = state.observed.seen(began, containers, state.memory, self.now)
                self._set(
                    observed=observed.overfilled(overfull),
                    looks_owed=max(0, state.looks_owed - 1),
                    polls=state.polls.soon(self.now) if overtaken else state.polls,
                    all_stirred=True,
                )
            case EngineUnseen(reason=reason):
                if state.observed.known:
                    self._note("engine.lost", reason=reason)
                self._set(observed=state.observed.unseen(reason), all_stirred=True)
            case HostSurveyed(survey=survey):
                changed = survey != state.survey
                observed = state.observed.mounts_looked_at(self.now)
                observed = observed.unowned_seen(survey.belongings, state.drafted)
                self._set(survey=survey, observed=observed)
                if changed:
                    self.desire()

    def _on_mounts(self, sources: Mapping[str, Source]) -> None:
        survey = self.state.survey
        self._set(observed=self.state.observed.mounts_looked_at(self.now))
        if sources != survey.sources:
            self._set(survey=replace(survey, sources=sources))
            self.desire()

    def _on_turn(self, turn: StreamTurned) -> None:
        self._set(polls=self.state.polls.at_once(self.now), looks_owed=LOOKS_OWED)
        lost = self.state.engine_lost
        if not turn.up:
            self._note("engine.stream_ended", reason=turn.why)
            self._set(engine_lost=lost or self.now)
            return
        observed = self.state.observed
        if turn.continuity is Continuity.RESTARTED:
            observed = observed.engine_stopped(lost or self.now)
            self._note("engine.restarted")
            self._set(isolation=self.state.isolation.engine_restarted())
        elif turn.continuity is Continuity.UNKNOWN and not observed.known and lost:
            observed = observed.engine_stopped(lost)
        polls = self.state.polls.survey_soon(self.now)
        self._set(observed=observed, engine_lost=None, polls=polls)

    def _on_event(
        self, event: ContainerDied | ProcessesGone | EngineStirred | ImagesChanged
    ) -> None:
        if isinstance(event, ImagesChanged):
            self._set(polls=self.state.polls.survey_soon(self.now, SURVEY_REST))
            return
        if isinstance(event, ProcessesGone):
            agent = self.state.memory.agents.get(event.generation)
            if agent is not None and agent.container in (None, event.container):
                self._set(observed=self.state.observed.processes_gone(event.generation))
                self._stir(event.generation)
            return  # the Engine will tell of it, too
        held = self.state.observed.world.holders
        if isinstance(event, ContainerDied) and event.generation not in held:
            agent = self.state.memory.agents.get(event.generation)
            if agent is None or agent.container in (None, event.death.container):
                self._set(observed=self.state.observed.died(event.generation, event.death))
                self._stir(event.generation)
        self._set(polls=self.state.polls.soon(self.now))

    def _on_printed(self, generation: Generation, lines: int, size: int) -> None:
        self._charge(generation, Excess.OUTPUT, weight(lines, size), OUTPUT)

    def _on_activity(self, seen: ActivitySeen) -> None:
        pools = {spec.pool.name: spec.pool for spec in self.state.desired.slots}
        for generation, begun in seen.begun.items():
            agent = self.state.memory.agents.get(generation)
            pool = pools.get(agent.pool) if agent is not None else None
            if pool is None:
                continue
            if pool.limits.process_rate is not None:
                allowance = processes(pool.limits.process_rate * seen.processors)
                self._charge(generation, Excess.PROCESSES, begun.processes, allowance)
            # On the host's own network its connections are not told from the host's.
            if pool.limits.connection_rate is not None and pool.network != "host":
                allowance = connections(pool.limits.connection_rate)
                self._charge(generation, Excess.CONNECTIONS, begun.connections, allowance)

    def _charge(
        self, generation: Generation, excess: Excess, amount: float, allowance: Allowance
    ) -> None:
        agents = self.state.memory.agents
        agent = agents.get(generation)
        known = agent is not None and not agent.settled and self.state.survey.engine.freezes
        if agent is not None and known and amount > 0:
            cost = amount * dearness(agents.values())
            self._set(debts=self.state.debts.charged(agent, excess, cost, allowance, self.now))

    def _on_output(self, generation: Generation, words: str) -> None:
        """An agent prints no more, so it has ended; if the Engine removed it, it may be forgotten already."""
        if generation in self.state.drafted.agents:
            self._set(observed=self.state.observed.kept(generation, words))
            self._stir(generation)

    # -- services --

    def _on_sign(self, sign: ClientSign) -> None:
        agent = self.state.memory.agents.get(sign.generation)
        trait = self.state.traits.get(agent.pool) if agent is not None else None
        if agent is None or trait is None or agent.settled:
            return
        if wants_roster(sign, trait.proof):
            self._set(contacts=self.state.contacts.awaited(agent.pool, self.now))
        known = self.state.memory.agents.keys()
        unlisted = agent.pool in self.state.contacts.down
        reported, fact = heard(
            *(agent, sign, trait.proof, self.state.reported, known, self.now), unlisted=unlisted
        )
        self._set(reported=reported)
        if fact is not None:
            self._pend(fact)

    def _on_service(self, sight: RosterSeen | RosterFailed | EnrolmentTried) -> None:
        state, pool = self.state, sight.pool
        if isinstance(sight, EnrolmentTried):
            self._refuse(state.refusals.tried(pool, sight.failure, self.now))
            return
        if isinstance(sight, RosterSeen):
            if pool in state.contacts.down:
                self._lift_rests(pool)
            self._set(contacts=self.state.contacts.listed(pool, sight.interval, self.now))
        else:
            self._set(contacts=state.contacts.list_failed(pool, sight.failure, self.now))
        kept = frozenset(spec.name for spec in state.desired.slots if spec.keeps_entries)
        roster = None
        if isinstance(sight, RosterSeen) and sight.roster is not None:
            roster = bounded(state.memory, pool, sight.roster)
        observed = state.observed.listed(pool, roster, state.memory, kept, self.now)
        before = namesakes(state.observed.world.rosters)
        self._set(observed=observed)
        if roster is not None:
            there = online(state.memory, pool, roster)
            self._set(reported=self.state.reported.listed(there, roster.at))
        if namesakes(observed.world.rosters) != before:
            self.desire()
        self._refuse(
            state.refusals.listed(pool)
            if isinstance(sight, RosterSeen)
            else state.refusals.list_refused(pool, sight.failure)
        )

    def _on_jobs(self, sight: JobsTold | JobsUntold) -> None:
        known = self.state.dispatches.get(sight.pool)
        if known is None:
            return  # its pool is configured otherwise by now
        if isinstance(sight, JobsUntold):
            if known.failure is None or known.failure.text != sight.failure.text:
                self._note("dispatch.failed", pool=sight.pool, reason=sight.failure.text)
            self._dispatched(sight.pool, known.untold(sight.failure, self.now))
            return
        delivery = sight.delivery
        if known.failure is not None:
            self._note("dispatch.back", pool=sight.pool)
        if delivery.unsupported and delivery.unsupported != known.unsupported:
            self._note("dispatch.fallback", pool=sight.pool, reason=delivery.unsupported)
        if delivery.over or delivery.assigned:
            self._set(contacts=self.state.contacts.awaited(sight.pool, self.now))
        self._dispatched(sight.pool, known.told(delivery, sight.acknowledged, self.now))

    def _dispatched(self, pool: PoolName, known: Dispatch) -> None:
        self._set(dispatches={**self.state.dispatches, pool: known})

    def _on_waiting(self, sight: WaitingSeen | WaitingUnseen | WaitingAnswered) -> None:
        queues, pool = self.state.queues, sight.pool
        match sight:
            case WaitingSeen(jobs=jobs):
                spec = next((one for one in self.state.config.pools if one.name == pool), None)
                if spec is None:
                    return
                memory = self.state.drafted
                idle, observing = idle_slot(memory, pool, self.now), memory.pause is not None
                queues, doomed = queues.looked(spec, jobs, idle, self.now, observing=observing)
                self._pend(
                    *(
                        WaitingCancelling(
                            *(self.now, pool, job.id, job.name, job.url, self.now - job.since)
                        )
                        for job in doomed
                    )
                )
            case WaitingUnseen(failure=failure):
                queues = queues.unseen(pool, self.now, lasting=failure.lasting)
            case WaitingAnswered(waiting=waiting, failure=failure):
                refusal = failure.text if failure is not None else None
                queues = queues.ended(pool, waiting, refusal or "")
                self._pend(WaitingCancelled(self.now, pool, waiting, refusal))
        self._set(queues=queues)

    def _lift_rests(self, pool: PoolName) -> None:
        """The pool's service is back: what rested because it was away is done at once."""
        agents = self.state.memory.agents.values()
        ours = {naming.enrolment_of(one.generation) for one in agents if one.pool == pool}
        entries = naming.registration_of(pool, "")
        self._set(
            resting={
                subject: until
                for subject, until in self.state.resting.items()
                if subject not in ours and not subject.startswith(entries)
            }
        )

    def _refuse(self, refusals: Refusals) -> None:
        """What services refuse is another now."""
        before, after = self.state.refusals.by_pool, refusals.by_pool
        self._set(refusals=refusals)
        if before == after:
            return
        for pool in before.keys() - after.keys():
            self._note("provider.back", pool=pool)
        for pool, reason in after.items():
            if before.get(pool) != reason:
                self._note("provider.refused", pool=pool, reason=reason)
        self.desire()

    # -- configuration and GPUs --

    def _on_config(self, config: Config, traits: Mapping[PoolName, Traits]) -> None:
        before = {pool.name: pool for pool in self.state.config.pools}
        after = {pool.name: pool for pool in config.pools}
        refusals = self.state.refusals
        for name in refusals.by_pool:
            if name not in after or before.get(name) != after[name]:
                refusals = refusals.forget(name)
        services = [name for name, trait in traits.items() if not trait.embedded]
        changed = [name for name in after if before.get(name) != after[name]]
        self._set(
            config=config,
            traits=traits,
            refusals=refusals,
            contacts=self.state.contacts.use(services, changed, self.now),
            dispatches={
                name: Dispatch(self.now)
                if name in changed
                else self.state.dispatches.get(name, Dispatch(self.now))
                for name, trait in traits.items()
                if trait.dispatches
            },
            queues=self.state.queues.use(config.pools, services, self.now),
            gpus=self.state.gpus.use_config(config),
            isolation=self.state.isolation.kept(config),
            polls=self.state.polls.survey_soon(self.now),
        )
        self.desire()

    def _on_gpus(self, sight: GpusRead | Probed) -> None:
        if isinstance(sight, Probed):
            self._set(gpus=self.state.gpus.probed(sight.generation, sight.verdict))
            return
        before, gpus = self.state.gpus.hardware, self.state.gpus.read(sight.reading)
        self._set(gpus=gpus)
        if gpus.hardware != before:
            self.desire()
            self._set(polls=self.state.polls.survey_soon(self.now))

    def _on_isolation(self, sight: IsolationProbed) -> None:
        pool = next((one for one in self.state.config.pools if one.name == sight.pool), None)
        if pool is not None:
            self._isolate(self.state.isolation.probed(pool, sight.breaches, sight.why, self.now))

    def _isolate(self, isolation: Isolation) -> None:
        """What is known of isolation is another now."""
        before, config = self.state.isolation.holds(self.state.config), self.state.config
        self._set(isolation=isolation)
        if isolation.holds(config) != before:
            self.desire()

    def _on_allocations(self, seen: AllocationsSeen) -> None:
        before = self.state.allocations
        after = before.told(seen, self.state.config.pools, self.now)
        if after.since is not None and before.since is None:
            self._note("slurm.lost", reason=after.problem)
        elif before.since is not None and after.since is None:
            self._note("slurm.back")
        self._set(allocations=after)
        self.desire()

    def desire(self) -> None:
        """What ought to be, of what is known now."""
        state = self.state
        self._set(
            desired=desired(
                state.config,
                state.survey,
                state.traits,
                hardware=state.gpus.hardware,
                refusals=state.isolation.holds(state.config) | state.refusals.by_pool,
                namesakes=namesakes(state.observed.world.rosters),
                allocations=state.allocations,
            )
        )

    # -- results --

    def _ended(self, action: Action) -> None:
        rest = {
            name: other for name, other in self.state.in_flight.items() if name != action.subject
        }
        self._set(in_flight=rest, results=self.state.results + 1)

    def _on_busy(self, action: Dismiss | SetSchedulable) -> None:
        """Its service left an agent alone that runs a job."""
        # Nobody tells a busy agent again, and its key is to be taken as soon as it has ended.
        rest = REST if isinstance(action, SetSchedulable) else BUSY_REST
        if action.generation is not None:
            self._pend(AgentConfirmed(self.now, action.generation, Phase.BUSY))
        else:
            rest = REST
        self._rest(action.subject, self.now + rest)
        self._set(polls=self.state.polls.at_once(self.now))

    def _on_done(self, done: ActionDone) -> None:  # noqa: C901, PLR0912  a case for each
        state, now, action = self.state, self.now, done.action
        match action:
            case Enrol() | Dismiss() | SetSchedulable() | AcquireJobs():
                self._on_service_done(action, done)
            case MakeSandbox() | CheckSandbox() | RemoveSandbox():
                self._on_sandbox(action, done)
            case Prepare(generation=generation):
                assert done.container is not None
                fresh = _fresh(state.host, action, done.container, now)
                self._set(observed=state.observed.made(state.results, fresh))
                self._pend(AgentArmed(now, generation, done.container))
                self._stir(generation)
            case Open() if done.unclean or done.unbrought:
                self._on_kept_shut(action, done)
            case Open(generation=generation):
                written = Opening(now, OPENING / 2)
                self._set(opening={**state.opening, generation: written})
            case Rename(generation=generation, to=to):
                self._set(observed=state.observed.renamed(state.results, generation, to))
            case Freeze(generation=generation) | Thaw(generation=generation):
                frozen = isinstance(action, Freeze)
                observed = state.observed.frozen(state.results, generation, frozen=frozen)
                self._set(observed=observed)
            case Weigh(generation=generation):
                self._set(lightened=state.lightened | {generation})
            case Remove(generation=generation):
                self._set(observed=state.observed.removed(state.results, generation))
                self._stir(generation)
            case StartAgain(generation=generation):
                self._set(observed=state.observed.started_again(state.results, generation, now))
            case TakeResults(generation=generation, job=job):
                self._pend(ResultsTaken(now, generation, job, done.results))
            case Clear() | Forget():
                self._on_gone(action)
            case LockClocks() | UnlockClocks():
                self._on_clocks(action, done.clocks or ClocksHandled())
            case _:
                pass

    def _on_clocks(self, action: LockClocks | UnlockClocks, found: ClocksHandled) -> None:
        """The clocks of a slot's GPUs are locked, or are the driver's again."""
        given = (self.now, action.slot, action.generation)
        lock = self.state.drafted.slot(action.slot).clocks
        match action:
            case LockClocks():
                self._pend(ClocksLocked(*given, found.driver, found.seen))
            case UnlockClocks() if lock is not None:
                seen = bench_lane.merged(lock.began, found.seen)
                clocks = (lock.clock, lock.memory_clock)
                self._pend(ClocksUnlocked(*given, *clocks, seen, found.unheld))
            case _:
                pass

    def _not_handled(self, action: LockClocks | UnlockClocks, failure: Failure) -> None:
        """Nobody knows whether they are locked: what was recorded stays until they are unlocked."""
        if isinstance(action, LockClocks):
            again = self.now + bench_lane.AGAIN
            told = (self.now, action.slot, action.generation, failure.text, again)
            self._pend(ClocksRefused(*told))
        else:
            self._rest(action.subject, self.now + (failure.retry_after or UNLOCK_REST))

    def _on_gone(self, action: Clear | Forget) -> None:
        """What an ended agent has made is gone, or all that there was of it."""
        state, now, generation = self.state, self.now, action.generation
        match action:
            case Clear():
                clearings = state.clearings.done(generation)
                self._set(observed=state.observed.cleared(generation), clearings=clearings)
                if generation in state.drafted.agents:
                    self._pend(AgentCleared(now, generation))
            case Forget():
                left = state.left_behind.done(generation)
                light = state.lightened - {generation}
                observed = state.observed.forgotten(generation)
                self._set(observed=observed, left_behind=left, lightened=light)
                half_life = state.config.host.fair_share_half_life
                used = share_with_hold(state.drafted, generation, now, half_life)
                self._pend(AgentRemoved(now, generation, used))
            case _:
                assert_never(action)

    def _on_service_done(self, action: ServiceAction, done: ActionDone) -> None:
        state, now = self.state, self.now
        self._set(contacts=state.contacts.call_done(action.pool, call_kind(action)))
        match action:
            case Dismiss() | SetSchedulable() if done.busy:
                self._on_busy(action)
            case Enrol(generation=generation, pool=pool):
                self._refuse(state.refusals.enrolled(pool))
                given = (done.registration, done.registered, state.run_id)
                self._pend(AgentEnrolled(now, generation, *given))
            case Dismiss(generation=generation, pool=pool, registration=registration):
                if generation is not None:
                    self._pend(AgentDismissed(now, generation))
                self._set(observed=state.observed.dismissed(pool, registration))
            case SetSchedulable(generation=generation, cordoned=cordoned):
                self._pend(AgentCordoned(now, generation, cordoned))
            case AcquireJobs(pool=pool, jobs=jobs):
                known = state.dispatches.get(pool)
                if known is not None:
                    self._dispatched(pool, known.acquisition(jobs, done.acquired, now))
            case _:
                assert_never(action)

    def _on_sandbox(
        self, action: MakeSandbox | CheckSandbox | RemoveSandbox, done: ActionDone
    ) -> None:
        results, observed = self.state.results, self.state.observed
        match action:
            case MakeSandbox():
                assert done.container is not None
                holder = _fresh(self.state.host, action, done.container, self.now)
                self._set(observed=observed.sandbox_made(results, holder))
            case CheckSandbox(container=container) if done.unclean:
                self._set(observed=observed.sandbox_spoilt(container))
            case CheckSandbox(container=container):
                self._set(observed=observed.sandbox_clean(container))
            case RemoveSandbox(generation=generation):
                self._set(observed=observed.sandbox_removed(results, generation))
            case _:
                assert_never(action)

    def _on_kept_shut(self, action: Open, done: ActionDone) -> None:
        """Its gate stays shut for ever: something is in its sandbox, or what its job brings is not there."""
        agent, observed = self.state.memory.agents.get(action.generation), self.state.observed
        if done.unbrought:
            fields = {"action": action_name(action), "slot": action.slot, "reason": done.unbrought}
            self._note("action.failed", **fields)
            reason = DoomReason.UNBROUGHT if done.at_fault else DoomReason.BROKEN_OFF
            # Everybody may read that: no name of a file of the job's.
            why = f"what its job brings is not there: {done.at_fault or UNPUT}"
        else:  # whoever stands in that sandbox is replaced
            if action.sandbox is not None:
                self._set(observed=observed.sandbox_spoilt(action.sandbox))
            why = "its sandbox is gone, or a job before has left something in it"
            reason = DoomReason.NO_SANDBOX
        if agent is not None:
            self._pend(*unopened(agent, why, self.state.drafted, self.now, reason))
        self._set(polls=self.state.polls.at_once(self.now))

    def _called(self, action: ServiceAction, failure: Failure) -> float:
        """A call to a service failed: the seconds until its subject's next."""
        kind = call_kind(action)
        contacts, rest = self.state.contacts.call_failed(action.pool, kind, failure, self.now)
        self._set(contacts=contacts)
        return rest

    def _on_left_behind(self, action: Forget | Clear, failure: Failure) -> None:
        """What is left of an ended agent is still there: that is told once. Nobody waits for it, but for
        what it has made its slot does.
        """
        known, generation = self.state, action.generation
        before = known.clearings if isinstance(action, Clear) else known.left_behind
        if not before.tells_nothing_new(generation, failure):
            fields = {"action": action_name(action), "slot": action.slot, "reason": failure.text}
            self._note("action.failed", **fields)
        after, rest = before.failed(action, failure)
        self._set(**{"clearings" if isinstance(action, Clear) else "left_behind": after})
        self._rest(action.subject, self.now + rest)

    def _not_slowed(self, action: Freeze | Thaw | Weigh) -> None:
        """The agent itself does not rest: it may be ended meanwhile."""
        generation = action.generation
        if isinstance(action, Weigh):  # one try is enough: nothing is wrong without
            self._set(lightened=self.state.lightened | {generation})
        else:
            # Soon again: who forks all the time is frozen at one try of two (seen with runc 1.1).
            self._rest(naming.throttle_of(generation), self.now + REST)

    def _without_sandbox(self, action: MakeSandbox | CheckSandbox, failure: Failure) -> None:
        """There is none, or it cannot be told whether it is of use."""
        state, now = self.state, self.now
        if isinstance(action, CheckSandbox):
            self._set(observed=state.observed.sandbox_spoilt(action.container))
            return
        made_as = (action.spec.name, action.spec.fingerprint, failure.text, failure.lasting)
        self._pend(unmade(*made_as, state.drafted, now))
        self._set(polls=state.polls.survey_soon(now))  # it may be that none can be made here

    def _on_failed(self, action: Action, failure: Failure) -> None:  # noqa: C901, PLR0912  a case for each
        if isinstance(action, Forget | Clear):
            self._on_left_behind(action, failure)
            return
        state, now, subject = self.state, self.now, action.subject
        fields = {"action": action_name(action), "slot": action.slot, "reason": failure.text}
        self._note("action.failed", **fields)
        known = state.memory.agents
        agent = known.get(action.generation) if action.generation is not None else None
        lasting = failure.lasting
        match action:
            case Prepare(generation=generation) if agent is not None and not agent.settled:
                self._set(observed=self.state.observed.doubted(self.state.results, generation))
                self._pend(*unprepared(agent, failure.text, lasting, state.drafted, now))
            case Dismiss() | SetSchedulable() | AcquireJobs():
                self._rest(subject, now + max(self._called(action, failure), lasting * BUSY_REST))
            case Enrol(pool=pool, labels=labels):
                if agent is not None:
                    trial = Trial(agent, labels)
                    self._refuse(state.refusals.enrolment_refused(pool, failure, trial, now))
                # The enrolment rests, not its agent, which may get its name or be ended meanwhile.
                rest = self._called(action, failure)
                self._rest(naming.enrolment_of(action.generation), now + rest)
            case Rename(to=to):
                # Only the name rests: its agent may take a job meanwhile.
                self._rest(naming.naming_of(to), now + (NAME_REST if lasting else REST))
            case Freeze() | Thaw() | Weigh():
                self._not_slowed(action)
            case LockClocks() | UnlockClocks():
                self._not_handled(action, failure)
            case MakeSandbox() | CheckSandbox():
                self._without_sandbox(action, failure)
            case StartAgain(generation=generation) if agent is not None:
                over = not_started(agent, failure.text, lasting=lasting, now=now)
                if over is not None:
                    self._pend(over)
                self._rest(subject, now + (failure.retry_after or REST))
            case TakeResults(generation=generation, job=job) if lasting:
                told = Results(left_out=(f"all of it: {failure.text}",))
                self._pend(ResultsTaken(now, generation, job, told))
            case TakeResults():
                self._rest(subject, now + (failure.retry_after or RESULTS_REST))
            case Open() if agent is not None:
                self._pend(*unopened(agent, failure.text, state.drafted, now))
            case _:
                self._rest(subject, now + (failure.retry_after or REST))
        self._set(polls=self.state.polls.at_once(now))


def _fresh(
    host: HostId, action: Prepare | MakeSandbox, container: ContainerId, now: float
) -> Container:
    """What was just made, as a look is to show it."""
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
        sealed=True,
        holds=isinstance(action, MakeSandbox),
        sandbox=action.sandbox if isinstance(action, Prepare) else None,
    )
