"""The bench lane: a job that is measured has its GPUs at one frequency, and perhaps the host to itself.

Pure. The clocks are locked before the gate is opened, and no gate opens on them otherwise: a number that was
measured with clocks that float is worse than none. That they are about to be locked is on disk before it is
done, so that whoever comes after a crash unlocks them. They are unlocked once the job has ended, and not
before; where no manager runs a person can have them sooner (``mayfly gpus unlock --force``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mayfly.core.actions import LockClocks, UnlockClocks
from mayfly.core.facts import ClocksLocking, Fact, GateOpening
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, ClockLock, Memory
from mayfly.core.model import (
    BenchPlan,
    ClocksSeen,
    Condition,
    Container,
    Generation,
    PoolSpec,
    Severity,
    SlotName,
    SlotSpec,
)
from mayfly.core.naming import clocks_of
from mayfly.core.slots import within

if TYPE_CHECKING:
    from mayfly.core.plan import View

UNUSED = 10.0  # seconds that clocks stay locked for a gate that is not opened after all
AGAIN = 60.0  # seconds until clocks are tried again that could not be locked
LATE = 60.0  # seconds after which clocks that are still locked are a condition
SUPPORTED = "nvidia-smi -q -d SUPPORTED_CLOCKS"


# -- what a lease comes to -------------------------------------------------------------------------


def planned(pool: PoolSpec, lease: Sequence[str], gpus: Iterable[Gpu]) -> BenchPlan | str | None:
    """What the slot with that lease gets, or why it gets nothing; ``None``: its jobs are not measured."""
    bench = pool.bench
    if bench is None or not lease:
        return None
    parts = [uuid for uuid in lease if uuid.startswith("MIG-")]
    if parts:
        return f"{parts[0]} has no clocks of its own, so `bench` is for whole GPUs"
    own = [gpu for gpu in gpus if gpu.uuid in lease]
    cpus = sorted({cpu for gpu in own for cpu in gpu.cpus})
    nodes = sorted({node for gpu in own for node in gpu.nodes})
    if isinstance(bench.clock, int):
        clock = bench.clock
    else:
        found = {gpu.base_clock for gpu in own}
        if None in found or len(found) != 1:
            named = next((gpu for gpu in own if gpu.base_clock is None), None)
            why = (
                f"{named.uuid} does not say its base clock"
                if named is not None
                else "its GPUs have different base clocks"
            )
            return (
                f"{why}: name a frequency, `bench = {{ clock = 1410 }}` (`{SUPPORTED}` lists them)"
            )
        clock = next(one for one in found if one is not None)
    return BenchPlan(clock, bench.memory_clock, bench.others_idle, spans(cpus), spans(nodes))


def spans(numbers: Iterable[int]) -> str:
    """Sorted numbers as cpuset(7) lists them: ``0-3,8``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def variables(plan: BenchPlan | None) -> dict[str, str]:
    """By which a job sees that it is measured."""
    if plan is None:
        return {}
    told = {"MAYFLY_BENCH": "1", "MAYFLY_BENCH_CLOCK_MHZ": str(plan.clock)}
    if plan.memory_clock is not None:
        told["MAYFLY_BENCH_MEMORY_CLOCK_MHZ"] = str(plan.memory_clock)
    return told


# -- locking and unlocking -------------------------------------------------------------------------


def locked_for(view: View, spec: SlotSpec, agent: Agent) -> bool:
    """Whether the gate may be opened as far as clocks go: they are locked for this agent, or need not be."""
    if spec.bench is None:
        return True
    lock = view.memory.slot(spec.name).clocks
    return (
        lock is not None
        and lock.generation == agent.generation
        and lock.locked is not None
        and not lock.refused
        and lock.clock == spec.bench.clock
        and lock.memory_clock == spec.bench.memory_clock
        and view.free(clocks_of(spec.name))
    )


def locking(
    view: View, spec: SlotSpec, agent: Agent
) -> tuple[LockClocks, ClocksLocking] | float | None:
    """What is done, and recorded before, so that the gate may open; or when that is tried again."""
    plan, known = spec.bench, view.memory.slot(spec.name)
    if plan is None or known.clocks is not None or not view.free(clocks_of(spec.name)):
        return None
    later = retries_at(view, spec)
    if later is not None:
        return later
    lease = agent.lease
    asked = (plan.clock, plan.memory_clock)
    action = LockClocks(agent.generation, spec.name, lease, *asked, "its job is measured")
    return action, ClocksLocking(view.now, spec.name, agent.generation, lease, *asked)


def retries_at(view: View, spec: SlotSpec) -> float | None:
    """When clocks are tried again that could not be locked; ``None``: nothing keeps them from being tried."""
    retry = view.memory.slot(spec.name).clocks_retry
    return retry if retry is not None and within(view.now, retry - AGAIN, AGAIN) else None


def unlockings(view: View, facts: Iterable[Fact]) -> tuple[list[UnlockClocks], float | None]:
    """The clocks that are to be given back now, and when to look again. ``facts``: of this plan."""
    if not view.lane.locks:
        return [], None
    opening = {fact.generation for fact in facts if isinstance(fact, GateOpening)}
    found: list[UnlockClocks] = []
    dues: list[float] = []
    for slot, lock in view.lane.locks.items():
        if lock.generation in opening or not view.free(clocks_of(slot)):
            continue
        agent = view.memory.agents.get(lock.generation)
        why = _over(lock, agent, view.containers, view.now)
        if why is None:
            if agent is not None and agent.committed is None:
                dues.append((lock.locked or lock.since) + UNUSED)
            continue
        memory = lock.memory_clock is not None
        given = (lock.generation, slot, lock.gpus, lock.driver, memory)
        found.append(UnlockClocks(*given, why))
    return found, min(dues, default=None)


def _over(
    lock: ClockLock,
    agent: Agent | None,
    containers: Mapping[Generation, Container],
    now: float,
) -> str | None:
    """Why nobody needs the lock any more; ``None``: its job runs, or is about to."""
    if agent is None:
        container = containers.get(lock.generation)
        runs = container is not None and container.live
        return None if runs else "its agent is gone"
    if agent.settled:
        return None if agent.lingers else "its job has ended"
    if agent.committed is not None:
        return None
    if lock.refused:
        return "it could not be locked whole"
    if agent.doom is not None or not within(now, lock.locked or lock.since, UNUSED):
        return "its gate is not opened"
    return None


def merged(began: Iterable[ClocksSeen], seen: Iterable[ClocksSeen]) -> tuple[ClocksSeen, ...]:
    """How the GPUs fared, with the temperatures at the beginning as they were recorded then."""
    first = {one.uuid: one for one in began}
    found: list[ClocksSeen] = []
    for one in seen:
        before = first.get(one.uuid)
        start = before.began if before is not None and before.began is not None else one.began
        slowed = dict.fromkeys((*(before.throttled if before is not None else ()), *one.throttled))
        found.append(ClocksSeen(one.uuid, one.low, one.high, tuple(slowed), start, one.ended))
    known = {one.uuid for one in found}
    return (*found, *(one for uuid, one in first.items() if uuid not in known))


# -- whose the host is -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lane:
    """Whose clocks are locked, and who has the host to itself, or is to have it next."""

    locks: Mapping[SlotName, ClockLock]
    holder: SlotName | None = None  # a job there has the host to itself
    next: SlotName | None = None  # one there waits until the others have ended
    others: tuple[SlotName, ...] = ()  # who is at work beside it

    def is_shut(self, spec: SlotSpec, agent: Agent, *, begun: bool) -> bool:
        """Whether the agent's gate waits for the lane. ``begun``: its service has given it a job already."""
        lease = set(agent.lease)
        if any(
            lock.generation != agent.generation and not lease.isdisjoint(lock.gpus)
            for lock in self.locks.values()
        ):
            return True
        if spec.bench is not None and spec.bench.others_idle:
            if self.holder is not None:
                return self.holder != spec.name
            return self.next != spec.name or bool(self.others)
        return (self.holder is not None or self.next is not None) and not begun


EMPTY_LANE = Lane({})


def locks_of(memory: Memory) -> Lane:
    """The lane as far as clocks go."""
    locks = {name: known.clocks for name, known in memory.slots.items() if known.clocks is not None}
    return Lane(locks) if locks else EMPTY_LANE


def has_begun(run_id: str, enrolling: Collection[Generation], agent: Agent) -> bool:
    """Whether its service has given it a job, or is about to, though its gate is shut yet."""
    if agent.embedded or agent.settled or agent.committed is not None or agent.doom is not None:
        return False
    given = agent.enrolled is not None and agent.enrolled_by_run == run_id
    return given or agent.generation in enrolling


# -- in words ----------------------------------------------------------------------------------------


def conditions(slots: Iterable[SlotSpec], memory: Memory, now: float) -> list[Condition]:
    """What is the matter with clocks: a slot opens no gate for them, or they stay locked."""
    found: list[Condition] = []
    for spec in slots:
        known = memory.slot(spec.name)
        if spec.bench is not None and known.clocks_refused:
            text = (
                f"slot {spec.name} opens no gate: the clocks of its GPUs could not be locked "
                f"({known.clocks_refused})"
            )
            found.append(
                Condition(
                    "bench.refused",
                    Severity.ERROR,
                    text,
                    f"mayfly describe {spec.name}",
                    spec.pool.name,
                    (spec.name,),
                )
            )
    for name, known in memory.slots.items():
        lock = known.clocks
        if lock is not None and stays_locked(memory, name, lock, now):
            whose = f"are still locked for an agent of {name} that has ended"
            text = f"the clocks of {', '.join(lock.gpus)} {whose}"
            found.append(
                Condition(
                    "bench.locked",
                    Severity.WARNING,
                    text,
                    "sudo mayfly gpus unlock",
                )
            )
    return found


def stays_locked(memory: Memory, slot: SlotName, lock: ClockLock, now: float) -> bool:
    """Whether the clocks should have been unlocked some time ago, and are not."""
    agent = memory.agents.get(lock.generation)
    over = agent is None or agent.settled
    return over and now - (memory.slot(slot).vacant_since or lock.since) > LATE
