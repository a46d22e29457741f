"""Whose turn it is: slots of pools in turn may have the same GPUs, and a gate opens at its slot's turn alone.

Pure. Each pool has an account: the seconds of one GPU that its agents had, divided by its weight. Of the
pools that have a job the one with the least is next, and a turn adds to its account, so weights hold over
time and everybody's turn comes. A slot whose GPUs are not all free when its pool is next has those kept that
are: no gate behind it opens on one of them. By that a wide slot gets its GPUs, while narrow ones go on
elsewhere.

A pool that has had nothing to do has nothing to catch up: its account begins again where those of the others
are. Nor has one with little to do saved up for days: while it has jobs it is behind another by no more than
one longest turn of that other. The accounts are on disk, and what runs is counted from when its gate was
opened: a restart changes no turn. See ADR 0042.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from mayfly.core.facts import AgentExited, AgentRemoved, Fact, TurnAwaited, TurnEnded, TurnWaived
from mayfly.core.memory import NO_TURNS, Agent, Memory
from mayfly.core.model import Generation, PoolName, PoolSpec, SlotName, SlotSpec
from mayfly.core.reservations import Reservation

# seconds that a turn counts at once: of GPUs that get free together one pool has not all
AHEAD = 60.0
LEAST = 1.0  # seconds that the shortest turn counts
ENDING = 3600.0  # seconds in which a job has ended that was told to
NO_AGENT = Generation("")  # of GPUs that were reserved for work outside of containers
# seconds that a job lasts at the most, as far as accounts go, where nothing limits it
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Seat:
    """A slot that could have a turn: what its gate needs beside GPUs is there, or about to be."""

    slot: SlotName
    pool: PoolName
    lease: tuple[str, ...]
    ready: bool = True  # its agent stands at its gate, and sees its GPUs
    # a job is promised to this slot and to no other: its agent is enrolled for one, or it is booked
    promised: bool = False
    # its turn has begun already: its service has given, or gives, its agent a job
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Turns:
    """Whose turn it is now."""

    granted: frozenset[SlotName] = frozenset()  # their GPUs are free, and theirs
    # slots that are next on all of their GPUs, and those of them that others have yet
    next: Mapping[SlotName, tuple[str, ...]] = field(default_factory=dict)
    waiting: tuple[PoolName, ...] = ()  # pools with a job for which no GPU is left, the next first


NO_TURN = Turns()


def cost(seconds: float, gpus: int, pool: PoolSpec) -> float:
    """What that time with so many GPUs adds to the pool's account."""
    return seconds * gpus / pool.weight


def accounts(
    memory: Memory, pools: Mapping[PoolName, PoolSpec], now: float, at_once: float = 0.0
) -> dict[PoolName, float]:
    """The pools' accounts as of now: what their agents have had so far counts ``at_once`` at the least."""
    found = {name: memory.turns.get(name, NO_TURNS).used for name in pools}
    for agent in memory.agents.values():
        if agent.pool in pools and agent.at_work:
            seconds = max(at_once, _had(agent, pools[agent.pool], now))
            found[agent.pool] += cost(seconds, len(agent.lease), pools[agent.pool])
        elif agent.pool in pools and agent.hold is not None:
            found[agent.pool] += cost(_held(agent, now), len(agent.lease), pools[agent.pool])
    for one in memory.reservations.values():
        if one.pool in pools and not one.shell:
            found[one.pool] += cost(_reserved(one, now), one.gpus, pools[one.pool])
    return found


def longest(pool: PoolSpec) -> float:
    """Seconds that a job of the pool may last."""
    limit = pool.limits.job_timeout
    return DAY if limit is None else limit


def _had(agent: Agent, pool: PoolSpec, now: float) -> float:
    """Seconds that an agent has had its GPUs: no more than a job of its pool may last and end in, whatever a
    clock says that jumped while no manager ran; none where it is not known when its gate was opened.
    """
    if agent.committed is None or agent.opened is None:
        return 0.0
    return min(max(0.0, now - agent.committed), longest(pool) + ENDING)


def _held(agent: Agent, now: float) -> float:
    """Seconds that an agent's GPUs have been held for a person since its job ended."""
    hold = agent.hold
    return 0.0 if hold is None else max(0.0, min(now, hold.latest) - hold.since)


def _reserved(one: Reservation, now: float) -> float:
    """Seconds that somebody has had GPUs outside of containers: of a shell its agent has them."""
    return 0.0 if one.began is None else max(0.0, min(now, one.ends) - one.began)


def levels(
    used: Mapping[PoolName, float],
    pools: Mapping[PoolName, PoolSpec],
    leases: Mapping[PoolName, Sequence[str]],
    active: AbstractSet[PoolName],
) -> dict[PoolName, float]:
    """The accounts by which the turns go: each active pool's is at the least that of each active rival, less
    what one longest turn in all of the rival's slots adds to it. ``leases``: the GPUs of the pool's slots.

    So much the rival may have got while the pool waited for it, and more was got where the pool wanted none.
    """
    found = dict(used)
    rivals = rivals_of(pools, leases)
    bounds = {
        name: cost(longest(pools[name]), len(leases.get(name, ())), pools[name]) for name in pools
    }
    raised = [name for name in pools if name in active]
    while raised:  # ends: nobody is raised above an account that is there
        name = raised.pop()
        for other in rivals[name]:
            if other in active and found[other] < found[name] - bounds[name]:
                found[other] = found[name] - bounds[name]
                raised.append(other)
    return found


def decided(
    pools: Mapping[PoolName, PoolSpec],
    seats: Sequence[Seat],
    jobs: Mapping[PoolName, int],
    used: Mapping[PoolName, float],
    busy: AbstractSet[str],
) -> Turns:
    """Whose turn it is. ``pools``: those in turn, in config order; ``jobs``: how many of each wait, those not
    counted that are promised to a slot; ``used``: their levels; ``busy``: GPUs that somebody may be at.
    """
    draft = _Draft(pools, dict(used), set(busy))
    for seat in seats:
        if seat.begun and draft.is_free(seat):
            draft.grant(seat)
    places = {name: place for place, name in enumerate(pools)}
    needs = {name: _Need(jobs.get(name, 0)) for name in pools}
    for seat in seats:
        if seat.slot not in draft.granted:
            needs[seat.pool].seats.append(seat)
    open_ = {name: need for name, need in needs.items() if need.seats}
    while open_:
        name = min(open_, key=lambda one: (draft.used[one], places[one]))
        chosen = open_[name].take(draft)
        if chosen is None:
            del open_[name]
        elif draft.is_free(chosen):
            draft.grant(chosen)
        else:
            draft.keep(chosen)
    unmet = [name for name, need in needs.items() if need.unmet]
    order = sorted(unmet, key=lambda one: (used[one], places[one]))
    return Turns(frozenset(draft.granted), dict(draft.next), tuple(order))


@dataclass(slots=True)
class _Draft:
    """The turns as they are given out."""

    pools: Mapping[PoolName, PoolSpec]
    used: dict[PoolName, float]
    busy: set[str]
    kept: set[str] = field(default_factory=set)
    granted: set[SlotName] = field(default_factory=set)
    next: dict[SlotName, tuple[str, ...]] = field(default_factory=dict)

    def is_free(self, seat: Seat) -> bool:
        return self.busy.isdisjoint(seat.lease) and self.kept.isdisjoint(seat.lease)

    def awaited(self, seat: Seat) -> tuple[str, ...]:
        """Those of its GPUs that somebody may be at."""
        return tuple(uuid for uuid in seat.lease if uuid in self.busy)

    def grant(self, seat: Seat) -> None:
        self.granted.add(seat.slot)
        self.busy.update(seat.lease)
        self._count(seat)

    def keep(self, seat: Seat) -> None:
        self.next[seat.slot] = self.awaited(seat)
        self.kept.update(seat.lease)
        self._count(seat)

    def _count(self, seat: Seat) -> None:
        self.used[seat.pool] += cost(AHEAD, len(seat.lease), self.pools[seat.pool])


@dataclass(slots=True)
class _Need:
    """What a pool wants: so many jobs beside those that are promised, and where they could run."""

    jobs: int
    seats: list[Seat] = field(default_factory=list)
    unmet: bool = False  # something of it found no GPU that is free

    def take(self, draft: _Draft) -> Seat | None:
        """The seat that has the pool's next turn, the best of those on whose GPUs nobody else is next;
        ``None``: there is none.
        """
        wanted = [seat for seat in self.seats if seat.promised or self.jobs > 0]
        could = [seat for seat in wanted if draft.kept.isdisjoint(seat.lease)]
        if not could:
            self.unmet = self.unmet or bool(wanted)
            return None
        chosen = min(could, key=lambda seat: _rank(seat, draft))
        self.seats.remove(chosen)
        if not chosen.promised:
            self.jobs -= 1
        self.unmet = self.unmet or not draft.is_free(chosen)
        return chosen


def _rank(seat: Seat, draft: _Draft) -> tuple[bool, bool, bool, int]:
    """What is smaller is better: whose GPUs are free, then who stands ready, then who misses the fewest."""
    missing = len(draft.awaited(seat))
    return (not seat.promised, missing > 0, not seat.ready, missing)


def changes(
    pools: Mapping[PoolName, PoolSpec],
    leases: Mapping[PoolName, Sequence[str]],
    memory: Memory,
    jobs: Mapping[PoolName, int | None],
    now: float,
) -> list[TurnAwaited | TurnWaived]:
    """Which pools have something to do from now on, and which have nothing any more.

    ``leases``: the GPUs of each pool's slots. ``jobs``: how many of each could have a turn if its
    GPUs were free; ``None``: that is not known, and changes nothing.
    """
    active = active_pools(memory)
    used = levels(accounts(memory, pools, now), pools, leases, active)
    rivals = rivals_of(pools, leases)
    at_work = {agent.pool for agent in memory.agents.values() if agent.at_work}
    facts: list[TurnAwaited | TurnWaived] = [
        TurnWaived(now, name) for name in sorted(active - pools.keys())
    ]
    for name in pools:
        waiting = jobs.get(name, 0)
        if name in active:
            if waiting == 0 and name not in at_work:
                facts.append(TurnWaived(now, name))
                active.remove(name)
        elif waiting or name in at_work:
            others = [other for other in rivals.get(name, ()) if other in used]
            going = [used[other] for other in others if other in active]
            at_least = min(going) if going else max((used[one] for one in others), default=0.0)
            more = max(0.0, at_least - used[name])
            used[name] += more
            # What runs is counted by itself.
            recorded = memory.turns.get(name, NO_TURNS).used + more
            facts.append(TurnAwaited(now, name, recorded))
            active.add(name)
    return facts


def caught_up(
    pools: Mapping[PoolName, PoolSpec],
    leases: Mapping[PoolName, Sequence[str]],
    memory: Memory,
    now: float,
    pool: PoolName,
) -> TurnAwaited | None:
    """What is recorded as a turn of the pool begins where others were further before it than is let: what
    it has from here on counts from its level. ``None``: they were not.
    """
    account = memory.turns.get(pool, NO_TURNS)
    if account.since is None:
        return None
    used = accounts(memory, pools, now)
    more = levels(used, pools, leases, active_pools(memory))[pool] - used[pool]
    return TurnAwaited(now, pool, account.used + more) if more > 0 else None


def begun_outside(
    specs: Sequence[SlotSpec], memory: Memory, pool: PoolName, now: float
) -> list[Fact]:
    """What is recorded of a pool's account as somebody gets GPUs of it outside of containers: what it has
    from here on counts from where it would begin with a job. Whether it has one is not changed.
    """
    pools = {spec.pool.name: spec.pool for spec in specs if spec.pool.takes_turns}
    if pool not in pools:
        return []
    leases: dict[PoolName, list[str]] = {}
    for spec in specs:
        leases.setdefault(spec.pool.name, []).extend(spec.lease)
    if pool in active_pools(memory):
        found = caught_up(pools, leases, memory, now, pool)
        return [found] if found is not None else []
    jobs = dict.fromkeys(pools) | {pool: 1}
    begun = [fact for fact in changes(pools, leases, memory, jobs, now) if fact.pool == pool]
    return [*begun, TurnWaived(now, pool)]


def charged(facts: Sequence[Fact], memory: Memory, pools: Iterable[PoolSpec]) -> tuple[Fact, ...]:
    """The facts, and after each end of an agent in turn, or of its hold, what its pool's account is then."""
    in_turn = {pool.name: pool for pool in pools if pool.takes_turns}
    if not in_turn:
        return tuple(facts)
    used: dict[PoolName, float] = {}
    found: list[Fact] = []
    for fact in facts:
        found.append(fact)
        if not isinstance(fact, AgentExited | AgentRemoved):
            continue
        agent = memory.agents.get(fact.generation)
        pool = in_turn.get(agent.pool) if agent is not None and agent.lease else None
        if agent is None or pool is None:
            continue
        if isinstance(fact, AgentExited) and agent.at_work:
            seconds = _had(agent, pool, fact.at)
        elif isinstance(fact, AgentRemoved) and agent.hold is not None:
            seconds = _held(agent, fact.at)
        else:
            continue
        before = used.get(pool.name, memory.turns.get(pool.name, NO_TURNS).used)
        used[pool.name] = before + cost(max(LEAST, seconds), len(agent.lease), pool)
        found.append(TurnEnded(fact.at, pool.name, agent.generation, seconds, used[pool.name]))
    return tuple(found)


def with_reserved(
    memory: Memory, one: Reservation, pools: Iterable[PoolSpec], now: float
) -> TurnEnded | None:
    """What its pool's account is with GPUs that were reserved for work outside of containers until now;
    ``None``: that of an agent is, or the pool takes no turns.
    """
    pool = next((pool for pool in pools if pool.name == one.pool and pool.takes_turns), None)
    if pool is None or one.shell or one.began is None:
        return None
    seconds = _reserved(one, now)
    used = memory.turns.get(pool.name, NO_TURNS).used + cost(seconds, one.gpus, pool)
    return TurnEnded(now, pool.name, NO_AGENT, seconds, used)


def behind(
    pools: Mapping[PoolName, PoolSpec],
    leases: Mapping[PoolName, Sequence[str]],
    memory: Memory,
    waiting: Mapping[PoolName, int],
    now: float,
) -> frozenset[PoolName]:
    """The pools that would not be next with something to do: another waits for GPUs of theirs, and has had
    less. ``waiting``: how many jobs of each could have a turn if its GPUs were free.
    """
    active = active_pools(memory) | {name for name, count in waiting.items() if count}
    used = accounts(memory, pools, now)
    found = set()
    for name, rivals in rivals_of(pools, leases).items():
        before = [other for other in rivals if waiting.get(other, 0)]
        if not before:
            continue
        own = used
        if name not in active:  # it has nothing to catch up
            own = used | {name: max(used[name], min(used[other] for other in rivals & active))}
        level = levels(own, pools, leases, active | {name})
        if any(level[other] < level[name] for other in before):
            found.add(name)
    return frozenset(found)


def active_pools(memory: Memory) -> set[PoolName]:
    """Those that have something to do, as it was recorded last."""
    return {name for name, account in memory.turns.items() if account.since is not None}


def rivals_of(
    pools: Iterable[PoolName], leases: Mapping[PoolName, Sequence[str]]
) -> dict[PoolName, frozenset[PoolName]]:
    """With which other pools each has a GPU in common."""
    own = {name: frozenset(leases.get(name, ())) for name in pools}
    return {
        name: frozenset(
            other for other in own if other != name and not own[name].isdisjoint(own[other])
        )
        for name in own
    }
