"""What the commands come to by which people hold jobs' containers, go into them and give them up.

Pure. Who owns a job may do so, and operators. A service's job has no owner here: it is the operators'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import AttachAgent, ExtendHold, HoldJob, ReleaseHold
from mayfly.core.facts import Fact, HoldAsked, HoldEnded, HoldExtended
from mayfly.core.held_jobs import too_long, unholdable, usual, with_others
from mayfly.core.memory import Agent, Job, JobHold, Memory
from mayfly.core.model import Desired, JobId, PoolSpec, SlotName
from mayfly.core.quantities import rfc3339, written_duration
from mayfly.core.reservations import SHORTEST
from mayfly.core.slots import VACANCY, tenancies
from mayfly.core.submitting import Members
from mayfly.core.who_waits import who_waits

OfHolds = AttachAgent | HoldJob | ExtendHold | ReleaseHold


@dataclass(frozen=True, slots=True)
class Found:
    """Whom a command is about: a job of the queue, an agent with a job or a held one, or both."""

    agent: Agent | None  # None: the job is queued
    job: Job | None  # None: it is a service's, or has ended
    name: str  # as it was named


def found(
    command: OfHolds,
    desired: Desired,
    memory: Memory,
    named: Mapping[str, Members],
) -> Found | Refusal:
    """Whom the command is about, where the caller may do that."""
    one = (
        _of_slot(SlotName(str(command.to)), desired, memory)
        if command.is_slot
        else _of_job(JobId(str(command.to)), memory, named)
    )
    if isinstance(one, Refusal) or _may(command, one):
        return one
    if command.is_slot:
        return Refusal(
            403, "forbidden", f"the job in slot {command.to} is not one of {command.by.name}'s"
        )
    return Refusal(403, "forbidden", f"job {command.to} is not one of {command.by.name}'s")


def _may(command: OfHolds, one: Found) -> bool:
    """Whether it is the caller's own."""
    if one.job is not None:
        return command.by.may_act_on(one.job.uid)
    hold = one.agent.hold if one.agent is not None else None
    return command.by.may_act_on(hold.uid if hold is not None else None)


def _of_job(job_id: JobId, memory: Memory, named: Mapping[str, Members]) -> Found | Refusal:
    job = memory.jobs.get(job_id)
    if job is not None:
        return Found(memory.agents.get(job.agent) if job.agent is not None else None, job, job_id)
    held = [one for one in memory.agents.values() if one.job == job_id and one.is_held]
    if held:
        return Found(held[0], None, job_id)
    known = named.get(job_id)
    if not known:
        return Refusal(404, "no_such_job", f"there is no job {job_id}: see `mayfly jobs`")
    if job_id not in known:
        return Refusal(409, "refused", f"{job_id} is a group: name one of its jobs")
    return Refusal(409, "ended", f"job {job_id} has ended already")


def _of_slot(slot: SlotName, desired: Desired, memory: Memory) -> Found | Refusal:
    tenancy = tenancies(memory.agents.values()).get(slot, VACANCY)
    there = [agent for agent in tenancy.agents if agent.busy or agent.is_held]
    if there:
        agent = next((one for one in there if one.busy), there[0])
        return Found(agent, memory.jobs.get(agent.job) if agent.job is not None else None, slot)
    names = dict.fromkeys(spec.name for spec in desired.slots)
    if slot not in names and not tenancy.agents:
        shown = ", ".join([*names][:8]) + (", …" if len(names) > 8 else "")
        return Refusal(404, "no_such_slot", f"there is no slot {slot}; there are: {shown}")
    sentence = f"slot {slot} has no job now; `mayfly shell {slot}` opens what a job would see"
    return Refusal(409, "refused", sentence)


# -- hold, extend, release -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Effect:
    """What is to be recorded, and the answer."""

    body: Mapping[str, object]
    facts: tuple[Fact, ...] = ()


def held(
    command: HoldJob, one: Found, desired: Desired, memory: Memory, now: float
) -> Effect | Refusal:
    """A job's container is to be held; whoever asks again for one that is held gets the same answer."""
    agent = one.agent
    if agent is not None and agent.hold is not None:
        return Effect(_body(one, agent.hold))
    if one.job is not None and one.job.id in memory.reservations:
        sentence = (
            f"{one.job.id} is a reservation, which ends with its time and is not held: for more of it, "
            f"`mayfly reserve --extend {one.job.id} --for 1h`"
        )
        return Refusal(409, "refused", sentence)
    pool = _pool(desired, one)
    why = _why_not(desired, one)
    if pool is None or why is not None:
        return Refusal(
            409, "refused", f"the job {one.name} cannot be held: {why or 'its pool is gone'}"
        )
    seconds = min(command.seconds or usual(pool), pool.hold_most)
    if command.seconds is not None and command.seconds > pool.hold_most:
        return Refusal(409, "refused", too_long(command.seconds, pool))
    by = command.by.name
    if one.job is not None:
        fact = HoldAsked(now, seconds, by, job=one.job.id)
        same = one.job.hold is not None and one.job.hold.seconds == seconds
    else:
        assert agent is not None
        fact = HoldAsked(now, seconds, by, generation=agent.generation)
        same = agent.hold_wish is not None and agent.hold_wish.seconds == seconds
    body = _names(one) | {"user": _owner(one, by), "until": None, "seconds": seconds}
    return Effect(body, () if same else (fact,))


def extended(
    command: ExtendHold, one: Found, desired: Desired, memory: Memory, now: float
) -> Effect | Refusal:
    """A held container stays for longer, up to what its pool allows, and less while others wait there."""
    agent = one.agent
    hold = agent.hold if agent is not None else None
    if agent is None or hold is None or hold.over is not None:
        return Refusal(
            409, "refused", f"{one.name} is not held yet: `mayfly hold {one.name}` asks for it"
        )
    if command.seconds < SHORTEST:
        return Refusal(400, "bad_request", "a job is held for a minute longer at least")
    until = min(hold.until + command.seconds, hold.latest)
    if until > hold.until:
        uid = hold.uid if hold.uid is not None else command.by.uid
        others = who_waits(agent.pool, agent.lease, memory, desired.slots, now, but=uid)
        total = with_others(_pool(desired, one))
        if others is not None and until > hold.since + total:
            most = written_duration(round(total))
            sentence = f"{one.name} is held for {most} at most while others wait for its slot, and {others}"
            return Refusal(409, "refused", sentence)
    if until <= hold.until:
        most = written_duration(round(hold.latest - hold.since))
        return Refusal(
            409, "refused", f"{one.name} is not held for more than {most} in all (hold_most)"
        )
    fact = HoldExtended(now, agent.generation, until, command.by.name)
    body = _names(one) | {"user": hold.user, "until": rfc3339(until), "seconds": until - now}
    return Effect(body, (fact,))


def released(command: ReleaseHold, one: Found, now: float) -> Effect | Refusal:
    """A held container goes; of a job that has not ended the wish is taken back."""
    agent, by = one.agent, command.by.name
    facts: tuple[Fact, ...] = ()
    if agent is not None and agent.is_held:
        facts = (HoldEnded(now, agent.generation, f"{by} gave it up", by, agent.job),)
    elif one.job is not None and one.job.hold is not None:
        facts = (HoldAsked(now, 0.0, by, job=one.job.id),)
    elif agent is not None and agent.hold_wish is not None:
        facts = (HoldAsked(now, 0.0, by, generation=agent.generation),)
    elif agent is None or agent.hold is None:
        return Refusal(409, "refused", f"{one.name} is not held, and nobody has asked for it")
    return Effect(_names(one), facts)


def _pool(desired: Desired, one: Found) -> PoolSpec | None:
    name = (
        one.job.pool if one.job is not None else one.agent.pool if one.agent is not None else None
    )
    return next((spec.pool for spec in desired.slots if spec.pool.name == name), None)


def _why_not(desired: Desired, one: Found) -> str | None:
    pool = _pool(desired, one)
    specs = [spec for spec in desired.slots if pool is not None and spec.pool.name == pool.name]
    own = [spec for spec in specs if one.agent is not None and spec.name == one.agent.slot]
    return next((why for spec in own or specs if (why := unholdable(spec)) is not None), None)


def _names(one: Found) -> dict[str, object]:
    agent = one.agent
    job = one.job.id if one.job is not None else agent.job if agent is not None else None
    return {"job": job, "slot": agent.slot if agent is not None else None}


def _owner(one: Found, by: str) -> str:
    return one.job.owner or by if one.job is not None else by


def _body(one: Found, hold: JobHold) -> dict[str, object]:
    left = max(0.0, hold.until - hold.since)
    return _names(one) | {"user": hold.user, "until": rfc3339(hold.until), "seconds": left}
