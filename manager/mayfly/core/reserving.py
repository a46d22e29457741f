"""When a reservation begins and ends, and which gates stay shut for it.

Pure. Before a reservation begins the slots that come nearest to being free are kept for it: no gate opens on
their GPUs, an agent that waits at its service for a job is let go, and whoever has a job goes on. It begins
when nobody is at work on any of them. From then on no gate opens there but that of the job by which its owner
has the GPUs. One that was booked an hour ahead goes before the jobs that wait; any other takes its turn among
them, as a job of its owner's would (ADR 0065). Of several that could begin the one of the person comes first
who had the least of the pool, by the same account as the queue's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mayfly.core import belongings, bench_lane
from mayfly.core.apply import apply
from mayfly.core.booking import unbookable
from mayfly.core.facts import (
    AgentDoomed,
    Fact,
    JobCancelling,
    JobEnded,
    ReservationBegan,
    ReservationEnded,
    ReservationExtended,
    ReservationIdled,
    ReservationUsed,
    ReservationWarned,
    SlotBooked,
)
from mayfly.core.gpu_health import Process, Reading
from mayfly.core.healing import has_no_job
from mayfly.core.job_images import problem, unknown
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import (
    Cause,
    Desired,
    DoomReason,
    JobState,
    PoolName,
    PoolSpec,
    Priority,
    SlotName,
    SlotSpec,
)
from mayfly.core.queue import Queue, share_with, shares_used, waits
from mayfly.core.requests import TellReservation
from mayfly.core.reservations import (
    NOTHING_RESERVED,
    SHORTEST,
    Reservation,
    Reserved,
    Rooms,
    clock,
    due_warning,
    last_end,
    next_warning,
    rooms,
)
from mayfly.core.reserved_hours import rests
from mayfly.core.slots import VACANCY, Tenancy, still_ending
from mayfly.core.turns import begun_outside, with_reserved

if TYPE_CHECKING:
    from mayfly.core.plan import View

OVER = "its time is over"
IN_VAIN = "no slot got free in its time"
SEEN_AGAIN = 60.0  # seconds after which it is recorded again that one is in use
PATIENCE = 24 * 3600.0  # seconds after its time in which a slot may get free for one
MOMENT = 0.001  # seconds after which what has just become too little is


def rooms_of(desired: Desired) -> Rooms:
    """What the pools have to reserve."""
    rules = {
        spec.pool.name: spec.pool.reserve for spec in desired.slots if spec.pool.reserve is not None
    }
    return rooms(desired.slots, rules)


# -- the beginning ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ground:
    """Who is where, as far as it keeps a reservation from its beginning."""

    at_work: frozenset[str]  # GPUs with a job, or of which nobody knows that they have none
    waiting: Mapping[str, tuple[Agent, ...]]  # agents on a GPU that wait at their service for a job
    alone: bool  # a job has the host to itself


def ground(
    view: View, leased: Mapping[str, Sequence[Agent]], tenants: Mapping[SlotName, Tenancy]
) -> Ground:
    """Who is where now."""
    busy: set[str] = set(view.world.resetting)
    waiting: dict[str, list[Agent]] = {}
    alone = {spec.name for spec in view.desired.slots if spec.bench and spec.bench.others_idle}
    is_alone = False
    for agent in view.memory.agents.values():
        if not (agent.at_work or bench_lane.has_begun(view.run_id, view.enrolling, agent)):
            continue
        is_alone = is_alone or agent.slot in alone
        if agent.committed is not None and has_no_job(agent) and not agent.lingers:
            for uuid in agent.lease:
                waiting.setdefault(uuid, []).append(agent)
        else:
            busy.update(agent.lease)
    for uuid, agents in leased.items():
        if any(agent.settled for agent in agents):  # what is left of them may run
            busy.add(uuid)
    for lock in view.lane.locks.values():
        busy.update(lock.gpus)
    for spec in view.desired.slots:
        if tenants.get(spec.name, VACANCY).held is not None:
            busy.update(spec.lease)
    busy |= belongings.gpus_of_forgotten(view)
    return Ground(
        frozenset(busy), {uuid: tuple(agents) for uuid, agents in waiting.items()}, is_alone
    )


def arranged(
    view: View,
    leased: Mapping[str, Sequence[Agent]],
    tenants: Mapping[SlotName, Tenancy],
    half_life: float,
    queue: Queue,
    behind: AbstractSet[PoolName] = frozenset(),
) -> tuple[Reserved, list[Fact], float | None]:
    """Whose GPUs are whose, what is to be recorded for that, and when to look again. ``behind``: pools in
    turn before which others are that wait.
    """
    known = view.memory.reservations
    if not known:
        return NOTHING_RESERVED, [], None
    held = dict(view.memory.reserved)
    due, wake = _due(view, half_life, queue, behind)
    facts: list[Fact] = [*_bookings(view)]
    kept: dict[str, Reservation] = {}
    if due:
        around = ground(view, leased, tenants)
        room = rooms_of(view.desired)
        for one in due:
            chosen = _chosen(view, one, around, held.keys() | kept.keys())
            if len(chosen) < one.slots:
                continue
            uuids = tuple(uuid for spec in chosen for uuid in spec.lease)
            until = _end_if_begun(room, one, known.values(), view.now)
            is_free = around.at_work.isdisjoint(uuids) and around.waiting.keys().isdisjoint(uuids)
            if is_free and not around.alone and one.start <= view.now and until > view.now:
                names = tuple(spec.name for spec in chosen)
                if not one.shell:
                    facts += begun_outside(view.desired.slots, view.memory, one.pool, view.now)
                facts.append(ReservationBegan(view.now, one.id, names, uuids, until))
                held |= dict.fromkeys(uuids, one)
                continue
            kept |= dict.fromkeys(uuids, one)
            facts += _let_go(view, one, around, uuids)
    return Reserved(held, kept), facts, wake


def _due(
    view: View, half_life: float, queue: Queue, behind: AbstractSet[PoolName]
) -> tuple[list[Reservation], float | None]:
    """Those for which slots are kept now, whose turn is first before the others; when the next one is due."""
    found: list[Reservation] = []
    wakes: list[float] = []
    for one in view.memory.reservations.values():
        if one.began is not None:
            continue
        rules = next(
            (spec.pool.reserve for spec in view.desired.slots if spec.pool.name == one.pool), None
        )
        opens = one.start - (rules.clear if rules is not None else 0.0)
        if opens <= view.now and _is_its_turn(view.memory, one, view.now, queue, behind):
            found.append(one)
        wakes += [moment for moment in (opens, one.start) if moment > view.now]
    if len(found) > 1:
        used = shares_used(view.memory, view.now, half_life)
        found.sort(key=lambda one: (used.get((one.pool, one.uid), 0.0), one.start, one.made))
    return found, min(wakes, default=None)


def _is_its_turn(
    memory: Memory, one: Reservation, now: float, queue: Queue, behind: AbstractSet[PoolName]
) -> bool:
    """Whether it goes before the jobs that wait: one that was booked does, unless its owner has just had one
    there; any other is where a job of its owner's would be, in its pool and with that among pools in turn.
    What waits at a service is in no order of a pool's.
    """
    if one.booked and not rests((one.pool, one.uid), memory.had, memory.reservations.values(), now):
        return True
    return one.pool not in behind and queue.is_first(one.pool, one.uid, one.made)


def _chosen(view: View, one: Reservation, around: Ground, taken: Iterable[str]) -> list[SlotSpec]:
    """The slots that come nearest to being free for it."""
    each, gone = one.gpus // one.slots, set(taken)
    fit = [
        spec
        for spec in view.desired.slots
        if spec.pool.name == one.pool
        and len(spec.lease) == each
        and gone.isdisjoint(spec.lease)
        and _takes_part(view, spec)
    ]
    ranked = sorted(fit, key=lambda spec: _distance(view, spec, around))
    chosen: list[SlotSpec] = []
    for spec in ranked:
        if len(chosen) < one.slots and gone.isdisjoint(spec.lease):
            chosen.append(spec)
            gone.update(spec.lease)
    return chosen


def _takes_part(view: View, spec: SlotSpec) -> bool:
    """Whether the slot is there for people at all."""
    known = view.memory.slot(spec.name)
    if known.cordon is not None or known.held is not None or known.booking is not None:
        return False
    if spec.name in view.desired.obstacles or spec.name in view.desired.undetermined:
        return False
    return still_ending(known, spec, view.now) is None and not spec.pool.by_slurm


def _distance(view: View, spec: SlotSpec, around: Ground) -> tuple[int, int, bool, int]:
    """How far a slot is from being free; what is smaller is nearer."""
    verdict = view.world.gpu_verdicts.get(spec.name)
    busy = sum(1 for uuid in spec.lease if uuid in around.at_work)
    idle = sum(1 for uuid in spec.lease if uuid in around.waiting)
    return busy, idle, verdict is not None and not verdict.fit, spec.index


def _end_if_begun(room: Rooms, one: Reservation, known: Iterable[Reservation], now: float) -> float:
    """Until when it would last if it began now; now where that is not worth it."""
    until = wanted = now + one.seconds
    if one.pool in room.slots:
        until = max(one.ends, last_end(room, one, known, wanted, now))
    return until if until - now >= SHORTEST else now


def _let_go(
    view: View, one: Reservation, around: Ground, uuids: Iterable[str]
) -> list[AgentDoomed]:
    """Agents that wait at their service for a job where it is to begin are let go; who gets a job meanwhile
    keeps it.
    """
    agents = {
        agent.generation: agent
        for uuid in uuids
        for agent in around.waiting.get(uuid, ())
        if agent.doom is None
    }
    why = f"its GPU is reserved by {one.owner} from {clock(one.start)} on"
    return [
        AgentDoomed(view.now, generation, DoomReason.DRAINED, detail=why) for generation in agents
    ]


def _bookings(view: View) -> list[SlotBooked]:
    """Of reservations whose job asks for an image: their slots are made ready for it."""
    found = []
    for one in view.memory.reservations.values():
        job = view.memory.jobs.get(one.id)
        if not one.shell or not one.taken or job is None or job.image is None or not waits(job):
            continue
        slot = one.taken[0]
        spec = next((spec for spec in view.desired.slots if spec.name == slot), None)
        if spec is None or view.memory.slot(slot).booking is not None:
            continue
        in_the_way = problem(view.desired, spec.pool, job.image) or unbookable(
            slot, view.desired, view.memory, view.now
        )
        if in_the_way is None and not unknown(view.desired, spec.pool, job.image):
            found.append(SlotBooked(view.now, slot, job.id, job.image))
    return found


def job_of(view: View, spec: SlotSpec) -> tuple[bool, Job | None]:
    """Whether the slot is reserved, and the job that is to have it (``None``: none waits)."""
    one = view.reserved.owner_of(spec)
    if one is None:
        return False, None
    job = view.memory.jobs.get(one.id) if one.shell else None
    return True, job if job is not None and waits(job) else None


# -- the end ---------------------------------------------------------------------------------------


def tended(
    memory: Memory, desired: Desired, used: Iterable[str], now: float, half_life: float
) -> tuple[list[Fact], float | None]:
    """What time brings, also while nobody can look: warnings, ends, and that one is in use. ``used``: GPUs on
    which something of their owner's was seen just now.
    """
    facts: list[Fact] = []
    wakes: list[float] = []
    if not memory.reservations:
        return facts, None
    seen = frozenset(used)
    room = rooms_of(desired)
    pools = {spec.pool.name: spec.pool for spec in desired.slots}.values()
    for one in memory.reservations.values():
        current = one
        if _is_in_use(memory, one, seen):
            last = one.used if one.used is not None else one.since
            if one.idled or not last <= now < last + SEEN_AGAIN:
                facts.append(ReservationUsed(now, one.id))
            current = replace(one, used=now)
        bounds = room.rules.get(one.pool)
        idle = bounds.idle if bounds is not None else 0.0
        why = _why_over(memory, room, current, idle, now)
        if why is not None:
            # Two that end at once do so one after the other: a share is written as it is then.
            after = apply(memory, facts) if facts else memory
            facts += ended(after, one, why, None, now, half_life, pools)
            continue
        warned = due_warning(one, now)
        if warned is not None:
            facts.append(ReservationWarned(now, one.id, warned))
        since = idle_since(current)
        if idle > 0 and since is not None and not one.idled and now - since >= idle / 2:
            facts.append(ReservationIdled(now, one.id, now - since, since + idle - now))
        wakes += _dues(memory, current, idle, now)
    return facts, min((due for due in wakes if due > now), default=None)


def in_use(memory: Memory, reading: Reading | None) -> frozenset[str]:
    """The reserved GPUs on which something of their owner's computes, as NVML said last."""
    if reading is None or not memory.reservations:
        return frozenset()
    found = set()
    for uuid, one in memory.reserved.items():
        vitals = reading.vitals.get(uuid)
        if vitals is not None and any(is_own(memory, one, process) for process in vitals.processes):
            found.add(uuid)
    return frozenset(found)


def is_own(memory: Memory, one: Reservation, process: Process) -> bool:
    """Whether the process is its owner's, or in the agent of its job."""
    if process.gone:
        return False
    job = memory.jobs.get(one.id)
    agent = memory.agents.get(job.agent) if job is not None and job.agent is not None else None
    if agent is not None and process.container == agent.container:
        return True
    if agent is not None and process.agent == agent.generation:
        return True
    return not one.shell and process.uid == one.uid


def _is_in_use(memory: Memory, one: Reservation, seen: frozenset[str]) -> bool:
    if one.began is None:
        return False
    if not seen.isdisjoint(one.devices):
        return True
    job = memory.jobs.get(one.id)
    agent = memory.agents.get(job.agent) if job is not None and job.agent is not None else None
    return agent is not None and bool(agent.attached)


def idle_since(one: Reservation) -> float | None:
    """Since when nobody has used it; ``None``: it has not begun."""
    if one.began is None:
        return None
    return one.began if one.used is None else max(one.used, one.began)


def _why_over(memory: Memory, room: Rooms, one: Reservation, idle: float, now: float) -> str | None:
    """Why it is over; ``None`` where it is not."""
    if one.shell and one.id not in memory.jobs:
        return "its job has ended"
    if one.until is not None:
        since = idle_since(one) or now
        if one.until <= now:
            return OVER
        return f"nobody has used it for {idle / 60:.0f} min" if 0 < idle <= now - since else None
    if one.start > now:
        return None
    if one.pool not in room.slots and now >= one.ends:
        return f"its time is over, and the configuration has no pool {one.pool} with GPUs"
    known = memory.reservations.values()
    gone = now >= one.ends + PATIENCE or _end_if_begun(room, one, known, now) <= now
    return IN_VAIN if gone else None


def _dues(memory: Memory, one: Reservation, idle: float, now: float) -> list[float]:
    """When something of it may come to be over, or is to be told."""
    if one.until is None:
        others = (other.since for other in memory.reservations.values())
        moments = (one.ends, *others)
        return [one.ends, one.ends + PATIENCE, *(moment - SHORTEST + MOMENT for moment in moments)]
    found = [one.until]
    if (warning := next_warning(one, now)) is not None:
        found.append(warning)
    if idle > 0 and (since := idle_since(one)) is not None:
        found += [since + idle / 2 + MOMENT, since + idle]
    return found


def ended(
    memory: Memory,
    one: Reservation,
    why: str,
    by: str | None,
    now: float,
    half_life: float,
    pools: Iterable[PoolSpec] = (),
) -> list[Fact]:
    """That it is over, and its job with it. ``pools``: of which those in turn are charged."""
    facts: list[Fact] = []
    share = None
    if not one.shell and one.began is not None:
        had = max(0.0, min(now, one.ends) - one.began) * one.slots
        share = share_with(memory, (one.pool, one.uid, Priority.NORMAL), had, now, half_life)
    if (turn := with_reserved(memory, one, pools, now)) is not None:
        facts.append(turn)
    facts.append(ReservationEnded(now, one.id, why, by, share))
    job = memory.jobs.get(one.id) if one.shell else None
    if job is None:
        return facts
    if job.agent is None:
        detail = f"its reservation is over: {why}"
        facts.append(JobEnded(now, job.id, JobState.CANCELLED, Cause.CANCELLED, None, detail))
    elif job.cancelled_by is None:
        facts.append(JobCancelling(now, job.id, by or "its reservation's end"))
    return facts


def told_inside(facts: Iterable[Fact], memory: Memory) -> Iterator[TellReservation]:
    """Which jobs of reservations are to learn now that they end later than they were begun for."""
    for fact in facts:
        if not isinstance(fact, ReservationExtended | ReservationUsed | ReservationWarned):
            continue
        one = memory.reservations.get(fact.reservation)
        job = memory.jobs.get(fact.reservation)
        agent = memory.agents.get(job.agent) if job is not None and job.agent is not None else None
        if one is None or agent is None or agent.container is None or agent.opened is None:
            continue
        if one.until is not None and one.until > agent.opened + one.seconds:
            seconds = one.until - agent.opened
            yield TellReservation(agent.generation, agent.container, seconds)
