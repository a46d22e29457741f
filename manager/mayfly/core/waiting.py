"""Jobs that wait at a service: when it is asked for them, which are stuck, and which are cancelled.

Pure. A job is stuck where it has waited longer than its pool's ``stuck_after`` although the pool has an idle
slot that fits it, or asks for what no agent at the service can give. What was not seen is not stuck: a look
that failed leaves nothing behind, and a job is cancelled only by a look that has just shown it: what a pause
came before is decided anew after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import nsmallest

from mayfly.core.memory import Memory
from mayfly.core.model import Condition, Phase, PoolName, PoolSpec, Severity, SlotName
from mayfly.core.quantities import spoken_age

FIRST = 120.0  # seconds from the start of a manager to its first look
OFTEN, SELDOM = 300.0, 1800.0  # seconds between two looks, at the least and at the most
DENIED = 6 * 3600.0  # seconds after which what was refused is asked for again
IDLE_FOR = 120.0  # seconds that a slot has been idle before a job should have come to it
KEPT = 3.0  # times the pause between looks for which what one showed is told
MOST = 1_000  # jobs that are kept of one pool: those that have waited for longest
LACKS = 10  # labels that a sentence names
FORGOTTEN = 900.0  # seconds after which an answer is not waited for any more


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that waits at the service for an agent of the pool, or asks for one that there is not."""

    id: str  # what it is cancelled by
    name: str
    since: float
    url: str  # where a person sees it
    # an agent of the pool can take it; False: it asks for what is the pool's, and for more than any agent has
    fits: bool
    # nothing else goes with it: where the service cancels a whole run, no other job of that has begun
    alone: bool = True
    lacks: tuple[str, ...] = ()  # what it asks for that no agent has


@dataclass(frozen=True, slots=True)
class Queue:
    """What is known of the jobs that wait for one pool."""

    due: float
    asked: float | None = None  # since when an answer is awaited
    jobs: tuple[WaitingJob, ...] = ()
    seen: float | None = None  # None: they are not known
    # that were to be cancelled, and why they were not; "": they were, or it is being done
    ended: Mapping[str, str] = field(default_factory=dict)
    cancelling: tuple[str, ...] = ()  # to be asked for once that is on disk


def pause(spec: PoolSpec) -> float:
    """Seconds between two looks."""
    return min(SELDOM, max(OFTEN, spec.stuck_after / 3))


def idle_slot(memory: Memory, pool: PoolName, now: float) -> SlotName | None:
    """A slot of the pool that has been idle long enough for a job to have come to it; ``None``: none has."""
    for agent in memory.agents.values():
        if agent.pool != pool or agent.settled or agent.doom is not None or agent.dismissed:
            continue
        if agent.confirmed is not Phase.IDLE or agent.cordoned_there:
            continue
        since = agent.idle_at if agent.idle_at is not None else agent.confirmed_at
        cordoned = memory.slot(agent.slot).cordon is not None
        if since is not None and now - since >= IDLE_FOR and not cordoned:
            return agent.slot
    return None


def is_stuck(spec: PoolSpec, job: WaitingJob, idle: SlotName | None, now: float) -> bool:
    """Whether it waits for nothing that will come by itself."""
    return now - job.since >= spec.stuck_after and (not job.fits or idle is not None)


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of all pools whose service is asked for them; never changed in place."""

    pools: Mapping[PoolName, Queue] = field(default_factory=dict)

    def use(self, pools: Iterable[PoolSpec], services: Iterable[PoolName], now: float) -> Queues:
        """These pools are configured, and those have a service."""
        known = set(services)
        return Queues(
            {
                spec.name: self.pools.get(spec.name, Queue(now + FIRST))
                for spec in pools
                if spec.name in known and spec.stuck_after
            }
        )

    def next(self) -> float | None:
        """When one is asked for next; ``None``: none is."""
        dues = [
            one.due if one.asked is None else one.asked + FORGOTTEN for one in self.pools.values()
        ]
        return min(dues, default=None)

    def ask(self, now: float, away: Iterable[PoolName]) -> tuple[Queues, tuple[PoolName, ...]]:
        """The pools whose service is asked now; one that is ``away`` is asked once it is back."""
        down, asked = set(away), []
        after = dict(self.pools)
        for name, queue in self.pools.items():
            if now < (queue.due if queue.asked is None else queue.asked + FORGOTTEN):
                continue
            if name in down:
                after[name] = replace(queue, due=now + OFTEN, asked=None)
            else:
                after[name] = replace(queue, asked=now)
                asked.append(name)
        return Queues(after), tuple(asked)

    def _with(self, pool: PoolName, queue: Queue) -> Queues:
        return Queues({**self.pools, pool: queue})

    def looked(
        self,
        spec: PoolSpec,
        jobs: tuple[WaitingJob, ...],
        idle: SlotName | None,
        now: float,
        *,
        observing: bool = False,
    ) -> tuple[Queues, tuple[WaitingJob, ...]]:
        """After a look; and the jobs that are to be cancelled, each once; ``observing``: none is."""
        queue = self.pools.get(spec.name)
        if queue is None:
            return self, ()
        if len(jobs) > MOST:
            jobs = tuple(nsmallest(MOST, jobs, key=lambda job: job.since))
        ended = {job.id: queue.ended[job.id] for job in jobs if job.id in queue.ended}
        doomed = tuple(
            job
            for job in jobs
            if not observing and spec.cancel_stuck and now - job.since >= spec.cancel_stuck
            if is_stuck(spec, job, idle, now) and job.alone and job.id not in ended
        )
        queue = replace(
            queue,
            due=now + pause(spec),
            asked=None,
            jobs=jobs,
            seen=now,
            ended=ended | {job.id: "" for job in doomed},
            cancelling=(*queue.cancelling, *(job.id for job in doomed)),
        )
        return self._with(spec.name, queue), doomed

    def unseen(self, pool: PoolName, now: float, *, lasting: bool) -> Queues:
        """A look failed: nothing is known of the jobs."""
        queue = self.pools.get(pool)
        if queue is None:
            return self
        due = now + (DENIED if lasting else SELDOM)
        return self._with(pool, replace(queue, due=due, asked=None, jobs=(), seen=None))

    def ended(self, pool: PoolName, job: str, refusal: str) -> Queues:
        """One was cancelled, or ``refusal`` says why not."""
        queue = self.pools.get(pool)
        if queue is None:
            return self
        jobs = queue.jobs if refusal else tuple(one for one in queue.jobs if one.id != job)
        return self._with(pool, replace(queue, jobs=jobs, ended={**queue.ended, job: refusal}))

    def cancelled(self) -> tuple[Queues, tuple[tuple[PoolName, str], ...]]:
        """After asking for what is to be cancelled; and that."""
        found = tuple((name, job) for name, one in self.pools.items() for job in one.cancelling)
        if not found:
            return self, ()
        return Queues(
            {name: replace(one, cancelling=()) for name, one in self.pools.items()}
        ), found

    def spared(self) -> Queues:
        """Nothing is cancelled now: by the time that it may be, what was seen is old."""
        if not any(one.cancelling for one in self.pools.values()):
            return self
        return Queues(
            {
                name: replace(
                    one,
                    cancelling=(),
                    ended={job: why for job, why in one.ended.items() if job not in one.cancelling},
                )
                for name, one in self.pools.items()
            }
        )

    def shifted(self, by: float, now: float) -> Queues:
        """The wall clock has jumped."""
        return Queues(
            {
                name: replace(
                    one, due=min(one.due + by, now + SELDOM), asked=None, jobs=(), seen=None
                )
                for name, one in self.pools.items()
            }
        )

    def conditions(self, pools: Iterable[PoolSpec], memory: Memory, now: float) -> list[Condition]:
        """What waits in vain, a condition for each pool and cause."""
        found = []
        for spec in pools:
            queue = self.pools.get(spec.name)
            if queue is None or queue.seen is None or now - queue.seen > KEPT * pause(spec):
                continue
            idle = idle_slot(memory, spec.name, now)
            stuck = [
                job
                for job in queue.jobs
                if is_stuck(spec, job, idle, now) and queue.ended.get(job.id) != ""
            ]
            for fits in (True, False):
                some = sorted((job for job in stuck if job.fits is fits), key=lambda job: job.since)
                if some:
                    found.append(_condition(spec, some, idle, queue.ended.get(some[0].id, ""), now))
        return found


def _condition(
    spec: PoolSpec, jobs: list[WaitingJob], idle: SlotName | None, refusal: str, now: float
) -> Condition:
    first, more = jobs[0], len(jobs) - 1
    others = f", and {more} more" if more else ""
    waited = f"job {first.name} has waited at the service for {spoken_age(now - first.since)}"
    if first.fits:
        code, why = "waiting.stuck", f"although {idle} is idle"
        fix = f"# look there why it was not given out, or cancel it: {first.url}"
    else:
        lacks = ", ".join(first.lacks[:LACKS]) + (", …" if len(first.lacks) > LACKS else "")
        code, why = "waiting.unserved", f"for what no agent has: {lacks or 'its labels'}"
        fix = f"# give the pool those `labels`, or mend what the job asks for: {first.url}"
    text = f"{waited} {why} ({first.url}){others}"
    if refusal:
        text += f"; it could not be cancelled: {refusal}"
    return Condition(code, Severity.WARNING, text, fix, spec.name)
