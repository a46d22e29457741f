"""What jobs use now: processors, memory and GPUs, a row a job; made of what the kernel and NVML said.

Pure. Processor time is told as it adds up: whoever asks twice has the use of the time between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mayfly.core.gpu_health import Vitals
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent
from mayfly.core.model import Generation
from mayfly.core.state import State


@dataclass(frozen=True, slots=True)
class Use:
    """Of one container."""

    cpu: float | None = None  # seconds of processors since it began; None: not known
    memory: int | None = None  # bytes; None: not known
    processes: int | None = None  # None: not known


NOTHING = Use()


def at_work(state: State) -> list[Agent]:
    """The agents that have a job, in the order of their slots."""
    order = {spec.name: number for number, spec in enumerate(state.desired.slots)}
    agents = [agent for agent in state.memory.agents.values() if agent.busy]
    return sorted(agents, key=lambda agent: (order.get(agent.slot, len(order)), agent.slot))


def rows(state: State, uses: Mapping[Generation, Use]) -> list[dict[str, object]]:
    """A row for each agent that has a job; times in seconds since the epoch, sizes in bytes."""
    return [_row(state, agent, uses.get(agent.generation, NOTHING)) for agent in at_work(state)]


def _row(state: State, agent: Agent, use: Use) -> dict[str, object]:
    job = state.memory.jobs.get(agent.job) if agent.job is not None else None
    return {
        "slot": agent.slot,
        "pool": agent.pool,
        "agent": agent.generation,
        "job": agent.job,
        "name": job.name if job is not None else None,
        "owner": job.owner if job is not None else None,
        "since": agent.opened,
        "cpu_seconds": use.cpu,
        "memory": use.memory,
        "memory_limit": agent.memory,
        "processes": use.processes,
        "gpus": [_device(state, agent, uuid) for uuid in agent.lease],
    }


def _device(state: State, agent: Agent, uuid: str) -> dict[str, object]:
    reading = state.gpus.reading
    vitals = reading.vitals.get(uuid) if reading is not None else None
    device = _known(state.gpus.known or (), uuid)
    total = (vitals.total if vitals is not None else None) or (device.memory if device else None)
    return {
        "uuid": uuid,
        "index": device.index if device is not None else None,
        "utilisation": vitals.utilisation if vitals is not None else None,
        "used": _used(vitals, agent, alone=agent.pool not in state.gpus.tally.sharing),
        "memory": total,
    }


def _used(vitals: Vitals | None, agent: Agent, *, alone: bool) -> int | None:
    """What its own processes hold, and its containers'; where NVML names none of them, what is held, if it is
    alone there.
    """
    if vitals is None:
        return None
    own = [
        one.memory or 0
        for one in vitals.processes
        if one.container == agent.container or one.agent == agent.generation
    ]
    if own and agent.container is not None:
        return sum(own)
    return vitals.used if alone else None


def _known(gpus: tuple[Gpu, ...], uuid: str) -> Gpu | None:
    for gpu in gpus:
        if gpu.uuid == uuid or any(part.uuid == uuid for part in gpu.mig):
            return gpu
    return None
