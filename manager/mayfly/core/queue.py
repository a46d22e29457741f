"""Which of a pool's queued jobs is next: by class, then by each person's share, then first come.

Pure. The same memory at the same time gives the same order, and all of the memory is on disk: a restart
changes nothing. Nothing here opens a gate or ends a job; what waits for another job, or can never run, is
in no order; nor is what a slot is booked for (`booking`), or reserved (`reserving`).

A person's share is the time that their jobs had in the pool's slots, the older the less: after a half-life
half of it counts. Whose jobs of a class had no slot for ``PATIENCE`` rises a class with them, and above the
highest is before everybody: no job starves. It is the person who rises and not the job, so that a hundred
jobs of one who is served stay behind one job of another.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from types import MappingProxyType
from typing import TypeAlias

from mayfly.core.facts import AgentOpened, Fact, JobEnded
from mayfly.core.job_images import usable
from mayfly.core.memory import NO_SHARE, Job, Memory, Share, ShareKey
from mayfly.core.model import Cause, Generation, JobId, JobImage, JobState, PoolName, Priority

HALF_LIFE = 24 * 3600.0  # where the configuration names none
PATIENCE = 12 * 3600.0  # seconds without a slot after which a person's jobs of a class rise by one
# Seconds that a start counts at once: of slots that get free together one person does not take all.
AHEAD = 60.0
CLASSES = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
_CLASS = {priority: place for place, priority in enumerate(CLASSES)}

Person: TypeAlias = int | None  # a uid; None: of jobs that an earlier Mayfly took
_Line: TypeAlias = tuple[Person, Priority]
_Rank: TypeAlias = tuple[int, float, int]
Images: TypeAlias = Mapping[tuple[PoolName, str], JobImage]
NO_IMAGES: Images = MappingProxyType({})


def waits(job: Job) -> bool:
    """Whether it is in the order: queued, and nothing but a slot is missing."""
    return job.agent is None and job.cancelled_by is None and not job.awaits and not job.forsaken


def waits_for_a_slot(job: Job, memory: Memory) -> bool:
    """Whether it has waited for that alone since it was submitted: for no other job, for no hour that was
    reserved, and not to be run again.
    """
    return not (job.after or job.lost or job.forsaken or job.id in memory.reservations)


class Queue:
    """The order of each pool's jobs from now on, as far as it is asked for."""

    def __init__(
        self,
        memory: Memory,
        now: float,
        half_life: float = HALF_LIFE,
        job_images: Images = NO_IMAGES,
    ) -> None:
        """``job_images``: see ``Desired``; a job that asks for one that is no good is passed over."""
        self._memory = memory
        self._job_images = job_images
        self._now = now
        self._half_life = half_life
        self._pools: dict[PoolName, _PoolOrder] | None = None

    def next(self, pool: PoolName) -> Job | None:
        """The pool's next job; ``None``: none waits."""
        found = self._ordered().get(pool)
        return found.next() if found is not None else None

    def next_of_own_image(self, pool: PoolName) -> Job | None:
        """The first of the pool's jobs that asks for no image; ``None``: none waits."""
        found = self._ordered().get(pool)
        return found.next_of_own_image() if found is not None else None

    def waiting(self, pool: PoolName) -> int:
        """How many of the pool's jobs wait for nothing but a slot."""
        found = self._ordered().get(pool)
        return found.waiting() if found is not None else 0

    def is_first(self, pool: PoolName, uid: int, since: float) -> bool:
        """Whether a job of that person that waits since then would be before all that wait."""
        found = self._ordered().get(pool)
        if found is None:
            return True
        used = shares_used(self._memory, self._now, self._half_life).get((pool, uid), 0.0)
        last = served(self._memory, (pool, uid, Priority.NORMAL))
        for one in self._memory.reservations.values():
            if (one.pool, one.uid) == (pool, uid) and one.began is not None:
                last = self._now
        return found.is_first(max(since, last), since, used)

    def take(self, job: Job) -> None:
        """The job waits no more, and those behind it are nearer."""
        self._ordered()[job.pool].take(job)

    def order(self, pool: PoolName) -> Iterator[Job]:
        """All that wait, as they would start if nothing else came."""
        found = self._ordered().get(pool)
        while found is not None and (job := found.next()) is not None:
            found.take(job)
            yield job

    def pools(self) -> tuple[PoolName, ...]:
        """Where anything waits."""
        return tuple(self._ordered())

    def _ordered(self) -> dict[PoolName, _PoolOrder]:
        if self._pools is None:  # most passes need none
            self._pools = _orders(self._memory, self._now, self._half_life, self._job_images)
        return self._pools


def _orders(
    memory: Memory, now: float, half_life: float, job_images: Images
) -> dict[PoolName, _PoolOrder]:
    lines: dict[PoolName, dict[_Line, list[Job]]] = {}
    booked, reserved = memory.booked, memory.reservations
    for job in memory.jobs.values():
        if job.id in booked or job.id in reserved:
            continue
        if waits(job) and usable(job_images, job):
            pool = lines.setdefault(job.pool, {})
            pool.setdefault((job.uid, job.priority), []).append(job)
    if not lines:
        return {}
    used = shares_used(memory, now, half_life)
    at_work = {
        job.share for job in memory.jobs.values() if job.agent is not None or job.id in booked
    }
    return {
        pool: _PoolOrder(
            {line: deque(sorted(jobs, key=_serial)) for line, jobs in waiting.items()},
            {person: used.get((pool, person), 0.0) for person, _ in waiting},
            {
                line: now if (pool, *line) in at_work else served(memory, (pool, *line))
                for line in waiting
            },
            now,
        )
        for pool, waiting in lines.items()
    }


def served(memory: Memory, key: ShareKey) -> float:
    """When a job of that person and class last had a slot of the pool; 0: never."""
    share = memory.shares.get(key, NO_SHARE)
    return max(share.at, share.started or 0.0)


def _serial(job: Job) -> int:
    return job.serial


class _PoolOrder:
    """One pool's: the head of each line by its rank, those of whom somebody was taken ranked anew."""

    def __init__(
        self,
        lines: dict[_Line, deque[Job]],
        used: dict[Person, float],
        served: dict[_Line, float],
        now: float,
    ) -> None:
        self._lines = lines
        self._used = used
        self._served = served
        self._now = now
        self._classes: dict[Person, list[_Line]] = {}
        for line in lines:
            self._classes.setdefault(line[0], []).append(line)
        self._ranks = {line: self._rank(line, jobs[0]) for line, jobs in lines.items()}
        self._heap = [(rank, line) for line, rank in self._ranks.items()]
        heapq.heapify(self._heap)

    def next(self) -> Job | None:
        while self._heap:
            rank, line = self._heap[0]
            if self._ranks.get(line) == rank:
                return self._lines[line][0]
            heapq.heappop(self._heap)  # ranked anew since
        return None

    def next_of_own_image(self) -> Job | None:
        heads = (
            (line, next((job for job in jobs if job.image is None), None))
            for line, jobs in self._lines.items()
        )
        ranked = [(self._rank(line, head), head) for line, head in heads if head is not None]
        return min(ranked, key=itemgetter(0))[1] if ranked else None

    def is_first(self, since: float, submitted: float, used: float) -> bool:
        """Whether a job of class normal is first. ``since``: without a slot; ``used``: its owner's share."""
        head = self.next()
        if head is None:
            return True
        first = self._rank((head.uid, head.priority), head)[:2]
        own = _standing(Priority.NORMAL, since, used, self._now)
        return own < first or (own == first and submitted <= head.submitted)

    def waiting(self) -> int:
        return sum(map(len, self._lines.values()))

    def take(self, job: Job) -> None:
        person, line = job.uid, (job.uid, job.priority)
        self._lines[line].remove(job)
        self._used[person] += AHEAD
        self._served[line] = self._now
        self._ranks.pop(line)
        if not self._lines[line]:
            self._classes[person].remove(line)
        for own in self._classes[person]:
            self._ranks[own] = rank = self._rank(own, self._lines[own][0])
            heapq.heappush(self._heap, (rank, own))

    def _rank(self, line: _Line, head: Job) -> _Rank:
        """What is smaller is before: the class, the share, who came first. Each job has its own serial."""
        since = max(head.submitted, self._served[line])
        return (*_standing(line[1], since, self._used[line[0]], self._now), head.serial)


def _standing(priority: Priority, since: float, used: float, now: float) -> tuple[int, float]:
    """The class of who has had no slot since then, as far as it has risen, and what counts within that."""
    risen = _CLASS[priority] - int(max(0.0, now - since) // PATIENCE)
    return (-1, since) if risen < 0 else (risen, used)


# -- shares ----------------------------------------------------------------------------------------


def shares_used(
    memory: Memory, now: float, half_life: float
) -> dict[tuple[PoolName, Person], float]:
    """How many seconds of each pool's slots each person had, as far as they still count."""
    used: dict[tuple[PoolName, Person], float] = {}
    for (pool, person, _), share in memory.shares.items():
        used[pool, person] = used.get((pool, person), 0.0) + _left(share, now, half_life)
    booked = memory.booked
    for job in memory.jobs.values():
        if job.agent is not None or job.id in booked:
            ran = 0.0 if job.started is None else now - job.started
            key = (job.pool, job.uid)
            used[key] = used.get(key, 0.0) + _worth(ran, half_life) + AHEAD
    for one in memory.reservations.values():
        if one.began is not None and not one.shell:
            key = (one.pool, one.uid)
            used[key] = used.get(key, 0.0) + _worth(now - one.began, half_life) * one.slots
    for agent in memory.agents.values():
        if agent.hold is not None and agent.hold.uid is not None:
            key = (agent.pool, agent.hold.uid)
            used[key] = used.get(key, 0.0) + _worth(now - agent.hold.since, half_life)
    return used


def share_with_hold(
    memory: Memory, generation: Generation, now: float, half_life: float
) -> float | None:
    """What the share of whom an agent was held for counts for with that, until now or as long as it may have
    been; ``None``: nobody's.
    """
    agent = memory.agents.get(generation)
    if agent is None or agent.hold is None or agent.hold.uid is None:
        return None
    key = (agent.pool, agent.hold.uid, Priority.NORMAL)
    held = max(0.0, min(now, agent.hold.latest) - agent.hold.since)
    return share_with(memory, key, held, now, half_life)


def share_with(
    memory: Memory, key: ShareKey, seconds: float, now: float, half_life: float
) -> float:
    """What a share counts for with so many seconds more, the last of them now."""
    return _left(memory.shares.get(key, NO_SHARE), now, half_life) + _worth(seconds, half_life)


def charged(facts: Iterable[Fact], memory: Memory, half_life: float) -> tuple[Fact, ...]:
    """The facts, and with each end of a job that ran what its owner's share in that class is then."""
    shares: dict[ShareKey, Share] = {}
    opened: dict[Generation, float] = {}
    found: list[Fact] = []
    for fact in facts:
        told = fact
        if isinstance(fact, AgentOpened):
            opened[fact.generation] = fact.at
        elif isinstance(fact, JobEnded) and (job := memory.jobs.get(fact.job)) is not None:
            began = job.started
            if began is None and job.agent is not None:
                began = opened.get(job.agent)
            if began is not None:
                key = job.share
                before = shares.get(key) or memory.shares.get(key, NO_SHARE)
                at = max(before.at, fact.at)
                used = _left(before, at, half_life) + _worth(fact.at - began, half_life)
                shares[key] = replace(before, used=used, at=at)
                told = replace(fact, used=used)
        found.append(told)
    return tuple(found)


def _left(share: Share, now: float, half_life: float) -> float:
    """What still counts of it."""
    return share.used * math.exp2(-max(0.0, now - share.at) / half_life)


def _worth(seconds: float, half_life: float) -> float:
    """What so many seconds, the last of them now, count for."""
    return half_life / math.log(2) * -math.expm1(-math.log(2) * max(0.0, seconds) / half_life)


# -- what follows another job ------------------------------------------------------------------------

_HOW = {
    JobState.FAILED: "failed",
    JobState.CANCELLED: "was cancelled",
    JobState.LOST: "was lost",
}


def followers(jobs: Iterable[Job]) -> dict[JobId, list[JobId]]:
    """Which jobs wait for each that is waited for."""
    found: dict[JobId, list[JobId]] = {}
    for job in jobs:
        for other in job.awaits:
            found.setdefault(other, []).append(job.id)
    return found


def followed(job: Job, ended: JobId, state: JobState) -> Job:
    """A job for which another was waited that has ended: it need not be any more, or it was in vain."""
    if ended not in job.awaits:
        return job
    if state is JobState.SUCCEEDED:
        return replace(job, awaits=tuple(other for other in job.awaits if other != ended))
    return job if job.forsaken else replace(job, forsaken=in_vain(ended, state))


def in_vain(job: JobId, state: JobState) -> str:
    """Why what was to run after that job does not run."""
    return f"job {job}, which it was to run after, {_HOW.get(state, state)}"


def forsaken(memory: Memory, now: float) -> list[JobEnded]:
    """The ends of the jobs that waited in vain, and of those that wait for them."""
    found = [job for job in memory.jobs.values() if job.forsaken]
    if not found:
        return []
    waiting = followers(memory.jobs.values())
    ends = {job.id: _given_up(job.id, job.forsaken, now) for job in found}
    left = list(ends)
    while left:
        ended = left.pop()
        for job in waiting.get(ended, ()):
            if job not in ends:
                ends[job] = _given_up(job, in_vain(ended, JobState.CANCELLED), now)
                left.append(job)
    return list(ends.values())


def _given_up(job: JobId, why: str, now: float) -> JobEnded:
    return JobEnded(now, job, JobState.CANCELLED, Cause.AFTER, None, detail=why)
