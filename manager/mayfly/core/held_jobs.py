"""Jobs that have ended and whose containers are held, with their files and GPUs, for a person to go into.

Pure. The end of such a job is accounted for as every other; then, once nothing is registered at its service
and what it printed and made is seen to, its container is started once more. It takes no job then: its gate
reads nothing. What was promised is on disk with the job's end, so that no gate of its slot, nor another on
its GPUs, opens until that container is gone, whatever becomes of the manager. See ADR 0053.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mayfly.core.actions import Action, StartAgain
from mayfly.core.facts import AgentExited, AgentHeld, AgentOpened, Fact, HoldEnded, JobEnded
from mayfly.core.memory import Agent, HoldWish, JobHold, Memory
from mayfly.core.model import (
    Cause,
    Condition,
    Container,
    DoomReason,
    Generation,
    PoolName,
    PoolSpec,
    Removal,
    Severity,
    SlotName,
    SlotSpec,
)
from mayfly.core.observed import STARTS
from mayfly.core.plan import Act, Stay, Verdict, View
from mayfly.core.quantities import time_of_day, written_duration
from mayfly.core.reservations import clock
from mayfly.core.slots import within
from mayfly.core.who_waits import who_waits

WITH_OTHERS = 3600.0  # seconds for which one is held in all while others wait for its slot
USUAL = 1800.0  # seconds for which a job is held where nobody says for how long
OFTEN = 600.0  # seconds in which one that ends by itself is started STARTS times at most
COMING_UP = 60.0  # seconds in which a held container has to be up the first time
DAY = 86400.0
OPERATORS = "the operators"
# Of these nobody wants to see what is left: a person gave it up, or its GPUs are somebody else's.
NOT_AFTER = frozenset(
    {
        DoomReason.CANCELLED,
        DoomReason.FORCED,
        DoomReason.TAKEN_BACK,
        DoomReason.LEASE_LOST,
    }
)


# -- whose container is held ---------------------------------------------------------------------


def unholdable(spec: SlotSpec) -> str | None:
    """Why no job of the slot can be held, as the end of a sentence; ``None`` where one can."""
    pool = spec.pool
    if not spec.engine.starts_again:
        return "its engine cannot start a container that has ended once more"
    if spec.removal is not Removal.MANAGER:
        return (
            "its containers are removed by the engine as they end: give the pool `hold_failed`, or "
            '`removal = "manager"`; jobs that begin after that can be held'
        )
    if pool.hold_most <= 0:
        return "its pool says `hold_most = 0`"
    if pool.security.read_only:
        return "with `security.read_only` its files are in memory, and go with its processes"
    return None


def usual(pool: PoolSpec) -> float:
    """Seconds for which a job of the pool is held where nobody says for how long."""
    return min(pool.hold_failed or USUAL, pool.hold_most)


def with_others(pool: PoolSpec | None) -> float:
    """Seconds for which a job of the pool is held in all while others wait for its slot."""
    return WITH_OTHERS if pool is None else max(WITH_OTHERS, usual(pool))


def too_long(seconds: float, pool: PoolSpec) -> str:
    """That its pool does not allow it."""
    most, asked = written_duration(pool.hold_most), written_duration(round(seconds))
    return f"a job of pool {pool.name} is held for {most} at most, not {asked} (hold_most)"


def why_not_submitted(
    pools: Iterable[PoolSpec], specs: Iterable[SlotSpec], seconds: float | None
) -> str | None:
    """Why a job of these pools cannot be held as it is asked; ``None`` where it can."""
    names = {pool.name for pool in pools}
    for spec in specs:
        if spec.pool.name not in names:
            continue
        if (why := unholdable(spec)) is not None:
            return f"a job of pool {spec.pool.name} cannot be held: {why}"
        if seconds is not None and seconds > spec.pool.hold_most:
            return too_long(seconds, spec.pool)
    return None


def with_holds(
    facts: Sequence[Fact], memory: Memory, specs: Iterable[SlotSpec], now: float
) -> tuple[Fact, ...]:
    """The facts, and after each end of a job whose container is held that it is; ``memory``: before them."""
    ends = [fact for fact in facts if isinstance(fact, AgentExited)]
    if not ends:
        return tuple(facts)
    slots = {spec.name: spec for spec in specs}
    found: list[Fact] = []
    for fact in facts:
        found.append(fact)
        if isinstance(fact, AgentExited):
            found.extend(_held(fact, facts, memory, slots, now))
    return tuple(found)


def _held(
    fact: AgentExited,
    facts: Sequence[Fact],
    memory: Memory,
    slots: Mapping[SlotName, SlotSpec],
    now: float,
) -> Iterator[AgentHeld]:
    agent = memory.agents.get(fact.generation)
    spec = slots.get(agent.slot) if agent is not None else None
    if agent is None or spec is None or unholdable(spec) is not None or fact.unseen:
        return
    opened = agent.opened is not None or any(
        isinstance(one, AgentOpened) and one.generation == fact.generation for one in facts
    )
    given_up = agent.doom is not None and agent.doom.reason in NOT_AFTER
    if not opened or given_up or fact.cause in (Cause.CANCELLED, Cause.ENGINE_STOPPED):
        return
    cordon = memory.slot(agent.slot).cordon
    if cordon is not None and cordon.drain:
        return
    job = memory.jobs.get(agent.job) if agent.job is not None else None
    if job is not None and (job.id in memory.reservations or job.cancelled_by is not None):
        return  # its time is over, or a person gave it up
    if agent.embedded and not any(
        isinstance(one, JobEnded) and one.job == agent.job for one in facts
    ):
        return  # it is run again
    seconds = _seconds(agent, fact, job.hold if job is not None else agent.hold_wish, spec.pool)
    user, uid = "", None
    if job is not None and job.owner is not None:
        user, uid = job.owner, job.uid
    elif agent.hold_wish is not None:
        user = agent.hold_wish.by
    seconds = min(seconds, spec.pool.hold_most)
    if seconds > with_others(spec.pool) and who_waits(
        agent.pool, agent.lease, memory, slots.values(), now, but=uid
    ):
        seconds = with_others(spec.pool)
    until = fact.at + seconds
    if until <= now:
        return
    latest = fact.at + spec.pool.hold_most
    yield AgentHeld(fact.at, fact.generation, user, uid, until, latest)


def _seconds(agent: Agent, fact: AgentExited, wish: HoldWish | None, pool: PoolSpec) -> float:
    if wish is not None:
        return wish.seconds
    had_a_job = agent.embedded or agent.busy or fact.job_succeeded is not None
    return pool.hold_failed if fact.failed and had_a_job else 0.0


def generations_held(agents: Iterable[Agent]) -> frozenset[Generation]:
    """Those whose containers a person may be in although their jobs have ended."""
    return frozenset(agent.generation for agent in agents if agent.hold is not None)


def slots_held(agents: Iterable[Agent]) -> frozenset[SlotName]:
    """The slots of these: none takes a job."""
    return frozenset(agent.slot for agent in agents if agent.hold is not None)


# -- while it is held ----------------------------------------------------------------------------


def tended(
    view: View,
    agent: Agent,
    spec: SlotSpec | None,
    container: Container | None,
    before: Sequence[Action],
    waits_until: float | None,
    *,
    registered: bool,
) -> Verdict:
    """The next step for a held container, which ends when its time is over, or what it needs is gone.

    ``before``: what its service is to be asked first; ``waits_until``: until when it is left as it ended, for
    what it printed and made is not seen to (``None``: it may be started); ``registered``: its service has not
    let go of it, so that what it was given there opens something yet.
    """
    hold = agent.hold
    assert hold is not None
    reason = _over(view, agent, hold, spec, container)
    if reason is not None:
        return Act(tuple(before), (HoldEnded(view.now, agent.generation, reason, job=agent.job),))
    if container is None or container.live:
        return Act(tuple(before), until=hold.until) if before else Stay(hold.until)
    if before or registered or agent.owes or waits_until is not None:
        due = hold.until if waits_until is None else min(hold.until, waits_until)
        return Act(tuple(before), until=due)
    left = max(1.0, hold.latest - view.now)
    why = f"it is held for {hold.user or OPERATORS}"
    start = StartAgain(agent.generation, agent.slot, container.id, left, why)
    return Act((start,), until=hold.until)


def _over(
    view: View, agent: Agent, hold: JobHold, spec: SlotSpec | None, container: Container | None
) -> str | None:
    """Why it is held no longer."""
    if view.now >= hold.until:
        return "its time is over"
    if spec is None:
        return "the configuration has no such slot"
    cordon = view.memory.slot(agent.slot).cordon
    if cordon is not None and cordon.drain:
        return "the slot is drained"
    if agent.generation in view.world.lost_leases:
        return view.world.lost_leases[agent.generation]
    if (wrote := _wrote_too_much(view, agent, spec)) is not None:
        return wrote
    if container is not None and not container.live and _ends_again(view, agent):
        return "its container ends again and again"
    if container is None and agent.generation not in view.world.unsure:
        return "its container is gone"
    return None


def _wrote_too_much(view: View, agent: Agent, spec: SlotSpec) -> str | None:
    """That more was written in it than its pool lets a job write; ``None``: it was not. Whoever is in there
    to see what filled the disk of a job that was ended for it has as much again.
    """
    if agent.generation in view.world.overfull:
        return "more was written into its witness (/run/mayfly/w) than is for it"
    limit, size = spec.pool.limits.disk, view.world.sizes.get(agent.generation, 0)
    filled = agent.doom is not None and agent.doom.reason is DoomReason.DISK
    if limit is None or size <= limit * (2 if filled else 1):
        return None
    return f"{size} bytes were written in it; its pool allows {limit} (limits.disk)"


def _ends_again(view: View, agent: Agent) -> bool:
    """Whether it ends as often as it is started: a job that was root in there may have seen to that."""
    times = view.world.started_again.get(agent.generation, ())
    return len(times) >= STARTS and within(view.now, times[0], OFTEN)


def not_started(agent: Agent, why: str, *, lasting: bool, now: float) -> HoldEnded | None:
    """What follows where its container could not be started once more; ``None``: it is tried again."""
    hold = agent.hold
    if hold is None or hold.over is not None:
        return None
    if not lasting and within(now, hold.since, COMING_UP):
        return None
    reason = f"its container could not be started once more: {why}"
    return HoldEnded(now, agent.generation, reason, job=agent.job)


# -- in words ------------------------------------------------------------------------------------


def conditions(memory: Memory, specs: Iterable[SlotSpec]) -> Iterator[Condition]:
    """Pools in which no job runs since all of their slots are held: a build that is broken fails in each."""
    holds = {agent.slot: agent.hold for agent in memory.agents.values() if agent.hold is not None}
    pools: dict[PoolName, list[SlotName]] = {}
    for spec in specs:
        pools.setdefault(spec.pool.name, []).append(spec.name)
    for name, slots in pools.items():
        if not holds.keys() >= {*slots}:
            continue
        first = min(slots, key=lambda slot: holds[slot].until)
        every = f"all {len(slots)} slots" if len(slots) > 1 else "the only slot"
        text = (
            f"{every} of pool {name} {'are' if len(slots) > 1 else 'is'} held for people, the first until "
            f"{clock(holds[first].until)}: no job runs there"
        )
        fix = f"mayfly release {first}"
        yield Condition("pool.held", Severity.WARNING, text, fix, name, tuple(slots))


def until_words(until: float, now: float) -> str:
    """``14:05``, with the day where that is not within a day."""
    return time_of_day(until, day=until - now >= DAY)


def held_words(hold: JobHold, now: float) -> str:
    """What the row of its slot and of its job say."""
    return f"held for {hold.user or OPERATORS} until {until_words(hold.until, now)}"
