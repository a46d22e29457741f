"""Who has worked for a while yields: where processors are short, those that begin go first.

A job that starts and ends within seconds notices any wait, one of minutes does not. So an agent counts for as
much as any container until its job has worked for ``FRESH``, and for an eighth of that from then on. It loses
nothing where there are processors enough, and among its like nothing either.

The engine is asked once in a run of the manager. Agents with GPUs are left alone: an engine that changes a
container under the NVIDIA runtime may take its devices from it.
"""

from __future__ import annotations

from mayfly.core import naming
from mayfly.core.actions import Weigh
from mayfly.core.memory import Agent
from mayfly.core.model import Phase, SlotSpec
from mayfly.core.plan import STAY, Act, Stay, Verdict, View
from mayfly.core.slots import phase_since

FRESH = 10.0  # seconds of work
PART = 1 / 8  # of what it counted for at first


def yields(view: View, spec: SlotSpec, agent: Agent) -> Verdict:
    """Whether the agent is to count for less from now on, or when."""
    known = agent.generation in view.lightened
    if known or not spec.engine.weighs or not agent.busy or agent.doom is not None or agent.lease:
        return STAY
    due = phase_since(agent, Phase.BUSY) + FRESH
    if view.now < due:
        return Stay(due)
    container = view.containers.get(agent.generation)
    free = view.free(naming.weight_of(agent.generation))
    if container is None or not container.live or not free:
        return STAY
    first = min(1.0, spec.pool.limits.cpus or 1.0)
    why = "it has worked for a while, and those that begin go first"
    return Act((Weigh(agent.generation, agent.slot, container.id, first * PART, why),))
