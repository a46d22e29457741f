"""The machine: everything that Mayfly ever decides, as one function of values.

::

    stimuli ──> step(state, stimuli, now, judge) ──> facts      to be on disk before anything is done
                  │                                  actions    to be begun once they are
                  │                                  requests   what only the outside can do or say
                  └── the next state                 wake       when to step again at the latest

Pure: the same arguments give the same ``Step``, so a list of stimuli tells a whole run again. It looks at
nothing, waits for nothing and logs nothing. The loop, ``mayfly plan`` and the simulator of the tests all call
this one function.

A step that wants witnesses read decides nothing: it decides when they are there (``WitnessesRead``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    Subject,
    action_name,
)
from mayfly.core.apply import ahead, apply
from mayfly.core.contact import Contacts, call_kind
from mayfly.core.decide import decide
from mayfly.core.desire import Survey, desired
from mayfly.core.facts import (
    AgentArmed,
    AgentConfirmed,
    AgentCordoned,
    AgentDismissed,
    AgentEnrolled,
    AgentOpened,
    AgentRemoved,
    ClockJumped,
    Fact,
    SlotReleased,
)
from mayfly.core.gpus import Gpus
from mayfly.core.isolation import Isolation
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Config,
    Container,
    ContainerId,
    ContainerState,
    Continuity,
    Desired,
    Generation,
    HostId,
    Phase,
    PoolName,
    SlotName,
    Traits,
    World,
)
from mayfly.core.mounts import Source
from mayfly.core.notice import Judge, doubtful_until, notice, unopened, unprepared
from mayfly.core.observed import Observed
from mayfly.core.plan import Plan
from mayfly.core.polls import SURVEY_REST, TICK, PollSchedule
from mayfly.core.refusals import Refusals
from mayfly.core.requests import AskRoster, LookAtMounts, Note, Request, Trial, TryEnrolment
from mayfly.core.rosters import namesakes
from mayfly.core.signs import Reported, heard, wants_roster
from mayfly.core.slots import CLOCK_SLACK, within
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    AgentStirred,
    ClientSign,
    ClockSet,
    Commanded,
    ConfigRead,
    ContainerDied,
    EngineSeen,
    EngineStirred,
    EngineUnseen,
    EnrolmentTried,
    Failure,
    GpusRead,
    HostSurveyed,
    ImagesChanged,
    IsolationProbed,
    MountsSeen,
    OutputKept,
    Probed,
    RosterFailed,
    RosterSeen,
    Started,
    Stimulus,
    Stopping,
    StreamTurned,
    WitnessesRead,
)

OPENING = (
    0.02  # seconds between looks at the witness of a gate that was written and is not yet open
)
OPENING_MOST = 1.0
BUSY_REST = 60.0  # seconds before a service that would not let go of a busy agent is asked again
LOOKS_OWED = 2  # the first may have begun before the Engine's events turned
NAME_REST = 10.0  # seconds until a slot's name that somebody else has is tried again
REST = 1.0  # seconds that a subject rests after an action on it failed
ROUNDS = 12  # of noticing and deciding in one step; each has a cause in the one before
NOISE = 36 ** (naming.GENERATION_LENGTH - naming.TIME_LENGTH)
STRIDE = (
    7_368_787  # neither even nor a multiple of 3: every noise comes once before any comes again
)


@dataclass(frozen=True, slots=True)
class State:
    """All that decisions depend on; never changed in place."""

    host: HostId
    run_id: str
    config: Config
    memory: Memory
    observed: Observed
    # The noise in the next generation: at random for each run, from then on counted.
    noise: int
    traits: Mapping[PoolName, Traits] = field(default_factory=dict)
    survey: Survey = field(default_factory=Survey)
    desired: Desired = field(default_factory=lambda: Desired(()))
    gpus: Gpus = field(default_factory=Gpus)
    isolation: Isolation = field(default_factory=Isolation)
    refusals: Refusals = field(default_factory=Refusals)
    contacts: Contacts = field(default_factory=Contacts)
    reported: Reported = field(default_factory=Reported)
    polls: PollSchedule = field(default_factory=PollSchedule)
    in_flight: Mapping[Subject, Action] = field(default_factory=dict)
    resting: Mapping[Subject, float] = field(default_factory=dict)
    # Gates that were written, and how long to wait for a look at their witnesses.
    opening: Mapping[Generation, float] = field(default_factory=dict)
    # Whose witnesses are to be read; ``all_stirred``: everybody's.
    stirred: frozenset[Generation] = frozenset()
    all_stirred: bool = True
    witnesses_read: bool = False
    results: int = 0  # actions that came to an end, however they did
    engine_lost: float | None = None  # since when the Engine has not answered
    looks_owed: int = 0  # until what a turn of the Engine's events did has been seen
    # What has happened and is not on disk yet.
    pending: tuple[Fact, ...] = ()
    # What people want recorded in the step under way.
    commanded: tuple[Fact, ...] = ()
    stopping: bool = False

    @property
    def drafting(self) -> tuple[Fact, ...]:
        """What the next step is to record, whatever it decides."""
        return (*self.pending, *self.commanded)

    @property
    def drafted(self) -> Memory:
        """The memory as it will be when that is on disk."""
        return _applied(self.memory, self.drafting)


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from some stimuli."""

    state: State  # to go on with once the facts are on disk
    unrecorded: State  # to go on with where the disk did not take them
    world: World
    facts: tuple[Fact, ...] = ()
    actions: tuple[Action, ...] = ()
    # Stimuli that it cannot decide without: the caller reads them and steps again, at once.
    witnesses: tuple[Generation, ...] = ()
    requests: tuple[Request, ...] = ()
    afterwards: tuple[Request, ...] = ()  # once the facts are on disk
    wake: float | None = None  # None: no time is due
    unfinished: bool = False  # noticing and deciding came to no end

    @property
    def empty(self) -> bool:
        """Whether there is nothing to record or do."""
        return not self.facts and not self.actions


def begin(
    host: HostId, run_id: str, config: Config, memory: Memory, gpus: Gpus, noise: int
) -> State:
    """The state of a run that has seen nothing yet; its first stimuli are ``Started`` and ``ConfigRead``."""
    return State(
        host=host,
        run_id=run_id,
        config=config,
        memory=memory,
        observed=Observed(host),
        noise=noise % NOISE,
        gpus=gpus,
    )


def step(state: State, stimuli: Iterable[Stimulus], now: float, judge: Judge) -> Step:
    """What is to be recorded and done after these stimuli; ``judge`` says what an agent's end means."""
    draft = _Draft(state, now)
    for stimulus in stimuli:
        draft.take(stimulus)
    taken = draft.state
    if taken.stopping:
        return _last(taken, tuple(draft.requests))
    if not taken.witnesses_read:
        taken, wanted = _witnesses_wanted(taken)
        if wanted:
            return Step(
                state=taken,
                unrecorded=taken,
                world=taken.observed.world,
                witnesses=wanted,
                requests=tuple(draft.requests),
                wake=now,
            )
    return _decided(taken, now, judge, tuple(draft.requests))


def taken_in(state: State, stimuli: Iterable[Stimulus], now: float) -> State:
    """The state with these stimuli; nothing is decided, and it is not to be gone on with."""
    draft = _Draft(state, now)
    for stimulus in stimuli:
        draft.take(stimulus)
    return draft.state


def foreseen(state: State, now: float, judge: Judge) -> Plan:
    """What a step would do now, with the witnesses as they were last read."""
    foreseen = step(state, (WitnessesRead({}),), now, judge)
    return Plan(foreseen.facts, foreseen.actions, foreseen.wake)


def accounted(state: State) -> bool:
    """Whether what the Engine's events told so far is seen, and every end in it is on disk with the state's
    memory: the next run need not hear of those events again.
    """
    if state.looks_owed:
        return False
    world = state.observed.world
    return all(
        agent.settled
        or not (agent.generation in world.deaths or doubtful_until(agent, world) is not None)
        for agent in state.memory.agents.values()
    )


def _applied(memory: Memory, facts: tuple[Fact, ...]) -> Memory:
    return apply(memory, facts) if facts else memory


# -- deciding ------------------------------------------------------------------------------------


def _last(state: State, requests: tuple[Request, ...]) -> Step:
    """The step of a manager that stops: what has happened is recorded, nothing is noticed or begun."""
    return Step(
        state=replace(state, memory=state.drafted, pending=(), commanded=()),
        unrecorded=replace(state, commanded=()),
        world=state.observed.world,
        facts=state.drafting,
        requests=requests,
    )


def _witnesses_wanted(state: State) -> tuple[State, tuple[Generation, ...]]:
    """Whose witnesses are to be read now.

    A launcher that passes its gate rings no bell: its witness is looked at until it has.
    """
    agents = state.memory.agents
    opening = {
        generation: min(wait * 2, OPENING_MOST)
        for generation, wait in state.opening.items()
        if (agent := agents.get(generation)) is not None
        and agent.opened is None
        and agent.doom is None
        and not agent.settled
    }
    stirred = state.stirred | opening.keys()
    if state.all_stirred:
        strangers = [name for name in state.observed.world.containers or {} if name not in agents]
        wanted = [*strangers, *(name for name, agent in agents.items() if not agent.settled)]
    else:
        wanted = [name for name in agents if name in stirred and not agents[name].settled]
    after = replace(state, opening=opening, stirred=frozenset(), all_stirred=False)
    return after, tuple(wanted)


def _decided(state: State, now: float, judge: Judge, requests: tuple[Request, ...]) -> Step:
    """Notice and decide by turns, until nothing more follows."""
    facts = [*state.drafting]
    memory, world = state.drafted, state.observed.world
    gpus = state.gpus.after(facts)
    resting = {subject: until for subject, until in state.resting.items() if until > now}
    mint = _Mint(state.noise, now)
    actions: list[Action] = []
    wake: float | None = None
    unfinished, looks = True, False
    for _ in range(ROUNDS):
        busy = frozenset(state.in_flight) | {action.subject for action in actions}
        noticed = tuple(notice(memory, world, now, judge, busy))
        memory = _applied(memory, noticed)
        gpus, world = gpus.judged(state.desired, memory, world, now)
        plan = decide(
            state.desired,
            world,
            memory,
            now,
            run_id=state.run_id,
            mint=mint,
            in_flight=busy | resting.keys(),
            down=state.contacts.down,
        )
        memory = _applied(memory, plan.facts)
        facts += [*noticed, *plan.facts]
        actions += plan.actions
        wake, looks = plan.wake, plan.look_at_mounts
        if not noticed and not plan.facts:
            unfinished = False
            break
    if unfinished:
        requests = (*requests, Note("step.unfinished", {"rounds": ROUNDS, "facts": len(facts)}))
    gpus, told = gpus.attributed(facts)
    polls, look = state.polls.ask(now)
    if looks or (look is not None and _mounts_are_due(state, now)):
        requests = (*requests, LookAtMounts())
    # An Engine that has not even answered the last time hangs: whoever can is to read the witnesses.
    hangs = look is not None and state.polls.unanswered
    if look is not None:
        requests = (*requests, look)
    state = replace(
        state,
        resting=resting,
        polls=polls,
        witnesses_read=False,
        commanded=(),
        all_stirred=state.all_stirred or hangs,
    )
    recorded = replace(
        state,
        memory=memory,
        gpus=gpus,
        noise=mint.noise,
        in_flight={**state.in_flight, **{action.subject: action for action in actions}},
        pending=(),
    )
    recorded, afterwards, due = _asked(recorded, told, world, now)
    dues = [*resting.values(), *(now + wait for wait in state.opening.values()), polls.due]
    dues += [time for time in (wake, due, recorded.contacts.due) if time is not None]
    return Step(
        state=recorded,
        unrecorded=replace(state, all_stirred=True),
        world=world,
        facts=told,
        actions=tuple(actions),
        requests=requests,
        afterwards=afterwards,
        wake=min(dues),
        unfinished=unfinished,
    )


def _mounts_are_due(state: State, now: float) -> bool:
    """Whether it is time to look at what agents mount; a survey has to have been there before."""
    seen = state.observed.world.mounts_seen
    return seen is not None and bool(state.survey.sources) and not within(now, seen, TICK)


def _asked(
    state: State, facts: tuple[Fact, ...], world: World, now: float
) -> tuple[State, tuple[Request, ...], float | None]:
    """What is to be asked once the facts are on disk, and when to come again for it."""
    requests: list[Request] = []
    refusals, memory = state.refusals, state.memory
    released = {fact.slot for fact in facts if isinstance(fact, SlotReleased) and fact.by}
    slots = {pool.name: _slots(state.config, pool.name) for pool in state.config.pools}
    contacts = state.contacts
    for pool, names in slots.items() if released else ():
        if released.intersection(names):
            refusals = refusals.retry_now(pool)
            contacts = contacts.at_once(pool, now)
    down = state.contacts.down
    if memory.pause is None:
        refusals, trials = refusals.trials(
            now,
            lambda pool: (
                pool not in down
                and any(memory.slot(name).cordon is None for name in slots.get(pool, ()))
            ),
        )
        mint = _Mint(state.noise, now)
        for pool, trial in trials:
            # Its own name may have been what was refused.
            fresh = replace(trial.agent, generation=mint())
            requests.append(TryEnrolment(pool, Trial(fresh, trial.labels)))
        state = replace(state, noise=mint.noise)
    awaited = {
        agent.pool
        for agent in memory.agents.values()
        if not agent.embedded
        and agent.opened is not None
        and agent.confirmed is None
        and not agent.settled
    }
    for pool in sorted(awaited):
        contacts = contacts.awaited(pool, now)
    contacts, asked = contacts.ask(now)
    requests += [AskRoster(pool) for pool in asked]
    gpus, wanted, due = state.gpus.scheduled(state.desired, memory, world, now)
    isolation, probes, again = state.isolation.scheduled(
        state.config, state.desired, state.survey, memory, now
    )
    dues = [time for time in (due, again) if time is not None]
    after = replace(state, refusals=refusals, contacts=contacts, gpus=gpus, isolation=isolation)
    return after, (*requests, *wanted, *probes), min(dues, default=None)


def _slots(config: Config, pool: PoolName) -> list[SlotName]:
    return [naming.slot(pool, index) for index in range(config.pool(pool).slots)]


class _Mint:
    """Generations never used before: by the time, and by a count that began at random."""

    def __init__(self, noise: int, now: float) -> None:
        self.noise = noise
        self._now = now

    def __call__(self) -> Generation:
        self.noise = (self.noise + STRIDE) % NOISE
        return naming.generation(self._now, self.noise)


# -- taking in -----------------------------------------------------------------------------------


class _Draft:
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

    def take(self, stimulus: Stimulus) -> None:  # noqa: C901, PLR0912  a case for each
        """Take one in."""
        match stimulus:
            case EngineSeen() | EngineUnseen() | HostSurveyed():
                self._set(polls=self.state.polls.answered())
                self._on_look(stimulus)
            case MountsSeen(sources=sources):
                self._on_mounts(sources)
            case StreamTurned():
                self._on_turn(stimulus)
            case ContainerDied() | EngineStirred() | ImagesChanged():
                self._on_event(stimulus)
            case AgentStirred(generation=generation):
                self._stir(generation)
            case OutputKept(generation=generation, words=words):
                self._on_output(generation, words)
            case WitnessesRead(found=found, unreadable=unreadable):
                observed = self.state.observed.witnessed(found, unreadable, self.now)
                self._set(observed=observed, witnesses_read=True)
            case ClientSign():
                self._on_sign(stimulus)
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
            case IsolationProbed():
                self._on_isolation(stimulus)
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
            engine_lost=lost + by if lost is not None else None,
        )

    # -- the Engine --

    def _on_look(self, stimulus: EngineSeen | EngineUnseen | HostSurveyed) -> None:
        state = self.state
        match stimulus:
            case EngineSeen(began=began, containers=containers):
                if not state.observed.known:
                    self._note("engine.back")
                observed, overtaken = state.observed.seen(began, containers, state.memory, self.now)
                self._set(
                    observed=observed,
                    looks_owed=max(0, state.looks_owed - 1),
                    polls=state.polls.soon(self.now) if overtaken else state.polls,
                    all_stirred=True,
                )
            case EngineUnseen(reason=reason):
                if state.observed.known:
                    self._note("engine.lost", reason=reason)
                self._set(observed=state.observed.unseen(reason), all_stirred=True)
            case HostSurveyed(survey=survey, sizes=sizes):
                changed = survey != state.survey
                observed = state.observed.grown(sizes).mounts_looked_at(self.now)
                self._set(survey=survey, observed=observed)
                if changed:
                    self._desire()

    def _on_mounts(self, sources: Mapping[str, Source]) -> None:
        survey = self.state.survey
        self._set(observed=self.state.observed.mounts_looked_at(self.now))
        if sources != survey.sources:
            self._set(survey=replace(survey, sources=sources))
            self._desire()

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

    def _on_event(self, event: ContainerDied | EngineStirred | ImagesChanged) -> None:
        if isinstance(event, ImagesChanged):
            self._set(polls=self.state.polls.survey_soon(self.now, SURVEY_REST))
            return
        if isinstance(event, ContainerDied):
            agent = self.state.memory.agents.get(event.generation)
            if agent is None or agent.container in (None, event.death.container):
                self._set(observed=self.state.observed.died(event.generation, event.death))
                self._stir(event.generation)
        self._set(polls=self.state.polls.soon(self.now))

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
        roster = sight.roster if isinstance(sight, RosterSeen) else None
        observed = state.observed.listed(pool, roster, state.memory, kept, self.now)
        before = namesakes(state.observed.world.rosters)
        self._set(observed=observed)
        if namesakes(observed.world.rosters) != before:
            self._desire()
        self._refuse(
            state.refusals.listed(pool)
            if isinstance(sight, RosterSeen)
            else state.refusals.list_refused(pool, sight.failure)
        )

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
        self._desire()

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
            gpus=self.state.gpus.use_config(config),
            isolation=self.state.isolation.kept(config),
            polls=self.state.polls.survey_soon(self.now),
        )
        self._desire()

    def _on_gpus(self, sight: GpusRead | Probed) -> None:
        if isinstance(sight, Probed):
            self._set(gpus=self.state.gpus.probed(sight.generation, sight.verdict))
            return
        before, gpus = self.state.gpus.hardware, self.state.gpus.read(sight.reading)
        self._set(gpus=gpus)
        if gpus.hardware != before:
            self._desire()
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
            self._desire()

    def _desire(self) -> None:
        state = self.state
        self._set(
            desired=desired(
                state.config,
                state.survey,
                state.traits,
                hardware=state.gpus.hardware,
                refusals=state.isolation.holds(state.config) | state.refusals.by_pool,
                namesakes=namesakes(state.observed.world.rosters),
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

    def _on_done(self, done: ActionDone) -> None:
        state, now, action = self.state, self.now, done.action
        if isinstance(action, Enrol | Dismiss | SetSchedulable):
            done_so = state.contacts.call_done(action.pool, call_kind(action))
            self._set(contacts=done_so)
        match action:
            case Dismiss() | SetSchedulable() if done.busy:
                self._on_busy(action)
            case Prepare(generation=generation):
                assert done.container is not None
                fresh = _fresh_container(state.host, action, done.container, now)
                self._set(observed=state.observed.made(state.results, fresh))
                self._pend(AgentArmed(now, generation, done.container))
                self._stir(generation)
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
            case Open(generation=generation):
                self._set(opening={**state.opening, generation: OPENING / 2})
            case Rename(generation=generation, to=to):
                self._set(observed=state.observed.renamed(state.results, generation, to))
            case Remove(generation=generation):
                self._set(observed=state.observed.removed(state.results, generation))
                self._stir(generation)
            case Forget(generation=generation):
                self._set(observed=state.observed.forgotten(generation))
                self._pend(AgentRemoved(now, generation))
            case _:
                pass

    def _called(self, action: Enrol | Dismiss | SetSchedulable, failure: Failure) -> float:
        """A call to a service failed: the seconds until its subject's next."""
        kind = call_kind(action)
        contacts, rest = self.state.contacts.call_failed(action.pool, kind, failure, self.now)
        self._set(contacts=contacts)
        return rest

    def _on_failed(self, action: Action, failure: Failure) -> None:
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
            case Dismiss() | SetSchedulable():
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
            case Open() if agent is not None:
                self._pend(*unopened(agent, failure.text, state.drafted, now))
            case _:
                self._rest(subject, now + (failure.retry_after or REST))
        self._set(polls=self.state.polls.at_once(now))


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
        sealed=True,
    )
