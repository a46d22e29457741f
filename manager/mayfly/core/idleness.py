"""What a host has to do, and what keeps it up without that: why it is not paused now.

Pure. What is not known is no idleness: it keeps the host up, and is told. A job that ran and ended between
two looks is seen by its facts (``is_activity``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mayfly.core.actions import AcquireJobs, Enrol, Open, Prepare
from mayfly.core.contact import Contact
from mayfly.core.dispatch import Dispatch
from mayfly.core.ending import registered_at_service
from mayfly.core.facts import (
    AgentConfirmed,
    AgentExited,
    Fact,
    GateOpening,
    JobEnded,
    JobSubmitted,
)
from mayfly.core.held_jobs import OPERATORS
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Phase, PoolName, SlotSpec
from mayfly.core.quantities import spoken_age
from mayfly.core.slots import VACANCY, tenancies
from mayfly.core.state import State
from mayfly.core.waiting import KEPT, pause

CLOSER = "[host.idle]"  # who has cordoned a slot to pause the host: no user is called so
BY_HAND = "used by hand: mayfly shell, or doctor --canary"  # the note of a slot's cordon meanwhile

SOON = 3600.0  # seconds before a reservation from which on the host stays for it


class Kind(StrEnum):
    """Why a host is not paused."""

    WORK = "work"  # there is something to do: idleness begins anew when it is done
    UNKNOWN = "unknown"  # an answer cannot be had
    UNSETTLED = "unsettled"  # an agent is on its way to where it waits for a job
    KEPT = "kept"  # somebody wants the host


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, as a sentence."""

    kind: Kind
    text: str


def reasons(state: State, now: float) -> tuple[Reason, ...]:
    """All that keeps the host up, as far as the manager itself knows; ``now``: of the wall clock."""
    if state.observed.world.containers is None:
        error = state.observed.world.engine_error or "it has not been looked at yet"
        return (Reason(Kind.UNKNOWN, f"what runs on the Engine is not known: {error}"),)
    return (
        *work(state.memory),
        *_waiting(state, now),
        *_services(state),
        *_unsettled(state),
        *kept(state.memory, now),
        *_others_on_gpus(state),
    )


def work(memory: Memory) -> Iterator[Reason]:
    """What the memory alone says there is to do."""
    reserved = memory.reservations  # their jobs wait for a moment: see `kept`
    queued = [job for job in memory.jobs.values() if job.agent is None and job.id not in reserved]
    if queued:
        jobs = f"job {queued[0].id} is" if len(queued) == 1 else f"{len(queued)} jobs are"
        yield Reason(Kind.WORK, f"{jobs} queued in pool {queued[0].pool}")
    for agent in memory.agents.values():
        if agent.settled:
            continue
        if agent.job is not None:
            yield Reason(Kind.WORK, f"slot {agent.slot} runs job {agent.job}")
        elif agent.busy or (agent.at_work and (agent.embedded or agent.dispatched)):
            yield Reason(Kind.WORK, f"slot {agent.slot} runs a job")
    for heal in memory.heals.values():
        if heal.resets:
            yield Reason(Kind.WORK, f"GPU {heal.gpu} is being reset")


def kept(memory: Memory, now: float) -> Iterator[Reason]:
    """Who wants the host though it has nothing to do: the one place for what people hold of it."""
    if memory.pause is not None:
        text = f"the manager is paused by {memory.pause.by}, and touches nothing"
        yield Reason(Kind.KEPT, text)
    for one in memory.reservations.values():
        if one.began is not None:
            yield Reason(
                Kind.KEPT, f"{one.owner} has reserved {_gpus(one.gpus)} of pool {one.pool}"
            )
        elif one.start - now < SOON:
            soon = spoken_age(max(0.0, one.start - now))
            text = f"{one.owner} has reserved {_gpus(one.gpus)} of pool {one.pool} in {soon}"
            yield Reason(Kind.KEPT, text)
    for agent in memory.agents.values():
        for visit in agent.attached:
            yield Reason(Kind.KEPT, f"{visit.by} is attached in slot {agent.slot}")
        if agent.hold is not None:
            whom, left = agent.hold.user or OPERATORS, spoken_age(agent.hold.until - now)
            yield Reason(Kind.KEPT, f"slot {agent.slot} is held for {whom} for {left}")
    for name, known in memory.slots.items():
        if known.cordon is not None and known.cordon.note == BY_HAND:
            yield Reason(Kind.KEPT, f"{known.cordon.by} uses slot {name} by hand")


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def wanted_at(memory: Memory) -> float | None:
    """When somebody has reserved what is here next; ``None``: nobody has."""
    starts = (one.start for one in memory.reservations.values() if one.began is None)
    return min(starts, default=None)


def _others_on_gpus(state: State) -> Iterator[Reason]:
    """Who computes beside Mayfly: what is paused under them is theirs."""
    reading = state.gpus.reading
    if reading is None or not state.gpus.watching:
        return
    if reading.problem is not None:
        text = f"whether anybody computes on the GPUs is not known: {reading.problem}"
        yield Reason(Kind.UNKNOWN, text)
    _, ours = state.gpus.whose(state.memory)
    told = set()
    for uuid, vitals in reading.vitals.items():
        for process in vitals.processes:
            if not (process.gone or process.pid in told or ours.has(process)):
                told.add(process.pid)
                yield Reason(Kind.KEPT, f"{process.named}, which is no agent's, computes on {uuid}")


def _waiting(state: State, now: float) -> Iterator[Reason]:
    """Jobs that wait at services, as far as these say."""
    for pool in state.config.pools:
        dispatch = state.dispatches.get(pool.name)
        if dispatch is not None and not dispatch.unsupported:
            yield from _handed_out(pool.name, dispatch)
        queue = state.queues.pools.get(pool.name)
        if queue is None or queue.seen is None or now - queue.seen > KEPT * pause(pool):
            continue
        fitting = [job for job in queue.jobs if job.fits and queue.ended.get(job.id) != ""]
        if fitting:
            text = f"job {fitting[0].name} waits at the service for pool {pool.name}"
            yield Reason(Kind.WORK, text)


def _handed_out(pool: PoolName, known: Dispatch) -> Iterator[Reason]:
    if known.failure is not None:
        text = f"the service of pool {pool} does not say what jobs it has: {known.failure.text}"
        yield Reason(Kind.UNKNOWN, text)
    elif known.counts.waiting or known.counts.assigned or known.acquired:
        count = known.counts.waiting or known.counts.assigned or len(known.acquired)
        jobs = "a job waits" if count == 1 else f"{count} jobs wait"
        yield Reason(Kind.WORK, f"{jobs} at the service of pool {pool}")
    elif known.at is None and known.able:
        text = f"the service of pool {pool} has not said yet what jobs it has"
        yield Reason(Kind.UNKNOWN, text)


def _services(state: State) -> Iterator[Reason]:
    """Services of which it is not known whether they have given our agents a job."""
    for pool, contact in state.contacts.pools.items():
        dispatch = state.dispatches.get(pool)
        if dispatch is not None and not dispatch.unsupported:
            continue  # it says that itself
        if contact.down:
            text = f"the service of pool {pool} does not say whether its agents have a job"
            yield Reason(Kind.UNKNOWN, text)
        elif not _has_listed(contact):
            text = f"the service of pool {pool} has not said yet whether its agents have a job"
            yield Reason(Kind.UNKNOWN, text)


def _has_listed(contact: Contact) -> bool:
    return contact.interval > 0


def _unsettled(state: State) -> Iterator[Reason]:
    """Slots whose agent is on its way to its service, and may have been given a job there."""
    tenants = tenancies(state.memory.agents.values())
    for spec in state.desired.slots:
        if spec.embedded or _hands_out(state, spec) or _cannot_have_a_job(state, spec):
            continue
        own = tenants.get(spec.name, VACANCY).own
        if own is not None and (own.dispatched or own.busy):
            continue
        if own is None or own.confirmed is not Phase.IDLE:
            text = f"slot {spec.name} is not idle at its service yet"
            yield Reason(Kind.UNSETTLED, text)


def _hands_out(state: State, spec: SlotSpec) -> bool:
    dispatch = state.dispatches.get(spec.pool.name)
    return dispatch is not None and not dispatch.unsupported


def _cannot_have_a_job(state: State, spec: SlotSpec) -> bool:
    known = state.memory.slot(spec.name)
    if known.cordon is not None or known.held is not None:
        return True
    return spec.name in state.desired.obstacles


# -- whether the gates are closed ------------------------------------------------------------------


def still_open(state: State) -> str:
    """Why a job may yet begin on this host, a sentence; ``""``: none can.

    No agent of ours is left that a service could give one, and what it knew of them it has let go of.
    """
    memory = state.memory
    if state.observed.world.containers is None:
        return "what runs on the Engine is not known"
    for spec in state.desired.slots:
        if memory.slot(spec.name).cordon is None:
            return f"slot {spec.name} takes jobs"
    for agent in memory.agents.values():
        if why := _may_work(agent, memory) or _owes(agent):
            return f"slot {agent.slot}: {why}"
    for action in state.in_flight.values():
        if isinstance(action, Enrol | Open | Prepare | AcquireJobs):
            return f"{type(action).__name__.lower()} is under way for {action.subject}"
    for pool, known in state.dispatches.items():
        if known.in_session or (known.asked is not None and not known.unsupported):
            return f"the service of pool {pool} may hand a job out yet"
    return ""


def _may_work(agent: Agent, memory: Memory) -> str:
    """Why the agent may have a job, or get one; ``""``: it cannot."""
    if agent.settled:
        return "its service has not let go of its agent yet" if registered_at_service(agent) else ""
    cordon = memory.slot(agent.slot).cordon
    if cordon is not None and cordon.by != CLOSER:  # a person's: what they left in it stays
        idle = agent.committed is None or (agent.cordoned_there and not agent.busy)
        return "" if idle else "its agent may have a job"
    return "its agent has not ended yet"


def _owes(agent: Agent) -> str:
    """What of it is to be kept or removed while the host is there; ``""``: nothing."""
    if agent.owes:
        return "what its last job's containers left is not removed yet"
    return "its last job's results are not kept yet" if _has_results_to_keep(agent) else ""


def _has_results_to_keep(agent: Agent) -> bool:
    return bool(agent.out) and agent.opened is not None and agent.results is None


def is_activity(fact: Fact) -> bool:
    """Whether the fact is of a job: idleness begins anew with it."""
    match fact:
        case JobSubmitted() | JobEnded():
            return True
        case GateOpening(job=job):
            return job is not None
        case AgentConfirmed(phase=phase):
            return phase is Phase.BUSY
        case AgentExited():
            return fact.job_succeeded is not None
        case _:
            return False


def blocking(found: Iterable[Reason], *kinds: Kind) -> tuple[Reason, ...]:
    """Those of these kinds."""
    return tuple(reason for reason in found if reason.kind in kinds)
