"""GPUs that Slurm gives: when a slot asks for an allocation, has one, gives it back, and has lost it.

Pure. What Slurm said last is kept, and what is wanted of it: ``edge/slurm.py`` asks and translates, on a
thread of its own, one question after the other, so that an answer is never older than what was done before.

A controller that does not answer says nothing of an allocation: what runs goes on, and no gate opens. An
allocation that a look shows no more is lost, and its GPU may be somebody else's: whoever is at work there is
ended. None is given back while an agent may be at work on it, and none is touched that does not bear this
host's id in its name. See ADR 0050.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mayfly.core import naming
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory, SlotMemory
from mayfly.core.model import (
    Condition,
    Config,
    Desired,
    Generation,
    HostId,
    PoolName,
    PoolSpec,
    Severity,
    SlotName,
    SlotSpec,
)
from mayfly.core.slots import cooling
from mayfly.core.slurm_request import SPARE, SlurmRequest

PREFIX = "mayfly"
QUEUED = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
# seconds until an allocation that was asked for and is in no queue is asked for again
UNSEEN = 60.0
TOLD_AFTER = 10.0  # seconds of waiting after which it is told for what
RARELY = 60.0  # seconds between looks where no pool says how often
RESTING = 6  # times as long is it between them while nothing is asked for
SILENT = 120.0  # seconds after which a look that has not come back is asked for again


@dataclass(frozen=True, slots=True)
class Allocation:
    """One of ours, as Slurm's queue shows it."""

    id: str  # ``identity``
    slot: SlotName
    running: bool
    since: float  # when it was asked for
    state: str = ""  # in Slurm's words
    reason: str = ""  # why it waits, in Slurm's words
    ends: float | None = None  # None: not before somebody ends it
    minors: tuple[int, ...] | None = None  # of its GPUs' device files; None: not known
    problem: str = ""  # why that is not known

    @property
    def number(self) -> str:
        """What Slurm calls it."""
        return number(self.id)

    @property
    def is_queued(self) -> bool:
        """Whether it has no GPU: not yet, or not any more."""
        return self.state in QUEUED


@dataclass(frozen=True, slots=True)
class Ask:
    """An allocation to be asked for."""

    slot: SlotName
    name: str
    gpus: int
    minutes: int | None  # None: what the partition gives
    request: SlurmRequest


@dataclass(frozen=True, slots=True)
class AllocationsSeen:
    """What Slurm says of this host; ``allocations`` is ``None`` where it says nothing."""

    began: float
    allocations: tuple[Allocation, ...] | None
    problem: str = ""  # why it says nothing
    unfit: str = ""  # why Slurm gives nothing on this node, in its words; "": it does
    refused: Mapping[SlotName, str] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)  # how those ended that are gone, by id


@dataclass(frozen=True, slots=True)
class TendAllocations:
    """Give back, ask, and look at the queue, in this order."""

    host: HostId
    node: str | None  # None: this host's short name
    known: tuple[str, ...]  # whose end is to be told if they are gone
    returns: tuple[str, ...] = ()
    asks: tuple[Ask, ...] = ()


@dataclass(frozen=True, slots=True)
class Allocations:
    """What is known of Slurm and wanted of it; never changed in place."""

    seen: tuple[Allocation, ...] = ()
    at: float | None = None  # when the look began that saw Slurm's queue last; None: none has
    heard: float | None = None  # when anything was last heard of it; None: never
    problem: str = "Slurm has not been asked yet"
    since: float | None = None  # since when it does not answer; None: it does
    unfit: str = ""
    refused: Mapping[SlotName, str] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[SlotName, float] = field(default_factory=dict)  # and not seen in the queue yet
    returning: frozenset[str] = frozenset()
    idle: Mapping[SlotName, float] = field(default_factory=dict)  # since when nothing wants it
    resting: Mapping[SlotName, float] = field(default_factory=dict)  # until when none is asked for
    looked: float | None = None  # when the look under way was asked for; None: none is

    # -- what comes in ----------------------------------------------------------------------------

    def told(self, seen: AllocationsSeen, pools: Iterable[PoolSpec], now: float) -> Allocations:
        """Slurm has answered, or has not."""
        if seen.allocations is None:
            since = now if self.since is None else self.since
            return replace(self, problem=seen.problem, since=since, heard=now, looked=None)
        requests = {name: pool.slurm for pool in pools for name in _names(pool)}
        shown = {one.slot for one in seen.allocations}
        there = {one.id for one in seen.allocations}
        retry = {slot: now + requests[slot].retry for slot in seen.refused if slot in requests}
        kept = {slot: text for slot, text in self.refused.items() if slot not in shown}
        return replace(
            self,
            seen=seen.allocations,
            at=seen.began,
            heard=now,
            problem="",
            since=None,
            unfit=seen.unfit,
            refused={**kept, **seen.refused},
            ended={**dict(list(self.ended.items())[-32:]), **seen.ended},
            asked={
                slot: at
                for slot, at in self.asked.items()
                if slot not in shown and slot not in seen.refused
            },
            returning=self.returning & there,
            resting={**self.resting, **retry},
            looked=None,
        )

    # -- what it means ----------------------------------------------------------------------------

    def of(self, slot: SlotName) -> Allocation | None:
        """The slot's own: the one that runs, before those that wait, the oldest first; none that is given
        back.
        """
        own = [one for one in self.seen if one.slot == slot and one.id not in self.returning]
        return min(own, key=lambda one: (not one.running, one.since, one.id), default=None)

    def leases(
        self, pools: Iterable[PoolSpec], gpus: Sequence[Gpu] | None
    ) -> dict[SlotName, tuple[Allocation, tuple[str, ...]]]:
        """The allocations that are granted, with their GPUs by UUID."""
        found = {}
        by_minor = {gpu.minor: gpu for gpu in gpus or () if gpu.minor is not None}
        for pool in pools:
            for name in _names(pool):
                own = self.of(name)
                if own is None or not own.running or own.minors is None:
                    continue
                devices = [by_minor.get(minor) for minor in own.minors]
                uuids = tuple(gpu.uuid for gpu in devices if gpu is not None and not gpu.split)
                if uuids and len(uuids) == len(own.minors):
                    found[name] = (own, uuids)
        return found

    def awaits(self, slot: SlotName) -> str:
        """What a slot waits for that has no GPUs now, as its row says it."""
        own = self.of(slot)
        if own is None:
            refused = self.refused.get(slot)
            return (
                f"Slurm refuses it GPUs: {refused}" if refused else "asks Slurm for GPUs at a job"
            )
        if not own.running:
            return f"waits for Slurm: {own.reason or own.state} (allocation {own.number})"
        if own.problem:
            return f"which GPUs allocation {own.number} has is not known: {own.problem}"
        return f"the GPUs of allocation {own.number} are not among those that NVML shows"

    def is_owed(self, memory: Memory) -> bool:
        """Whether an agent is there whose GPUs Slurm gave, or an allocation of ours, as far as is known."""
        left = any(
            agent.allocation and (agent.hold is not None or not agent.settled)
            for agent in memory.agents.values()
        )
        return left or bool(self.seen)

    def lost(self, memory: Memory) -> dict[Generation, str]:
        """Whose allocation is gone, and how it went; nobody's where Slurm says nothing."""
        if self.at is None or self.problem:
            return {}
        there = {one.id for one in self.seen if not one.is_queued}
        return {
            agent.generation: self.ended.get(
                agent.allocation,
                f"Slurm has taken allocation {number(agent.allocation)} back, and does not say why",
            )
            for agent in memory.agents.values()
            if agent.allocation
            and agent.committed is not None
            and (agent.is_held or not agent.settled)
            and agent.committed < self.at
            and agent.allocation not in there
        }

    # -- what is to be asked ----------------------------------------------------------------------

    def scheduled(
        self,
        config: Config,
        host: HostId,
        memory: Memory,
        needs: Mapping[PoolName, int],
        barred: Iterable[SlotName],
        now: float,
    ) -> tuple[Allocations, TendAllocations | None, float | None]:
        """What is to be asked of Slurm now, and when to come again; ``None``: nothing.

        ``needs``: for how many more jobs a pool is to have a slot with GPUs. Slots that are ``barred`` could
        make nothing of one.
        """
        pools = [pool for pool in config.pools if pool.by_slurm]
        working = in_use(memory)
        barred = frozenset(barred)
        after = self._wanted(pools, memory, needs, barred, working, now)
        returns: frozenset[str] = frozenset()
        if memory.pause is None and not self.problem:
            returns = after._returns(pools, working, now)  # noqa: SLF001  of its own kind
        given_up = {
            one.slot: now + _request(pools, one.slot).retry
            for one in after.seen
            if one.id in returns and not one.running and one.slot not in after.idle
        }
        resting = {**after.resting, **given_up}
        after = replace(
            after,
            returning=after.returning | returns,
            resting={slot: until for slot, until in resting.items() if until > now},
        )
        if self.looked is not None and now - self.looked < SILENT:
            return after, None, self.looked + SILENT
        asks = tuple(after._asks(pools, memory, host, needs, barred, working, now))  # noqa: SLF001
        due = after._due(pools, now)  # noqa: SLF001
        if not returns and not asks and due > now:
            return after, None, due
        asked = {**after.asked, **{ask.slot: now for ask in asks}}
        known = {*(one.id for one in after.seen), *working}
        node = next((pool.slurm.node for pool in pools if pool.slurm.node), None)
        request = TendAllocations(
            host, node, tuple(sorted(known)), tuple(sorted(after.returning)), asks
        )
        return replace(after, asked=asked, looked=now), request, now + SILENT

    def _wanted(
        self,
        pools: Iterable[PoolSpec],
        memory: Memory,
        needs: Mapping[PoolName, int],
        barred: frozenset[SlotName],
        working: frozenset[str],
        now: float,
    ) -> Allocations:
        """The same, with since when nothing wants the allocation of which slot; while Slurm is silent every
        slot is barred, and that says nothing.
        """
        idle: dict[SlotName, float] = {}
        if self.problem:
            return replace(self, idle=idle)
        for pool in pools:
            left = needs.get(pool.name, 0)
            for name in _names(pool):
                own = self.of(name)
                if own is None or own.id in working:
                    continue
                booked = memory.slot(name).booking is not None
                if not booked and (left <= 0 or name in barred):
                    idle[name] = self.idle.get(name, now)
                else:
                    left -= 1
        return replace(self, idle=idle)

    def _returns(
        self, pools: Sequence[PoolSpec], working: frozenset[str], now: float
    ) -> frozenset[str]:
        """Which are to be given back: that no slot has, that the slot has beside another, that waited or
        were not wanted for too long, and those in which no job of the pool would end in time.
        """
        specs = {name: pool for pool in pools for name in _names(pool)}
        found: set[str] = set()
        for one in self.seen:
            if one.id in working or one.id in self.returning:
                continue
            pool = specs.get(one.slot)
            own = self.of(one.slot)
            idle = self.idle.get(one.slot)
            if (
                pool is None
                or own is None
                or own.id != one.id
                or (not one.running and now - one.since >= pool.slurm.wait)
                or (one.running and not fits(one.ends, pool, now))
                or (idle is not None and now - idle >= pool.slurm.idle)
            ):
                found.add(one.id)
        return frozenset(found)

    def _asks(
        self,
        pools: Iterable[PoolSpec],
        memory: Memory,
        host: HostId,
        needs: Mapping[PoolName, int],
        barred: frozenset[SlotName],
        working: frozenset[str],
        now: float,
    ) -> Iterator[Ask]:
        if self.at is None or self.problem or self.unfit or memory.pause is not None:
            return
        for pool in pools:
            left = needs.get(pool.name, 0)
            free: list[SlotName] = []
            for name in _names(pool):
                own = self.of(name)
                if own is not None:
                    left -= own.id not in working and name not in barred
                elif name in self.asked and now - self.asked[name] < UNSEEN:
                    left -= 1
                elif name not in barred and now >= self.resting.get(name, 0.0):
                    free.append(name)
            for name in free[: max(0, left)]:
                gpus = pool.gpus if isinstance(pool.gpus, int) else 1
                minutes = pool.slurm.minutes(pool.limits.job_timeout)
                yield Ask(name, job_name(host, name, now), gpus, minutes, pool.slurm)

    def _due(self, pools: Iterable[PoolSpec], now: float) -> float:
        """When to look at the queue again; what was due before the last answer waits for the next."""
        looks = [pool.slurm.look for pool in pools]
        quiet = not self.seen and not self.asked and not self.problem
        every = min(looks, default=RARELY) * (RESTING if quiet else 1)
        if self.heard is None:
            return now
        dues = [*self.resting.values()]
        dues += [since + _request(pools, slot).idle for slot, since in self.idle.items()]
        return min([self.heard + every, *(due for due in dues if due > self.heard)])

    def shifted(self, by: float) -> Allocations:
        """The same for a clock that was set; what Slurm told has its own."""

        def moved(time: float | None) -> float | None:
            return None if time is None else time + by

        return replace(
            self,
            at=moved(self.at),
            heard=moved(self.heard),
            since=moved(self.since),
            looked=moved(self.looked),
            asked={slot: at + by for slot, at in self.asked.items()},
            idle={slot: at + by for slot, at in self.idle.items()},
            resting={slot: at + by for slot, at in self.resting.items()},
        )


NOT_ASKED = Allocations()


def identity(number: str, since: float) -> str:
    """What tells one allocation from all others: a controller that is killed forgets those of its last
    seconds, and gives their numbers again.
    """
    return f"{number}@{since:.0f}"


def number(identity: str) -> str:
    """What Slurm calls it."""
    return identity.partition("@")[0]


def in_use(memory: Memory) -> frozenset[str]:
    """The allocations that an agent may be at work on."""
    return frozenset(agent.allocation for agent in memory.agents.values() if may_be_at_work(agent))


def may_be_at_work(agent: Agent) -> bool:
    """Whether it may be at work on the GPUs of its allocation."""
    here = agent.owes or agent.hold is not None or not agent.settled
    return bool(agent.allocation) and agent.committed is not None and here


def is_barred(known: SlotMemory, spec: SlotSpec, desired: Desired, now: float) -> bool:
    """Whether the slot could make nothing of an allocation now."""
    if known.cordon is not None or spec.name in desired.obstacles:
        return True
    if spec.name in desired.undetermined or cooling(known, now):
        return True
    return known.held is not None and (known.trial_at is None or now < known.trial_at)


def fits(ends: float | None, pool: PoolSpec, now: float) -> bool:
    """Whether a job of the pool that begins now has to end before the allocation does."""
    if ends is None:
        return True
    longest = pool.limits.job_timeout
    return ends - now >= (SPARE if longest is None else longest + SPARE)


def job_name(host: HostId, slot: SlotName, now: float) -> str:
    """What an allocation is called in Slurm's queue: it is found by that again."""
    return f"{PREFIX}:{host}:{slot}:{naming.base36(int(now), naming.TIME_LENGTH)}"


def slot_of(name: str, host: HostId) -> SlotName | None:
    """Whose slot the allocation of that name is; ``None``: none of this host's."""
    parts = name.split(":")
    if len(parts) != 4 or parts[0] != PREFIX or parts[1] != host or not parts[2]:
        return None
    return SlotName(parts[2])


def _names(pool: PoolSpec) -> list[SlotName]:
    return [naming.slot(pool.name, index) for index in range(pool.slots if pool.by_slurm else 0)]


def _request(pools: Iterable[PoolSpec], slot: SlotName) -> SlurmRequest:
    return next((pool.slurm for pool in pools if slot in _names(pool)), SlurmRequest())


# -- in words ------------------------------------------------------------------------------------


def conditions(allocations: Allocations, config: Config, now: float) -> Iterator[Condition]:
    """What is the matter with Slurm, and for what slots wait."""
    pools = [pool for pool in config.pools if pool.by_slurm]
    if not pools:
        return
    if allocations.since is not None:
        text = f"Slurm does not answer: {allocations.problem}. Running jobs go on; no slot takes a new one"
        yield Condition("slurm.unreachable", Severity.ERROR, text, "sinfo")
    for pool in pools:
        for name in _names(pool):
            own, refused = allocations.of(name), allocations.refused.get(name)
            if own is None and refused:
                text = f"Slurm refuses slot {name} GPUs: {refused}"
                yield Condition("slurm.refused", Severity.ERROR, text, "sinfo", pool.name, (name,))
            elif own is not None and not own.running and now - own.since > TOLD_AFTER:
                text = (
                    f"slot {name} has waited for Slurm for {now - own.since:.0f} s: "
                    f"{own.reason or own.state}"
                )
                fix = f"squeue -j {own.number}"
                yield Condition("slurm.waits", Severity.WARNING, text, fix, pool.name, (name,))
            elif own is not None and own.running and own.problem:
                text = f"slot {name} cannot use its allocation: {allocations.awaits(name)}"
                fix = f"scontrol show job -d {own.number}"
                yield Condition("slurm.unusable", Severity.ERROR, text, fix, pool.name, (name,))
