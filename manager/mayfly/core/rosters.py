"""What services and clients say of agents that wait for a job or run one, as facts.

A roster may be a minute old, and a service may be away: an agent once busy stays busy until it ends, or until
a roster well after its job (``FREED``) shows it idle. An agent that no roster shows is missed after a while
(``ABSENCE``), never at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from mayfly.core.facts import AgentConfirmed, Fact
from mayfly.core.memory import ENDS_JOBS, Agent, Memory
from mayfly.core.model import (
    DoomReason,
    Generation,
    Phase,
    PoolName,
    Roster,
    RosterEntry,
    SlotName,
    Witness,
    World,
)
from mayfly.core.outcomes import End, Outcome, Result
from mayfly.core.slots import within

ABSENCE = 150.0  # seconds without being online in any roster: lists may be 60 s old
ORPHANED = 150.0  # seconds that an entry of ours may be there without an agent
GONE = 20.0  # seconds for a client to end by itself once its entry has gone with its job
FREED = 90.0  # seconds after which a roster that shows a busy agent without its job is newer than the job

OTHERS = 500  # entries of no agent of ours that are looked at; the others are once those are gone

# seconds that a service may list an agent as busy whose client reports no job
BUSY_WITHOUT_JOB = 300.0


def confirmations(memory: Memory, world: World, now: float) -> Iterator[Fact]:
    """What the rosters confirm of agents whose gate is open."""
    for agent in memory.agents.values():
        roster = world.rosters.get(agent.pool)
        if roster is None or agent.embedded or agent.opened is None or agent.settled:
            continue
        entry = entry_of(agent, roster)
        if entry is None or not (entry.online or entry.busy):
            continue
        if agent.confirmed is Phase.BUSY and roster.at < (agent.confirmed_at or now) + FREED:
            continue
        # An agent whose job was taken away before it had begun it waits for another.
        phase = Phase.BUSY if entry.busy else Phase.IDLE
        if agent.confirmed is not phase and roster.at >= agent.opened:
            learnt = entry.id if agent.registration is None else None
            yield AgentConfirmed(now, agent.generation, phase, learnt)


def bounded(memory: Memory, pool: PoolName, roster: Roster) -> Roster:
    """With all entries of our agents, and no more than ``OTHERS`` beside: each agent is looked for in it, at
    each step.
    """
    if len(roster.entries) <= OTHERS:
        return roster
    agents = [agent for agent in memory.agents.values() if agent.pool == pool]
    generations = {agent.generation for agent in agents}
    ids, names = {one.registration for one in agents}, {one.registered for one in agents}
    entries, others = [], 0
    for entry in roster.entries:
        known = entry.generation in generations or entry.id in ids or entry.name in names
        others += not known
        if known or others <= OTHERS:
            entries.append(entry)
    return replace(roster, entries=tuple(entries))


def entry_of(agent: Agent, roster: Roster) -> RosterEntry | None:
    """The agent's own entry; ``None`` where the roster does not show it."""
    ours = [entry for entry in roster.entries if not entry.foreign]
    for entry in ours:
        if agent.registration is not None and entry.id == agent.registration:
            return entry
    for entry in ours:
        if agent.registered is not None and entry.name == agent.registered:
            return entry
    return None


def absent(memory: Memory, pool: PoolName, roster: Roster) -> frozenset[Generation]:
    """The pool's agents with an open gate that the roster does not show online."""
    return frozenset(
        agent.generation
        for agent in memory.agents.values()
        if agent.pool == pool
        and agent.opened is not None
        and agent.opened <= roster.at
        and not agent.settled
        and not _online(agent, roster)
    )


def online(memory: Memory, pool: PoolName, roster: Roster) -> frozenset[Generation]:
    """The pool's agents that the roster shows online."""
    found = (
        (agent, entry_of(agent, roster)) for agent in memory.agents.values() if agent.pool == pool
    )
    return frozenset(agent.generation for agent, entry in found if entry and entry.online)


def _online(agent: Agent, roster: Roster) -> bool:
    entry = entry_of(agent, roster)
    return entry is not None and entry.online is not False


def job_taken_back(agent: Agent, world: World) -> bool:
    """Whether the entry of a busy agent has been gone from its service's rosters for ``GONE``.

    Only where entries go with their jobs. Told by rosters alone: time without one proves nothing.
    """
    roster, since = world.rosters.get(agent.pool), world.absent.get(agent.generation)
    if roster is None or since is None or agent.registration is None or not agent.busy:
        return False
    return entry_of(agent, roster) is None and roster.at - since >= GONE


def busy_without_job(
    memory: Memory,
    world: World,
    now: float,
    judge: Callable[[PoolName, End, tuple[str, ...]], Outcome],
) -> dict[Generation, float]:
    """Since when each agent was busy to its service for ``BUSY_WITHOUT_JOB`` without reporting a job.

    A witness that cannot be read proves neither.
    """
    found: dict[Generation, float] = {}
    for agent in memory.agents.values():
        roster, since = world.rosters.get(agent.pool), agent.confirmed_at
        witness = world.witnesses.get(agent.generation)
        if roster is None or since is None or witness is None or agent.embedded or not agent.busy:
            continue
        if agent.generation in world.unreadable or within(now, since, BUSY_WITHOUT_JOB):
            continue
        entry = entry_of(agent, roster)
        jobless = not told_of_job(agent, witness, judge)
        if entry is not None and entry.busy and jobless and agent.doom is None:
            found[agent.generation] = since
    return found


def told_of_job(
    agent: Agent, witness: Witness, judge: Callable[[PoolName, End, tuple[str, ...]], Outcome]
) -> bool:
    """Whether the client of a service's agent has told of a job, whatever its service says."""
    # Nobody ends it; the provider is asked what it would say if somebody did.
    end = End(committed=True, opened=True, exit=None, doom=DoomReason.UNWANTED)
    return judge(agent.pool, end, witness.signs).result is not Result.NO_JOB


def spared(
    memory: Memory,
    world: World,
    now: float,
    judge: Callable[[PoolName, End, tuple[str, ...]], Outcome],
) -> Iterator[Fact]:
    """The agents that are to be ended for having no job, and whose client has told of one all the same.

    Where their service does not answer nobody else would tell.
    """
    for agent in memory.agents.values():
        if agent.doom is None or agent.doom.reason in ENDS_JOBS or agent.embedded:
            continue
        witness = world.witnesses.get(agent.generation)
        if witness is None or agent.settled or agent.busy:
            continue
        # A line may be older than a job that its service took away again.
        answers = world.rosters.get(agent.pool) is not None
        if agent.opened is not None and not answers and told_of_job(agent, witness, judge):
            yield AgentConfirmed(now, agent.generation, Phase.BUSY)


def orphans(
    memory: Memory, roster: Roster, pool: PoolName, kept: frozenset[SlotName]
) -> frozenset[str]:
    """The ids of entries that are ours and belong to no agent, nor to a slot in ``kept``."""
    agents = [agent for agent in memory.agents.values() if agent.pool == pool]
    ids = {agent.registration for agent in agents}
    names = {agent.registered for agent in agents}
    # Who stands at its gate unenrolled has no entry of its own yet: what bears its name was lost on its way.
    generations = {
        agent.generation
        for agent in agents
        if agent.committed is not None or agent.enrolled is not None or agent.settled
    }
    return frozenset(
        entry.id
        for entry in roster.entries
        if not entry.foreign
        and entry.id not in ids
        and entry.name not in names
        and entry.generation not in generations
        and entry.slot not in kept
    )


def namesakes(rosters: Mapping[PoolName, Roster | None]) -> dict[SlotName, str]:
    """Slots whose name somebody else's agent bears at the service, and the sentence that holds them."""
    found: dict[SlotName, str] = {}
    for roster in rosters.values():
        for entry in roster.entries if roster is not None else ():
            if entry.foreign and entry.online and entry.slot is not None:
                found[entry.slot] = (
                    f"an agent named {entry.name} that is not ours is online at the service: rename this "
                    "host (host.name) or the pool, or stop that agent"
                )
    return found
