"""What to do next: desired, world and memory in, a plan out. The heart of Mayfly.

Pure: the same arguments give the same plan. It never acts on what is unknown, never ends an agent that
runs a job unless a person or a limit says so, opens a gate at most once, and names at most one action per
subject. Facts of a plan are to be on disk before its actions are begun; facts that doom an agent take
effect in the next pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from mayfly.core import belongings, bench_lane, dispatch, idle_host, naming, sandbox
from mayfly.core.actions import Action, Enrol, MakeSandbox, Prepare
from mayfly.core.agent_plan import limits_of
from mayfly.core.booking import as_booked, lapses
from mayfly.core.dispatch import Dispatches
from mayfly.core.ending import OUTPUTS_AWAITED, clear, end, sweep, unwanted
from mayfly.core.facts import (
    AgentCreated,
    AgentDoomed,
    Fact,
    GateOpening,
    SlotBooked,
    SlotHeld,
    SlotReleased,
    SlotUncordoned,
)
from mayfly.core.held_jobs import generations_held
from mayfly.core.job_images import wanted_for
from mayfly.core.keeping import deadline, keep
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    ContainerId,
    Desired,
    DoomReason,
    Generation,
    Hold,
    PoolName,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.notice import doubtful_until
from mayfly.core.opening import leased, use
from mayfly.core.plan import NOTHING_WRITTEN, STAY, Act, Doom, Plan, Stay, Verdict, View, subjects
from mayfly.core.queue import HALF_LIFE, Queue
from mayfly.core.reserving import arranged
from mayfly.core.rolling import Rolling
from mayfly.core.sandbox import Sandboxes
from mayfly.core.slots import VACANCY, Tenancy, cooling, tenancies, trial_due
from mayfly.core.taking_turns import Wants, caught_up_by, not_next, turns_of
from mayfly.core.throttle import NO_DEBTS, Debts, throttle
from mayfly.core.unseen_ends import unseen_ends
from mayfly.core.yielding import yields

MAX_PREPARING = 8  # containers made at once; the Engine makes them one after the other anyway


def decide(
    desired: Desired,
    world: World,
    memory: Memory,
    now: float,
    *,
    run_id: str,
    mint: Callable[[], Generation],
    in_flight: frozenset[str] = frozenset(),
    down: frozenset[PoolName] = frozenset(),
    half_life: float = HALF_LIFE,
    cut_off: frozenset[Generation] = frozenset(),
    debts: Debts = NO_DEBTS,
    lightened: frozenset[Generation] = frozenset(),
    written: Mapping[Generation, float] = NOTHING_WRITTEN,
    dispatches: Dispatches = dispatch.NONE,
    enrolling: frozenset[Generation] = frozenset(),
) -> Plan:
    """The plan for now.

    ``run_id`` names this run of the manager, ``mint`` gives generations never used before, and subjects
    ``in_flight`` already have an action under way (or rest after one that failed). The services of pools that
    are ``down`` are asked for nothing. ``half_life`` is that of the shares that the queues are ordered by.
    Idle agents that are ``cut_off`` from their service are replaced. Who has too large ``debts`` is frozen;
    a manager that only observes lets it go on. Who is ``lightened`` yields to those that begin already.
    ``written``: see ``View``. A pool of ``dispatches`` has no more agents enrolled than there are jobs for
    it; those ``enrolling`` are on their way.
    """
    if world.containers is None:
        return Plan(wake=_next_doubt(world, memory, now))
    tenants = tenancies(memory.agents.values())
    sandboxes = sandbox.sandboxes(world, generations_held(memory.agents.values()))
    gates = dispatch.gates(dispatches, memory, run_id, enrolling)
    view = View(
        desired=desired,
        world=world,
        memory=memory,
        now=now,
        run_id=run_id,
        in_flight=in_flight,
        containers=world.containers,
        names=frozenset(container.name for container in world.containers.values()),
        sharing=frozenset(spec.pool.name for spec in desired.slots if spec.pool.share),
        down=down,
        cut_off=cut_off,
        sandboxes=sandboxes.usable,
        lightened=lightened,
        written=written,
        surplus=dispatch.in_surplus(dispatches, gates, memory, now),
        unseen=unseen_ends(desired, memory, now, world),
        lane=bench_lane.locks_of(memory),
        enrolling=enrolling,
    )
    agents, observing = memory.agents.values(), memory.pause is not None
    throttled = throttle(view, debts, agents, observing=observing)
    view = replace(view, in_flight=view.in_flight | subjects(one for _, one in throttled))
    draft = _Draft(
        view=view,
        mint=mint,
        queue=Queue(memory, now, half_life, desired.job_images),
        rolling=Rolling(desired, memory, world, tenants, now),
        leased=leased(memory, world, world.containers),
        room=MAX_PREPARING - preparing(memory, world),
        serial=memory.serial,
        sandboxes=sandboxes,
        dispatches=dispatches,
        gates=gates,
        enrolling=enrolling,
        half_life=half_life,
    )
    for agent, verdict in throttled:
        draft.take(verdict, agent)
    if observing:
        _unlock_clocks(draft)  # whoever pauses Mayfly finds the GPUs as they are without it
    else:
        _all_slots(draft, tenants)
    wakes = [due for due in draft.wakes if due > now]
    doubt = _next_doubt(world, memory, now)
    if doubt is not None:
        wakes.append(doubt)
    wake = min(wakes, default=None)
    turns = draft.view.turns if not observing else None
    return Plan(tuple(draft.facts), tuple(draft.actions), wake, draft.look_at_mounts, turns)


def _all_slots(draft: _Draft, tenants: Mapping[SlotName, Tenancy]) -> None:
    if over := tuple(lapses(draft.view)):
        draft.record(*over)  # before anybody behind those jobs gets a slot
        return
    if not _arrange_reservations(draft, tenants):
        return
    _take_turns(draft, tenants)
    view = draft.view
    wanted: set[SlotName] = set()
    for spec in view.desired.slots:
        wanted.add(spec.name)
        _slot(draft, spec, tenants.get(spec.name, VACANCY))
    for name, tenancy in tenants.items():
        if name not in wanted:
            for agent in tenancy.agents:
                draft.take(belongings.clearing(view, agent), agent)
                draft.take(unwanted(view, agent), agent)
    _unlock_clocks(draft)
    tidied = (*sweep(view), *sandbox.tended(view, draft.sandboxes), *belongings.unowned(view))
    for verdict in tidied:
        draft.take(verdict)
    enrolling = draft.enrolling | {
        one.generation for one in draft.actions if isinstance(one, Enrol)
    }
    desired = view.desired
    if view.reserved.held or view.reserved.kept:
        bars = view.reserved.bars
        free = tuple(spec for spec in desired.slots if not bars(spec.name, spec.lease))
        desired = replace(desired, slots=free)
    known = (draft.dispatches, draft.gates, desired, view.memory, tenants, enrolling)
    for acquire in dispatch.acquisitions(*known, view.now):
        if view.asks(acquire.pool, acquire.subject):
            draft.take(Act((acquire,)))


def _arrange_reservations(draft: _Draft, tenants: Mapping[SlotName, Tenancy]) -> bool:
    """Whether all that is reserved is as it is to be, and others may have what is left."""
    behind: frozenset[PoolName] = frozenset()
    if any(one.began is None for one in draft.view.memory.reservations.values()):
        behind = not_next(draft.view, draft.wants(tenants))
    reserved, facts, due = arranged(
        draft.view, draft.leased, tenants, draft.half_life, draft.queue, behind
    )
    draft.view = replace(draft.view, reserved=reserved)
    draft.record(*facts)
    draft.wake(due)
    return not facts


def _take_turns(draft: _Draft, tenants: Mapping[SlotName, Tenancy]) -> None:
    wants = draft.wants(tenants)
    turns, facts = turns_of(draft.view, wants)
    draft.record(*facts)
    draft.view = replace(draft.view, turns=turns)
    draft.view = replace(draft.view, lane=idle_host.lane_of(draft.view, wants))


def _unlock_clocks(draft: _Draft) -> None:
    """Give back the clocks that no job needs any more."""
    actions, due = bench_lane.unlockings(draft.view, draft.facts)
    draft.wake(due)
    for action in actions:
        draft.take(Act((action,)))


@dataclass(slots=True)
class _Draft:
    """The plan as it grows, and what each verdict leaves for those after it: the one place that appends."""

    view: View
    mint: Callable[[], Generation]
    queue: Queue
    rolling: Rolling
    leased: dict[str, list[Agent]]
    room: int
    serial: int
    sandboxes: Sandboxes
    dispatches: Dispatches
    gates: dict[PoolName, int]
    enrolling: frozenset[Generation]
    half_life: float
    facts: list[Fact] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    look_at_mounts: bool = False

    def wants(self, tenants: Mapping[SlotName, Tenancy]) -> Wants:
        """Who wants a GPU now."""
        return Wants(tenants, self.leased, self.queue, self.dispatches, self.gates, self.enrolling)

    def take(self, verdict: Verdict, agent: Agent | None = None) -> None:
        """What a rule says of the agent, or of none."""
        if verdict is STAY:  # most agents, most of the time
            return
        match verdict:
            case Stay(until=until, look_at_mounts=look):
                self.look_at_mounts = self.look_at_mounts or look
                self.wake(until)
            case Doom(reason=reason, detail=detail, by=by):
                assert agent is not None
                self.record(AgentDoomed(self.view.now, agent.generation, reason, by, detail))
                if reason is DoomReason.STALE:
                    self.rolling.add(agent.pool)  # one at a time
            case Act(actions=actions, facts=facts, until=until):
                self._begin_turn(agent, facts)
                self.record(*facts)
                self.actions.extend(actions)
                self.wake(until)
                if agent is not None:
                    self._claim(agent, facts)
                for action in actions:
                    if isinstance(action, Enrol) and action.pool in self.gates:
                        self.gates[action.pool] -= 1
            case _:
                assert_never(verdict)

    def record(self, *facts: Fact) -> None:
        """What is to be on disk."""
        self.facts.extend(facts)

    def wake(self, until: float | None) -> None:
        """Look again then."""
        if until is not None:
            self.wakes.append(until)

    def _begin_turn(self, agent: Agent | None, facts: tuple[Fact, ...]) -> None:
        """What a pool in turn has from here on counts from where its account is to be."""
        if agent is not None and any(isinstance(fact, GateOpening) for fact in facts):
            caught_up = caught_up_by(self.view, agent.pool)
            if caught_up is not None:
                self.record(caught_up)

    def _claim(self, agent: Agent, facts: tuple[Fact, ...]) -> None:
        """Whoever's gate is being opened has its GPUs, and the job that was next; a slot that is booked has
        the job that was next, too.
        """
        for fact in facts:
            if isinstance(fact, GateOpening):
                for uuid in agent.lease:
                    self.leased.setdefault(uuid, []).append(agent)
                ordered = fact.job not in self.view.memory.reservations
                if fact.job is not None and agent.asked_image is None and ordered:
                    self.queue.take(self.view.memory.jobs[fact.job])
            elif isinstance(fact, SlotBooked):
                self.queue.take(self.view.memory.jobs[fact.job])


def preparing(memory: Memory, world: World) -> int:
    """How many are being made; one that waits for its image is in nobody's way."""
    containers = world.containers or {}
    making = (
        agent.generation
        for agent in memory.agents.values()
        if agent.armed is None and agent.doom is None and not agent.settled
    )
    return sum(1 for one in making if one not in containers or not containers[one].waits)


def _next_doubt(world: World, memory: Memory, now: float) -> float | None:
    dues = (doubtful_until(agent, world) for agent in memory.agents.values())
    return min((due for due in dues if due is not None and due > now), default=None)


def _slot(draft: _Draft, spec: SlotSpec, tenancy: Tenancy) -> None:
    view = draft.view
    cordon = view.memory.slot(spec.name).cordon
    if cordon is not None and cordon.until is not None:
        if cordon.until <= view.now:
            draft.record(SlotUncordoned(view.now, spec.name, reason="its time was over"))
            return
        draft.wake(cordon.until)
    view, wanted = as_booked(view, spec)
    _agents(draft, view, wanted, tenancy)
    _fill(draft, view, wanted, tenancy, spec)


def _agents(draft: _Draft, view: View, spec: SlotSpec, tenancy: Tenancy) -> None:
    newer = len(tenancy.settled)
    for agent in tenancy.settled:
        newer -= 1
        crowded = newer >= OUTPUTS_AWAITED
        draft.take(belongings.clearing(view, agent), agent)
        draft.take(clear(view, agent, spec, crowded=crowded), agent)
    _hold_sick_gpus(draft, spec)
    own, standby = tenancy.own, tenancy.standby
    for agent in tenancy.agents:
        if agent.settled:
            continue
        if agent.doom is not None:
            draft.take(end(view, agent, spec), agent)
            continue
        if agent is not own and agent is not standby and agent.opened is None:
            draft.take(Doom(DoomReason.UNWANTED, "the slot has an agent and a standby"), agent)
            continue
        due = deadline(view, spec, agent, own=agent is own)
        verdict = keep(view, draft.rolling, spec, agent, due, own=agent is own)
        draft.take(verdict, agent)
        if isinstance(verdict, Doom):
            continue
        draft.wake(due)
        draft.take(yields(view, spec, agent), agent)
        if agent is own:
            known = (view, draft.leased, draft.queue, spec, agent, tenancy, draft.gates)
            draft.take(use(*known), agent)


def _hold_sick_gpus(draft: _Draft, spec: SlotSpec) -> None:
    """A slot whose GPU is sick is held until that is seen to be over, or a person has seen to it; the others
    go on.
    """
    view = draft.view
    word = view.world.gpu_verdicts.get(spec.name)
    known = view.memory.slot(spec.name)
    if word is None:
        if spec.name in view.desired.awaiting and known.hold is Hold.GPU:
            draft.record(SlotReleased(view.now, spec.name))  # its next GPU is another, or well
        return
    if word.sick is not None:
        hold = Hold.GPU if word.returns else Hold.PERSON
        if known.held is None or (known.hold is not Hold.PERSON and known.hold is not hold):
            draft.record(SlotHeld(view.now, spec.name, word.sick, hold))
    elif word.fit and known.held is not None and known.hold is Hold.GPU:
        draft.record(SlotReleased(view.now, spec.name))


def _barred(view: View, spec: SlotSpec) -> Stay | None:
    """Until when nothing is made for the slot; ``None`` where it may be."""
    known = view.memory.slot(spec.name)
    if known.cordon is not None or spec.name in view.desired.obstacles:
        return STAY
    if spec.name in view.desired.undetermined or spec.name in view.desired.awaiting:
        return STAY
    if view.world.resetting.intersection(spec.lease):
        return STAY
    if cooling(known, view.now):
        return Stay(known.cooling_until or view.now)
    return None


def _lacking(view: View, spec: SlotSpec, tenancy: Tenancy) -> str | Stay:
    """Why the slot is to get another agent now, or until when it is not."""
    known, own = view.memory.slot(spec.name), tenancy.own
    if known.held is not None:
        if own is not None or not trial_due(known, spec, view.now):
            return Stay(known.trial_at)
        return f"to see whether this is over: {known.held}"
    if own is None:
        return "the slot has no agent"
    if tenancy.standby is None and spec.standby and _is_used(own):
        return "the slot's agent is at work; this is its standby"
    return STAY


def _is_used(agent: Agent) -> bool:
    """Whether the slot's next one may be begun."""
    return agent.opened is not None or agent.doom is not None


def _fill(draft: _Draft, view: View, spec: SlotSpec, tenancy: Tenancy, pool_own: SlotSpec) -> None:
    """Make the slot's next agent where it has none and may have one; what it needs comes first. ``pool_own``:
    as its holders are made.
    """
    barred = _barred(view, spec)
    if barred is not None:
        draft.take(barred)
        return
    reason = _lacking(view, spec, tenancy)
    if spec.sandboxed:
        _fill_sandboxed(draft, view, spec, tenancy, pool_own, reason)
    elif isinstance(reason, Stay):
        draft.take(reason)
    else:
        _prepare(draft, view, spec, tenancy, reason, None)


def _fill_sandboxed(
    draft: _Draft,
    view: View,
    spec: SlotSpec,
    tenancy: Tenancy,
    pool_own: SlotSpec,
    reason: str | Stay,
) -> None:
    """An agent for a namespace in which nobody is, or the namespace; where the slot keeps no standby, that of
    its next agent is made meanwhile.
    """
    own = tenancy.own
    if isinstance(reason, Stay):
        draft.take(reason)
        held = view.memory.slot(spec.name).held is not None
        if held or spec.standby or own is None or not _is_used(own):
            return
    if sandbox.is_filling(view.world, tenancy.agents) or not view.free(
        naming.sandbox_of(spec.name)
    ):
        return
    vacant = draft.sandboxes.vacant.get((pool_own.name, pool_own.fingerprint))
    if vacant is not None and isinstance(reason, str):
        _prepare(draft, view, spec, tenancy, reason, vacant.id)
    elif vacant is None and sandbox.is_checked(draft.sandboxes, pool_own) and draft.room > 0:
        draft.room -= 1
        why = reason if isinstance(reason, str) else "the slot's agent is at work; for its next one"
        draft.take(Act((MakeSandbox(draft.mint(), pool_own, why),)))


def _prepare(
    draft: _Draft,
    view: View,
    spec: SlotSpec,
    tenancy: Tenancy,
    reason: str,
    joined: ContainerId | None,
) -> None:
    if draft.room <= 0:
        return
    if spec.asked_image is not None:
        reason = wanted_for(spec.asked_image)
    draft.room -= 1
    draft.serial += 1
    generation = draft.mint()
    alone = not tenancy.agents and spec.name not in view.names
    limits = limits_of(spec)
    agent = Agent(
        generation=generation,
        slot=spec.name,
        pool=spec.pool.name,
        serial=draft.serial,
        fingerprint=spec.fingerprint,
        image=spec.image,
        lease=spec.lease,
        born=view.now,
        embedded=spec.embedded,
        dispatched=spec.dispatched,
        memory=limits.memory,
        shm=limits.shm,
        asked_image=spec.asked_image,
        door=spec.pool.containers,
        allocation=spec.allocation,
    )
    name = str(spec.name) if alone else naming.standby(spec.name, generation)
    prepare = Prepare(generation, spec, name, reason, joined)
    draft.take(Act((prepare,), (AgentCreated(view.now, agent, reason),)))
