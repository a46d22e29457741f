"""What people order: each verb becomes facts, or a sentence that says why it cannot.

Pure: the loop records the facts and only then answers. Slots and jobs are looked up here, so that every verb
says the same of a name that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mayfly.core.facts import (
    AgentDoomed,
    Fact,
    JobCancelling,
    JobEnded,
    JobSubmitted,
    ManagerPaused,
    ManagerResumed,
    SlotCordoned,
    SlotReleased,
    SlotUncordoned,
)
from mayfly.core.memory import Agent, Cordon, Job, Memory, Pause
from mayfly.core.model import (
    Cause,
    Config,
    Desired,
    DoomReason,
    JobId,
    JobState,
    PoolSpec,
    SlotName,
)
from mayfly.core.slots import VACANCY, tenancies


@dataclass(frozen=True, slots=True)
class Order:
    """What a command comes to: the answer, and the facts that must be on disk before it is given."""

    status: int
    body: Mapping[str, object]
    facts: tuple[Fact, ...] = ()


def refusal(status: int, kind: str, sentence: str) -> Order:
    """An order that is not carried out."""
    return Order(status, {"error": sentence, "kind": kind})


def submit(
    config: Config, memory: Memory, job: JobId, pool: str | None, timeout: float | None, now: float
) -> Order:
    """Put a job into the queue of a ``local`` pool."""
    chosen = _queue_pool(config, pool)
    if isinstance(chosen, Order):
        return chosen
    entry = Job(id=job, pool=chosen.name, serial=memory.serial + 1, submitted=now, timeout=timeout)
    return Order(201, {"job": job}, (JobSubmitted(now, entry),))


def _queue_pool(config: Config, wanted: str | None) -> PoolSpec | Order:
    queues = [pool for pool in config.pools if pool.provider == "local"]
    names = ", ".join(pool.name for pool in queues)
    if not queues:
        return refusal(409, "no_queue", 'no pool with provider "local" is configured: add one')
    if wanted is None:
        if len(queues) == 1:
            return queues[0]
        return refusal(
            400, "which_pool", f"there are several queues, name one with --pool: {names}"
        )
    for pool in queues:
        if pool.name == wanted:
            return pool
    return refusal(404, "no_such_pool", f'there is no queue "{wanted}"; there are: {names}')


def cancel(memory: Memory, job: JobId, known: bool, by: str, now: float) -> Order:
    """End a job: at once where it is queued, by its agent's stop ladder where it runs."""
    entry = memory.jobs.get(job)
    if entry is None:
        if known:
            return refusal(409, "ended", f"job {job} has ended already")
        return refusal(404, "no_such_job", f"there is no job {job}: see `mayfly jobs`")
    facts: list[Fact] = [JobCancelling(now, job, by)]
    agent = memory.agents.get(entry.agent) if entry.agent is not None else None
    if agent is None:
        facts.append(JobEnded(now, job, JobState.CANCELLED, Cause.CANCELLED, None))
    elif agent.doom is None and not agent.settled:
        facts.append(AgentDoomed(now, agent.generation, DoomReason.CANCELLED, by=by))
    return Order(200, {"job": job}, tuple(facts))


def cordon(
    desired: Desired,
    memory: Memory,
    slots: Iterable[str],
    by: str,
    now: float,
    *,
    note: str = "",
    until: float | None = None,
) -> Order:
    """Let the slots take no new job; one that is drained stays drained."""
    names = _slots(desired, memory, slots)
    if isinstance(names, Order):
        return names
    facts = []
    for name in names:
        before = memory.slot(name).cordon
        drained = before is not None and before.drain
        facts.append(SlotCordoned(now, name, Cordon(now, by, note, until, drain=drained)))
    return Order(200, {"slots": list(names)}, tuple(facts))


def uncordon(desired: Desired, memory: Memory, slots: Iterable[str], by: str, now: float) -> Order:
    """Let the slots be filled again."""
    names = _slots(desired, memory, slots)
    if isinstance(names, Order):
        return names
    facts = tuple(
        SlotUncordoned(now, name, by) for name in names if memory.slot(name).cordon is not None
    )
    return Order(200, {"slots": list(names)}, facts)


def drain(
    desired: Desired,
    memory: Memory,
    slots: Iterable[str] | None,
    by: str,
    now: float,
    *,
    force: bool,
    note: str = "",
) -> Order:
    """Empty the slots (``None``: all): what runs a job ends it, unless ``force`` stops that too."""
    names = _slots(desired, memory, slots)
    if isinstance(names, Order):
        return names
    facts: list[Fact] = [
        SlotCordoned(now, name, Cordon(now, by, note, drain=True)) for name in names
    ]
    if force:
        tenants = tenancies(memory.agents.values())
        facts.extend(
            AgentDoomed(now, agent.generation, DoomReason.FORCED, by=by)
            for name in names
            for agent in tenants.get(name, VACANCY).agents
            if not agent.settled and agent.doom is None
        )
    return Order(200, {"slots": list(names)}, tuple(facts))


def recycle(desired: Desired, memory: Memory, slots: Iterable[str], by: str, now: float) -> Order:
    """Replace the slots' agents that have no job; those that have one are replaced afterwards anyway."""
    names = _slots(desired, memory, slots)
    if isinstance(names, Order):
        return names
    tenants = tenancies(memory.agents.values())
    facts = tuple(
        AgentDoomed(now, agent.generation, DoomReason.RECYCLED, by=by)
        for name in names
        for agent in tenants.get(name, VACANCY).agents
        if not agent.settled and agent.doom is None and _has_no_job(agent)
    )
    return Order(200, {"slots": list(names), "replaced": len(facts)}, facts)


def _has_no_job(agent: Agent) -> bool:
    """Whether it waits for a job, at its gate or at its service."""
    if agent.committed is None:
        return True
    return not agent.embedded and agent.opened is not None and not agent.busy


def retry(desired: Desired, memory: Memory, slots: Iterable[str], by: str, now: float) -> Order:
    """Forget what held or cooled the slots, and try again."""
    names = _slots(desired, memory, slots)
    if isinstance(names, Order):
        return names
    return Order(200, {"slots": list(names)}, tuple(SlotReleased(now, name, by) for name in names))


def pause(by: str, note: str, now: float) -> Order:
    """Observe only."""
    return Order(200, {"paused": True}, (ManagerPaused(now, Pause(now, by, note)),))


def resume(memory: Memory, by: str, now: float) -> Order:
    """Act again."""
    facts = (ManagerResumed(now, by),) if memory.pause is not None else ()
    return Order(200, {"paused": False}, facts)


def _slots(
    desired: Desired, memory: Memory, wanted: Iterable[str] | None
) -> tuple[SlotName, ...] | Order:
    """The slots of those names, each once; a refusal that names the first that is not there."""
    known = [spec.name for spec in desired.slots]
    known += sorted({agent.slot for agent in memory.agents.values()} - set(known))
    if wanted is None:
        return tuple(known)
    names: list[SlotName] = []
    for name in wanted:
        if name not in known:
            there = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
            return refusal(404, "no_such_slot", f"there is no slot {name}; there are: {there}")
        if name not in names:
            names.append(SlotName(name))
    return tuple(names)
