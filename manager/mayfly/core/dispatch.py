"""Dispatch: a service that hands its jobs out tells how many it has for a pool; no gate is opened for more.

It is asked one long question after the other (``Listen``), each with how many jobs the pool's slots can have
at once. The answer's counts are the truth of how many jobs there are, and our own memory is that of how many
agents stand for one; lists of single jobs are hints. A count is as old as the answer that it came with, so an
agent that has ended with its job goes on standing for it until the service says that the job is over, or has
answered without that well after the end.

Offered jobs are acquired only for agents that stand at their gate. What was answered is acknowledged once the
step that took it in is on disk, and all that was offered in it is settled: until then it is delivered again.

What is kept of a service's words is bounded, and so is how often it may say them. A message whose offers find
no room is left to the service: it comes again with the next session, which is begun when there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import islice
from types import MappingProxyType

from mayfly.core.actions import AcquireJobs
from mayfly.core.delivery import Delivery, JobCounts
from mayfly.core.facts import AgentExited, Fact
from mayfly.core.held_jobs import slots_held
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Condition,
    Desired,
    Generation,
    PoolName,
    Severity,
    SlotName,
    SlotSpec,
)
from mayfly.core.outcomes import Result
from mayfly.core.requests import Leave, Listen
from mayfly.core.slots import VACANCY, Tenancy, cooling, within
from mayfly.core.stimuli import Failure

# Seconds until a service is asked again that failed to answer: for as long as it has failed already, and at
# the least and the most.
RETRY, RETRY_MOST = 5.0, 30.0
PAUSE = 1.0  # seconds from one question to the next where the answer was empty
BREATH = 0.25  # the same where it was not
MOST_OFFERS = 2_000  # that are kept; a message has a thousand at most
MOST_OVER = 2_000  # names that are kept of agents whose job is over
MOST_AT_ONCE = 100  # messages that are acknowledged with one question
UNANSWERED = 300.0  # seconds after which a question that nobody answered is asked anew
SETTLED = 60.0  # seconds after an end until an answer that does not tell of it is believed
KEPT = 900.0  # seconds for which it is remembered that a job is over
SURPLUS = 60.0  # seconds that agents may stand open without a job for them
GRACE = 30.0  # seconds of failing after which it is a condition
HAD_JOB = (Result.JOB_DONE, Result.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What one pool's service has said of its jobs, and what it was told; never changed in place."""

    due: float = 0.0  # when it is to be asked next; of no account while it is being asked
    asked: float | None = None  # since when it is being asked; None: it is not
    room: int = 0  # what it was told last: how many jobs the pool may have at once
    able: int = 0  # slots that could have a job then, sooner or later
    in_session: bool = False  # it may be handing out jobs to us
    turn: int = 1  # one more each time that it is left
    counts: JobCounts = field(default_factory=JobCounts)
    at: float | None = None  # when it counted; None: it has not yet
    acquired: Mapping[int, float] = field(default_factory=dict)  # not yet said to be ours, since
    offers: Mapping[int, tuple[str, int]] = field(default_factory=dict)  # their job and message
    unacknowledged: tuple[int, ...] = ()
    overfull: bool = False  # a message of this session was left to the service, for want of room
    # Names of agents that ended with a job, and of those whose job the service knows to be over; since when.
    ended: Mapping[str, float] = field(default_factory=dict)
    over: Mapping[str, float] = field(default_factory=dict)
    surplus_since: float | None = None  # since when more agents stand open than there are jobs
    failing_since: float | None = None
    failure: Failure | None = None
    warning: str = ""
    unsupported: str = ""  # why it hands nothing out, so that each slot's agent is enrolled

    @property
    def wanted(self) -> int:
        """How many agents there are to be for its jobs, those included that have ended untold."""
        return self.counts.assigned + len(self.acquired) if self.at is not None else 0

    @property
    def acknowledgeable(self) -> tuple[int, ...]:
        """The messages in which nothing is unsettled: the oldest, as many as one question carries."""
        open_ = {message for _, message in self.offers.values()}
        settled = (one for one in self.unacknowledged if one not in open_)
        return tuple(islice(settled, MOST_AT_ONCE))

    @property
    def has_room_again(self) -> bool:
        """Whether what was left to the service may be said now."""
        return self.overfull and 2 * len(self.offers) <= MOST_OFFERS

    # -- what comes of asking it --

    def told(self, delivery: Delivery, acknowledged: Iterable[int], now: float) -> Dispatch:
        """It has answered."""
        done = set(acknowledged)
        rest = PAUSE if delivery.empty else BREATH
        due = max(now, (self.asked if self.asked is not None else now) + rest)
        after = replace(
            self,
            due=due,
            asked=None,
            failing_since=None,
            failure=None,
            unsupported=delivery.unsupported,
            unacknowledged=tuple(one for one in self.unacknowledged if one not in done),
        )
        if delivery.begins:
            after = replace(
                after,
                offers={},
                acquired={},
                unacknowledged=(),
                overfull=False,
                warning=delivery.warning,
            )
        after = after.offered(delivery)
        over = {name: since for name, since in after.over.items() if now - since < KEPT}
        for name in delivery.over:
            over.pop(name, None)  # the last one told stands last
            over[name] = now
        over = dict(islice(over.items(), max(0, len(over) - MOST_OVER), None))
        after = replace(
            after,
            acquired={
                key: at for key, at in after.acquired.items() if key not in delivery.assigned
            },
            over=over,
            ended={name: at for name, at in after.ended.items() if name not in over},
        )
        if delivery.counts is not None:
            after = replace(after, counts=delivery.counts, at=now)
        return after.settled(now)

    def offered(self, delivery: Delivery) -> Dispatch:
        """With what is offered in it, where there is room, and without what is somebody's now."""
        offers = {
            key: known
            for key, known in self.offers.items()
            if key not in delivery.assigned and known[0] not in delivery.gone
        }
        if delivery.message is None:
            return replace(self, offers=offers)
        new = {
            one.id: (one.job, delivery.message)
            for one in delivery.offers
            if one.id not in delivery.assigned and one.job not in delivery.gone
        }
        if len(offers.keys() | new.keys()) > MOST_OFFERS:
            return replace(self, offers=offers, overfull=True)
        known = self.unacknowledged
        messages = known if delivery.message in known else (*known, delivery.message)
        return replace(self, offers=offers | new, unacknowledged=messages)

    def settled(self, now: float) -> Dispatch:
        """Without what it should have told by now: where an answer has no count, the last one stands."""
        return replace(
            self,
            acquired={key: at for key, at in self.acquired.items() if within(now, at, SETTLED)},
            ended={name: at for name, at in self.ended.items() if within(now, at, SETTLED)},
        )

    def untold(self, failure: Failure, now: float) -> Dispatch:
        """It has not answered."""
        since = self.failing_since if self.failing_since is not None else now
        rest = min(RETRY_MOST, max(RETRY, now - since))
        due = now + max(rest, failure.retry_after or 0.0)
        return replace(self, due=due, asked=None, failing_since=since, failure=failure)

    def acquisition(self, asked: Iterable[int], won: Iterable[int], now: float) -> Dispatch:
        """Jobs were to be acquired, and some were: the others are somebody else's, or no more."""
        settled = set(asked)
        offers = {key: known for key, known in self.offers.items() if key not in settled}
        # What the service said to be ours meanwhile is in its count already.
        new = dict.fromkeys((key for key in won if key in self.offers), now)
        return replace(self, offers=offers, acquired={**self.acquired, **new})

    def ends(self, name: str, now: float) -> Dispatch:
        """An agent ended that had a job."""
        return self if name in self.over else replace(self, ended={**self.ended, name: now})

    def shifted(self, by: float) -> Dispatch:
        """The wall clock has jumped."""

        def moved(at: float | None) -> float | None:
            return at + by if at is not None else None

        return replace(
            self,
            due=self.due + by,
            asked=moved(self.asked),
            at=moved(self.at),
            acquired={key: at + by for key, at in self.acquired.items()},
            ended={key: at + by for key, at in self.ended.items()},
            over={key: at + by for key, at in self.over.items()},
            surplus_since=moved(self.surplus_since),
            failing_since=moved(self.failing_since),
        )


Dispatches = Mapping[PoolName, Dispatch]
NONE: Dispatches = MappingProxyType({})


def after(dispatches: Dispatches, facts: Iterable[Fact], memory: Memory, now: float) -> Dispatches:
    """With what has just ended; ``memory`` is from before."""
    found = dict(dispatches)
    for fact in facts:
        if not isinstance(fact, AgentExited):
            continue
        agent = memory.agents.get(fact.generation)
        if agent is None or agent.pool not in found or agent.registered is None:
            continue
        if agent.busy or fact.outcome in HAD_JOB:
            found[agent.pool] = found[agent.pool].ends(agent.registered, now)
    return found


def _stands(agent: Agent, run_id: str, enrolling: AbstractSet[Generation]) -> bool:
    """Whether the agent is there for a job: it has one, waits for it, or is about to."""
    if agent.settled or (agent.doom is not None and not agent.busy):
        return False
    given = agent.enrolled is not None and agent.enrolled_by_run == run_id
    return agent.committed is not None or given or agent.generation in enrolling


def gates(
    dispatches: Dispatches, memory: Memory, run_id: str, enrolling: AbstractSet[Generation]
) -> dict[PoolName, int]:
    """For how many more jobs each pool is to have an agent enrolled; less than none: it has too many.

    A pool that is left out has an agent enrolled in each slot. ``enrolling``: those that are being enrolled.
    """
    found = {
        pool: known.wanted - len(known.ended)
        for pool, known in dispatches.items()
        if not known.unsupported
    }
    if not found:
        return found  # on most hosts, at every step
    for agent in memory.agents.values():
        if agent.pool not in found or not _stands(agent, run_id, enrolling):
            continue
        if agent.registered is None or agent.registered not in dispatches[agent.pool].over:
            found[agent.pool] -= 1
    # What has not been counted yet is neither too much nor too little.
    return {pool: need if dispatches[pool].at is not None else 0 for pool, need in found.items()}


def in_surplus(
    dispatches: Dispatches, needs: Mapping[PoolName, int], memory: Memory, now: float
) -> frozenset[Generation]:
    """The agents for which there has been no job for too long: of each pool those that came first."""
    found: set[Generation] = set()
    for pool, need in needs.items():
        known = dispatches[pool]
        if need >= 0 or known.surplus_since is None or known.failure is not None:
            continue
        if now - known.surplus_since < SURPLUS:
            continue
        waiting = [
            agent
            for agent in memory.agents.values()
            if agent.pool == pool and agent.opened is not None and agent.doom is None
            if not agent.settled and not agent.busy and agent.registered not in known.over
        ]
        waiting.sort(key=lambda agent: agent.serial)
        found |= {agent.generation for agent in waiting[:-need]}
    return frozenset(found)


def _able(desired: Desired, memory: Memory, spec: SlotSpec, held: AbstractSet[SlotName]) -> bool:
    """Whether the slot can have a job, sooner or later; none that is held for a person."""
    known = memory.slot(spec.name)
    if known.cordon is not None or known.held is not None or spec.name in held:
        return False
    if memory.reservations and not memory.reserved.keys().isdisjoint(spec.lease):
        return False
    return spec.name not in desired.obstacles and spec.name not in desired.undetermined


def acquisitions(
    dispatches: Dispatches,
    needs: Mapping[PoolName, int],
    desired: Desired,
    memory: Memory,
    tenants: Mapping[SlotName, Tenancy],
    enrolling: AbstractSet[Generation],
    now: float,
) -> list[AcquireJobs]:
    """The offered jobs that are acquired now: no more than agents stand at their gates without one."""
    found = []
    held = slots_held(memory.agents.values()) if needs else frozenset()
    for pool, need in needs.items():
        known = dispatches[pool]
        if not known.offers or not known.in_session:
            continue
        free = -max(0, need)
        for spec in desired.slots:
            own = tenants.get(spec.name, VACANCY).own
            if spec.pool.name == pool and own is not None and _able(desired, memory, spec, held):
                at_gate = own.ready is not None and own.committed is None and own.doom is None
                at_gate = at_gate and own.generation not in enrolling
                cools = cooling(memory.slot(spec.name), now)
                free += at_gate and own.enrolled is None and not cools
        jobs = tuple(nsmallest(max(0, free), known.offers))
        if jobs:
            found.append(AcquireJobs(pool, jobs, f"{len(jobs)} agents stand ready for them"))
    return found


def asked(
    dispatches: Dispatches,
    desired: Desired,
    memory: Memory,
    needs: Mapping[PoolName, int],
    now: float,
) -> tuple[Dispatches, tuple[Listen | Leave, ...], float | None]:
    """After asking the services for which it is time; what is asked of them, and when to come again.

    Where no slot can have a job its service hands none out: it is left.
    """
    found, requests, dues = dict(dispatches), [], []
    for pool, known in dispatches.items():
        after, request, due = _asked(pool, known, desired, memory, needs.get(pool, 0), now)
        found[pool] = after
        requests += [request] if request is not None else []
        dues += [due] if due is not None else []
    return found, tuple(requests), min(dues, default=None)


def _asked(
    pool: PoolName, known: Dispatch, desired: Desired, memory: Memory, need: int, now: float
) -> tuple[Dispatch, Listen | Leave | None, float | None]:
    if known.unsupported:
        return known, None, None
    slots = [spec for spec in desired.slots if spec.pool.name == pool]
    held = slots_held(memory.agents.values())
    able = {spec.name for spec in slots if _able(desired, memory, spec, held)}
    if memory.pause is not None:
        able = set()
    since = known.surplus_since if known.surplus_since is not None else now
    known = replace(known, surplus_since=since if need < 0 else None)
    dues = [] if need >= 0 or now - since >= SURPLUS else [since + SURPLUS]
    if known.failing_since is not None and now - known.failing_since < GRACE:
        dues.append(known.failing_since + GRACE)
    if known.in_session and (len(able) < known.able or known.has_room_again):
        # What was taken out of service gets no job that is on its way in this moment; what was offered and
        # not acknowledged is offered again, and so is what had no room.
        left = replace(
            known,
            in_session=False,
            turn=known.turn + 1,
            offers={},
            acquired={},
            unacknowledged=(),
            overfull=False,
        )
        return left, Leave(pool, known.turn), min(dues, default=None)
    if known.asked is not None and now - known.asked < UNANSWERED:
        return known, None, min([*dues, known.asked + UNANSWERED])
    if not able:
        return known, None, min(dues, default=None)
    if known.asked is None and now < known.due:
        return known, None, min([*dues, known.due])
    elsewhere = sum(
        1
        for agent in memory.agents.values()
        if agent.pool == pool and agent.slot not in able and agent.busy
    )
    cools = sum(cooling(memory.slot(name), now) for name in able)
    room = max(1, len(able) - cools) + elsewhere
    labels = [spec.labels for spec in slots]
    shared = tuple(one for one in labels[0] if all(one in others for others in labels))
    request = Listen(pool, room, known.acknowledgeable, shared, known.turn)
    listening = replace(known, asked=now, room=room, able=len(able), in_session=True)
    return listening, request, min([*dues, now + UNANSWERED])


def counted(dispatches: Dispatches) -> dict[PoolName, JobCounts]:
    """What each service that hands jobs out has counted last."""
    return {pool: known.counts for pool, known in dispatches.items() if known.at is not None}


def conditions(dispatches: Dispatches, now: float) -> list[Condition]:
    """A condition for each pool that is told of no jobs, or of fewer than it is configured for."""
    found = []
    for pool, known in dispatches.items():
        failure, since = known.failure, known.failing_since
        if failure is not None and since is not None and (failure.lasting or now - since >= GRACE):
            text = f"pool {pool} is told of no jobs: {failure.text}"
            found.append(Condition("dispatch.down", Severity.ERROR, text, "mayfly doctor", pool))
        if known.unsupported:
            text = f"pool {pool} is handed no jobs, so each slot's agent is enrolled: {known.unsupported}"
            fix = "mayfly config show   # how the pool's agents are enrolled"
            found.append(Condition("dispatch.fallback", Severity.WARNING, text, fix, pool))
        elif known.warning:
            found.append(
                Condition("dispatch.labels", Severity.WARNING, known.warning, "mayfly doctor", pool)
            )
    return found
