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

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf

from mayfly.core import dispatch, naming, reserving, turns
from mayfly.core.actions import (
    Action,
    Enrol,
    Open,
)
from mayfly.core.allocations import TendAllocations, is_barred
from mayfly.core.apply import apply
from mayfly.core.belongings import to_be_shut
from mayfly.core.contact import ServiceAction
from mayfly.core.cut_off import NOBODY, cut_off
from mayfly.core.decide import decide
from mayfly.core.facts import (
    Fact,
    GpuResetting,
    JobSubmitted,
    SlotReleased,
)
from mayfly.core.gpus import Gpus
from mayfly.core.healing import Healing, Scene, heal
from mayfly.core.held_jobs import with_holds
from mayfly.core.job_images import asked_for
from mayfly.core.memory import Heal, Memory
from mayfly.core.model import (
    Config,
    Desired,
    Generation,
    PoolName,
    SlotName,
    World,
)
from mayfly.core.notice import Judge, notice
from mayfly.core.plan import Plan
from mayfly.core.polls import TICK
from mayfly.core.queue import Queue, charged
from mayfly.core.requests import (
    AskAnswer,
    AskRoster,
    AskWaiting,
    CancelWaiting,
    LookAtMounts,
    Note,
    Request,
    ResetGpu,
    Trial,
    TryEnrolment,
)
from mayfly.core.slots import within
from mayfly.core.state import NOISE, State
from mayfly.core.stimuli import (
    Stimulus,
    WitnessesRead,
)
from mayfly.core.taking_in import Draft

OPENING_MOST = 1.0  # seconds between looks at the witness of a gate that stays shut
ROUNDS = 12  # of noticing and deciding in one step; each has a cause in the one before
# neither even nor a multiple of 3: every noise comes once before any comes again
STRIDE = 7_368_787


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
    # Those of them that have ended, and whose doors are to be shut.
    closing: tuple[Generation, ...] = ()
    requests: tuple[Request, ...] = ()
    afterwards: tuple[Request, ...] = ()  # once the facts are on disk
    wake: float | None = None  # None: no time is due
    unfinished: bool = False  # noticing and deciding came to no end

    @property
    def empty(self) -> bool:
        """Whether there is nothing to record or do."""
        return not self.facts and not self.actions


def step(state: State, stimuli: Iterable[Stimulus], now: float, judge: Judge) -> Step:
    """What is to be recorded and done after these stimuli; ``judge`` says what an agent's end means."""
    draft = Draft(state, now)
    for stimulus in stimuli:
        draft.take(stimulus)
    taken = draft.state
    if taken.stopping:
        return _last(taken, tuple(draft.requests))
    if not taken.witnesses_read:
        taken, wanted, closing = _witnesses_wanted(taken)
        if wanted:
            return Step(
                state=taken,
                unrecorded=taken,
                world=taken.observed.world,
                witnesses=wanted,
                closing=closing,
                requests=tuple(draft.requests),
                wake=now,
            )
    return _decided(taken, now, judge, tuple(draft.requests))


def taken_in(state: State, stimuli: Iterable[Stimulus], now: float) -> State:
    """The state with these stimuli; nothing is decided, and it is not to be gone on with."""
    draft = Draft(state, now)
    for stimulus in stimuli:
        draft.take(stimulus)
    return draft.state


def foreseen(state: State, now: float, judge: Judge) -> Plan:
    """What a step would do now, with the witnesses as they were last read."""
    foreseen = step(state, (WitnessesRead({}),), now, judge)
    return Plan(foreseen.facts, foreseen.actions, foreseen.wake)


def _last(state: State, requests: tuple[Request, ...]) -> Step:
    """The step of a manager that stops: what has happened is recorded, nothing is noticed or begun."""
    return Step(
        state=replace(state, memory=state.drafted, pending=(), commanded=()),
        unrecorded=replace(state, commanded=()),
        world=state.observed.world,
        facts=state.drafting,
        requests=requests,
    )


def _witnesses_wanted(
    state: State,
) -> tuple[State, tuple[Generation, ...], tuple[Generation, ...]]:
    """Whose witnesses are to be read now, and whose doors are to be shut before.

    A launcher that passes its gate rings no bell: its witness is looked at until it has.
    """
    agents = state.memory.agents
    opening = {
        generation: replace(one, wait=min(one.wait * 2, OPENING_MOST))
        for generation, one in state.opening.items()
        if (agent := agents.get(generation)) is not None
        and agent.opened is None
        and agent.doom is None
        and not agent.settled
    }
    world = state.observed.world
    closing = to_be_shut(agents.values(), world, state.in_flight)
    stirred = state.stirred | opening.keys() | set(closing)
    if state.all_stirred:
        strangers = [name for name in state.observed.world.containers or {} if name not in agents]
        wanted = [*strangers, *(name for name, agent in agents.items() if not agent.settled)]
    else:
        wanted = [name for name in agents if name in stirred and not agents[name].settled]
    after = replace(state, opening=opening, stirred=frozenset(), all_stirred=False)
    return after, tuple(wanted), tuple(closing)


def _decided(state: State, now: float, judge: Judge, requests: tuple[Request, ...]) -> Step:
    """Notice and decide by turns, until nothing more follows."""
    before, (state, tended, slurm_due) = state, _allocated(state, now)
    facts = [*state.drafting]
    memory, dispatches = state.drafted, state.dispatches
    world = replace(state.observed.world, lost_leases=state.allocations.lost(memory))
    half_life = state.config.host.fair_share_half_life
    gpus = state.gpus.after(facts)
    resting = {subject: until for subject, until in state.resting.items() if until > now}
    mint = _Mint(state.noise, now)
    actions: list[Action] = []
    wake: float | None = None
    unfinished, looks, away, healing, taken = True, False, NOBODY, Healing(), state.turns
    for _ in range(ROUNDS):
        busy = frozenset(state.in_flight) | {action.subject for action in actions}
        noticed = charged(notice(memory, world, now, judge, busy), memory, half_life)
        noticed = turns.charged(
            with_holds(noticed, memory, state.desired.slots, now), memory, state.config.pools
        )
        dispatches = dispatch.after(dispatches, noticed, memory, now)
        memory, noticed, reserved_due = _timed(state, memory, noticed, gpus, now)
        gpus, world = gpus.judged(state.desired, memory, world, now)
        scene = Scene(state.desired, world, memory, gpus, state.survey.foreign_containers, now)
        healing = heal(scene, state.run_id)
        gpus, world = healing.shown(gpus, world)
        memory, noticed = apply(memory, healing.facts), (*noticed, *healing.facts)
        away = cut_off(memory, state.reported, state.contacts, now)
        plan = decide(
            state.desired,
            world,
            memory,
            now,
            run_id=state.run_id,
            mint=mint,
            in_flight=busy | resting.keys(),
            down=state.contacts.down,
            half_life=half_life,
            cut_off=away.agents,
            debts=state.debts,
            lightened=state.lightened,
            written=_written(state),
            dispatches=dispatches,
            enrolling=_enrolling(state, actions),
        )
        memory = apply(memory, plan.facts)
        facts += [*noticed, *plan.facts]
        actions += plan.actions
        wake, looks = plan.wake, plan.look_at_mounts
        taken = plan.turns if plan.turns is not None else taken
        if not noticed and not plan.facts:
            unfinished = False
            break
    if unfinished:
        requests = (*requests, Note("step.unfinished", {"rounds": ROUNDS, "facts": len(facts)}))
    gpus, told = gpus.attributed(facts, memory)
    if _asks_for_unseen(facts, state):
        state = replace(state, polls=state.polls.survey_soon(now))
    quiet = not actions and not state.in_flight and _is_quiet(state, memory)
    polls, look = state.polls.paced(quiet=quiet).ask(now)
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
    used = (action.sandbox for action in actions if isinstance(action, Open))
    recorded = replace(
        state,
        observed=state.observed.sandboxes_used(frozenset(one for one in used if one is not None)),
        memory=memory,
        dispatches=dispatches,
        turns=taken,
        gpus=gpus,
        noise=mint.noise,
        in_flight={**state.in_flight, **{action.subject: action for action in actions}},
        pending=(),
    )
    recorded, afterwards, due = _asked(recorded, told, world, now)
    dues = [*resting.values(), *(now + one.wait for one in state.opening.values()), polls.due]
    dues += [
        time
        for time in (
            *(wake, due, healing.wake, away.due, slurm_due, reserved_due),
            recorded.contacts.next(now),
        )
        if time is not None
    ]
    return Step(
        state=recorded,
        unrecorded=replace(
            state, all_stirred=True, allocations=before.allocations, desired=before.desired
        ),
        world=world,
        facts=told,
        actions=tuple(actions),
        requests=requests,
        afterwards=(*afterwards, *tended, *reserving.told_inside(facts, memory)),
        wake=min(dues),
        unfinished=unfinished,
    )


def _allocated(state: State, now: float) -> tuple[State, tuple[TendAllocations, ...], float | None]:
    """The state with what is wanted of Slurm, what it is to be asked, and when to come again."""
    memory, desired = state.drafted, state.desired
    by_slurm = [pool for pool in state.config.pools if pool.by_slurm]
    if not by_slurm and state.allocations.at is None and not state.allocations.is_owed(memory):
        return state, (), None  # on most hosts
    queue = Queue(memory, now, state.config.host.fair_share_half_life, desired.job_images)
    gates = dispatch.gates(state.dispatches, memory, state.run_id, _enrolling(state, ()))
    needs = {
        pool.name: queue.waiting(pool.name) if pool.embedded else max(0, gates.get(pool.name, 0))
        for pool in by_slurm
    }
    barred = {
        spec.name
        for spec in desired.slots
        if spec.pool.by_slurm and is_barred(memory.slot(spec.name), spec, desired, now)
    }
    allocations, wanted, due = state.allocations.scheduled(
        state.config, state.host, memory, needs, barred, now
    )
    if allocations == state.allocations:
        return state, (), due
    given_back = allocations.returning != state.allocations.returning
    state = replace(state, allocations=allocations)
    if given_back:
        draft = Draft(state, now)
        draft.desire()
        state = draft.state
    return state, () if wanted is None else (wanted,), due


def _asks_for_unseen(facts: Iterable[Fact], state: State) -> bool:
    """Whether a new job asks for an image that nobody has looked for."""
    new = (fact.job for fact in facts if isinstance(fact, JobSubmitted))
    return not asked_for(new) <= state.survey.images.keys()


def _written(state: State) -> dict[Generation, float]:
    """When the gates that are to open were written; of one that is being written: not before it is."""
    begun = (action for action in state.in_flight.values() if isinstance(action, Open))
    return {
        **{generation: one.written for generation, one in state.opening.items()},
        **{action.generation: inf for action in begun},
    }


def _enrolling(state: State, begun: Iterable[Action]) -> frozenset[Generation]:
    """Who is being enrolled."""
    actions = (*state.in_flight.values(), *begun)
    return frozenset(action.generation for action in actions if isinstance(action, Enrol))


def _is_quiet(state: State, memory: Memory) -> bool:
    """Whether the Engine rings for whatever may come: it is there, nothing is missing, no agent has a job,
    is to end, or has ended and is still there: what the Engine shows just after an end may be from before it.
    """
    containers = state.observed.world.containers
    if state.engine_lost is not None or containers is None or state.desired.obstacles:
        return False
    if state.observed.world.gateway:
        return False
    if not all(container.live for container in containers.values()):
        return False
    agents = memory.agents.values()
    return not any(
        agent.busy or agent.doom or (agent.settled and not agent.is_held) for agent in agents
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
    awaited: dict[PoolName, float] = {}
    for agent in memory.agents.values():
        unseen = not agent.embedded and agent.confirmed is None and not agent.settled
        if unseen and agent.opened is not None:
            awaited[agent.pool] = max(awaited.get(agent.pool, agent.opened), agent.opened)
    for pool, since in sorted(awaited.items()):
        contacts = contacts.awaited(pool, now, since)
    calls = (action for action in state.in_flight.values() if isinstance(action, ServiceAction))
    contacts, asked, knocked = contacts.calling({call.pool for call in calls}, now).ask(now)
    requests += [AskRoster(pool) for pool in asked]
    requests += [AskAnswer(pool) for pool in knocked]
    needs = dispatch.gates(state.dispatches, memory, state.run_id, _enrolling(state, ()))
    dispatches, heard, soon = dispatch.asked(state.dispatches, state.desired, memory, needs, now)
    requests += heard
    queues = state.queues
    looked: tuple[PoolName, ...] = ()
    doomed: tuple[tuple[PoolName, str], ...] = ()
    if memory.pause is None:
        queues, looked = queues.ask(now, contacts.down)
        queues, doomed = queues.cancelled()
    else:
        queues = queues.spared()
    requests += [AskWaiting(pool, _labels(state.desired, pool)) for pool in looked]
    requests += [CancelWaiting(pool, waiting) for pool, waiting in doomed]
    gpus, wanted, due = state.gpus.scheduled(state.desired, memory, world, now)
    requests += [_reset(memory.heals[fact.gpu]) for fact in facts if isinstance(fact, GpuResetting)]
    isolation, probes, again = state.isolation.scheduled(
        state.config, state.desired, state.survey, memory, now
    )
    next_look = queues.next() if memory.pause is None else None
    dues = [time for time in (due, again, soon, next_look) if time is not None]
    after = replace(
        state,
        refusals=refusals,
        contacts=contacts,
        dispatches=dispatches,
        queues=queues,
        gpus=gpus,
        isolation=isolation,
    )
    return after, (*requests, *wanted, *probes), min(dues, default=None)


def _reset(one: Heal) -> ResetGpu:
    return ResetGpu(one.gpu, one.together, one.devices, split=bool(one.mig))


def _labels(desired: Desired, pool: PoolName) -> tuple[tuple[str, ...], ...]:
    """What the pool's slots give jobs to ask for, each kind of them once."""
    return tuple(dict.fromkeys(spec.labels for spec in desired.slots if spec.pool.name == pool))


def _slots(config: Config, pool: PoolName) -> list[SlotName]:
    return [naming.slot(pool, index) for index in range(config.pool(pool).slots)]


def _timed(
    state: State, memory: Memory, noticed: tuple[Fact, ...], gpus: Gpus, now: float
) -> tuple[Memory, tuple[Fact, ...], float | None]:
    """The memory with what was noticed and what time brings to what is reserved; that; when to look again."""
    memory = apply(memory, noticed)
    used = reserving.in_use(memory, gpus.reading)
    half_life = state.config.host.fair_share_half_life
    facts, due = reserving.tended(memory, state.desired, used, now, half_life)
    return apply(memory, facts), (*noticed, *facts), due


class _Mint:
    """Generations never used before: by the time, and by a count that began at random."""

    def __init__(self, noise: int, now: float) -> None:
        self.noise = noise
        self._now = now

    def __call__(self) -> Generation:
        self.noise = (self.noise + STRIDE) % NOISE
        return naming.generation(self._now, self.noise)
