"""How long an agent was in each phase, for the embedded queue and for services alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.apply import apply
from mayfly.core.facts import AgentConfirmed, AgentCreated
from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.gpu_use import Tally
from mayfly.core.lifetime import seconds_in_phases
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import ContainerId, Generation, Phase, PoolName, SlotName

AGENT = Agent(
    generation=Generation("g1"),
    slot=SlotName("p-0"),
    pool=PoolName("p"),
    serial=1,
    fingerprint="f",
    image="i",
    lease=("GPU-a",),
    born=0.0,
    container=ContainerId("c"),
    ready=1.0,
    committed=2.0,
    opened=3.0,
)
SERVICE = replace(AGENT, embedded=False)


def confirmed(agent: Agent, *phases: tuple[float, Phase]) -> Agent:
    """The agent after its service has said so."""
    facts = [AgentConfirmed(at, agent.generation, phase) for at, phase in phases]
    memory = apply(Memory(), [AgentCreated(0.0, agent, ""), *facts])
    return memory.agents[agent.generation]


def test_an_agent_of_the_embedded_queue_is_busy_from_its_gate_on() -> None:
    assert seconds_in_phases(AGENT, 63.0) == {
        Phase.PREPARING: 1.0,
        Phase.IDLE: 1.0,
        Phase.ENROLLING: 1.0,
        Phase.BUSY: 60.0,
    }


def test_a_services_agent_is_busy_from_its_job_on() -> None:
    agent = confirmed(SERVICE, (5.0, Phase.IDLE), (7205.0, Phase.BUSY))
    assert seconds_in_phases(agent, 7265.0) == {
        Phase.PREPARING: 1.0,
        Phase.ARMED: 1.0,
        Phase.ENROLLING: 3.0,
        Phase.IDLE: 7200.0,
        Phase.BUSY: 60.0,
    }


@pytest.mark.parametrize("phases", [(), ((5.0, Phase.IDLE),)], ids=["enrolling", "idle"])
def test_a_services_agent_without_a_job_was_never_busy(
    phases: tuple[tuple[float, Phase], ...],
) -> None:
    seconds = seconds_in_phases(confirmed(SERVICE, *phases), 100.0)
    assert Phase.BUSY not in seconds
    assert sum(seconds.values()) == 100.0


def test_a_gpu_s_load_counts_while_a_job_runs_and_its_memory_from_the_gate_on() -> None:
    idle, busy = confirmed(SERVICE), confirmed(SERVICE, (10.0, Phase.BUSY))
    tally = Tally()
    for agent, used, load, working in ((idle, 900, 0, False), (busy, 500, 80, True)):
        tally = tally.assigned((), Memory(agents={agent.generation: agent}))
        assert tally.working is working
        vitals = {"GPU-a": Vitals(used=used, utilisation=load)}
        tally = tally.add(Reading(0.0, 0.0, vitals=vitals))
    (use,) = tally.use_of(busy, 63.0) or ()
    assert (use.peak_memory, use.utilisation, use.samples) == (900, 80.0, 1)
