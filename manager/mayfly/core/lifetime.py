"""How long an agent was in each of its phases, from what is remembered of it at its end.

The same for every provider: what ``opened`` means differs (the embedded queue's agent is at work then, a
service's is on duty), so nobody else may read a phase's length from the agent's times.
"""

from __future__ import annotations

from itertools import pairwise

from mayfly.core.memory import Agent
from mayfly.core.model import Phase


def seconds_in_phases(agent: Agent, exited: float) -> dict[Phase, float]:
    """Seconds in each phase that the agent came to, in the order of its life; it ended at ``exited``."""
    starts = [(phase, at) for phase, at in _starts(agent) if at is not None]
    ends = [*starts, (Phase.ENDING, exited)]
    return {phase: round(max(0.0, end - at), 3) for (phase, at), (_, end) in pairwise(ends)}


def busy_since(agent: Agent) -> float | None:
    """When its job began, as far as is known; ``None``: it has had none."""
    confirmed = agent.confirmed is Phase.BUSY
    return began_at(agent.embedded, agent.opened, confirmed, agent.confirmed_at)


def began_at(
    embedded: bool, opened: float | None, busy: bool, confirmed_at: float | None
) -> float | None:
    """The same, of what stands in its record; ``busy``: its service says so, since ``confirmed_at``."""
    if embedded:
        return opened
    return confirmed_at if busy else None


def _starts(agent: Agent) -> tuple[tuple[Phase, float | None], ...]:
    """When each phase began; ``None``: it was not reached, as far as is known."""
    if agent.embedded:
        return (
            (Phase.PREPARING, agent.born),
            (Phase.IDLE, agent.ready),
            (Phase.ENROLLING, agent.committed),
            (Phase.BUSY, busy_since(agent)),
        )
    idle = agent.idle_at
    if idle is None and agent.confirmed is Phase.IDLE:
        idle = agent.confirmed_at
    return (
        (Phase.PREPARING, agent.born),
        (Phase.ARMED, agent.ready),
        (Phase.ENROLLING, agent.committed),
        (Phase.IDLE, idle),
        (Phase.BUSY, busy_since(agent)),
    )
