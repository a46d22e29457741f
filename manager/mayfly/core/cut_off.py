"""Which agents are replaced because their client is still cut off from a service that answers again.

A client that waits for an answer may wait for minutes after its service is back, and gets no job meanwhile.
Its agent is replaced once, after a short grace, a few of a pool at a time: most clients come back by
themselves, and a service that has just come back is not to be stormed. An agent that may have a job is never
named here, nor one whose trouble has nothing to do with the outage: it might be the agents' own way there
that is cut off, and the next agent's would be, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from mayfly.core.contact import Contacts, Return
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import Generation, Phase, PoolName
from mayfly.core.signs import Reported
from mayfly.core.slots import tenancies

GRACE = 8.0  # seconds for a client to come back by itself once its service has
TOGETHER = 4  # agents of one pool that are replaced at the same time
REACH = 120.0  # seconds after which a client tells of no call any more that was made in the outage
MUTE = 60.0  # seconds without any answer after which clients hang that have said nothing of it
# seconds after a return in which its clients' calls of before have ended by themselves
OVER = 900.0


@dataclass(frozen=True, slots=True)
class CutOff:
    """Who is to be replaced now, and when to look again."""

    agents: frozenset[Generation] = frozenset()
    due: float | None = None  # None: nobody waits for its turn


NOBODY = CutOff()


def cut_off(memory: Memory, reported: Reported, contacts: Contacts, now: float) -> CutOff:
    """The agents whose client is cut off from a service that has been back for a while."""
    back = {
        name: contact.back
        for name, contact in contacts.pools.items()
        if contact.back is not None and not contact.down and now - contact.back.at < OVER
    }
    found: dict[PoolName, list[Agent]] = {}
    dues: list[float] = []
    for agent in memory.agents.values() if back else ():
        since = back.get(agent.pool)
        due = _due(agent, reported, since) if since is not None else None
        if due is None:
            continue
        if due > now:
            dues.append(due)
        else:
            found.setdefault(agent.pool, []).append(agent)
    agents: set[Generation] = set()
    for pool, those in found.items():
        room = max(0, TOGETHER - _on_their_way(memory, pool))
        those.sort(key=lambda agent: agent.serial)
        agents.update(agent.generation for agent in those[:room])
    return CutOff(frozenset(agents), min(dues, default=None)) if agents or dues else NOBODY


def _due(agent: Agent, reported: Reported, back: Return) -> float | None:
    """When the agent is to be replaced; ``None``: it is not."""
    if agent.settled or agent.doom is not None or agent.confirmed is not Phase.IDLE:
        return None
    if agent.opened is None or agent.opened > back.at:
        return None
    trouble = reported.troubles.get(agent.slot)
    if trouble is not None and trouble.generation == agent.generation:
        told = trouble.until is None and not trouble.again and trouble.since <= back.at + REACH
        return max(back.at, trouble.last) + GRACE if told else None
    mute = back.unanswered and back.at - back.since >= MUTE
    # What its client said before the outage was over proves nothing.
    unheard = reported.reached.get(agent.generation, 0.0) < back.at
    return back.at + GRACE if mute and unheard else None


def _on_their_way(memory: Memory, pool: PoolName) -> int:
    """In how many slots of the pool the agent is being ended, or has yet to come to its service."""
    ours = (agent for agent in memory.agents.values() if agent.pool == pool)
    owns = (tenancy.own for tenancy in tenancies(ours).values())
    return sum(
        1 for own in owns if own is not None and (own.doom is not None or own.confirmed is None)
    )
