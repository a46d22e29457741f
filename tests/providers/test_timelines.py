"""One agent's life at each provider: phase, deadline, GPU use, history and judgement tell the same of it.

What ``opened`` means differs: the embedded queue's agent is at work then, a service's is on duty and may
wait for hours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mayfly.core.apply import apply
from mayfly.core.facts import (
    AgentArmed,
    AgentConfirmed,
    AgentCreated,
    AgentOpened,
    AgentReady,
    Fact,
    GateOpening,
)
from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.gpu_use import Tally
from mayfly.core.lifetime import seconds_in_phases
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Cause,
    ContainerId,
    DoomReason,
    Exit,
    Generation,
    Phase,
    SlotName,
    SlotSpec,
    Traits,
)
from mayfly.core.outcomes import End, Result
from mayfly.core.slots import overdue, phase_of, phase_since
from mayfly.providers.azure.provider import Azure
from mayfly.providers.gitea.provider import Gitea
from mayfly.providers.github.provider import GitHub
from mayfly.providers.gitlab.provider import OWN_RUNNERS, SHARED_RUNNER
from mayfly.providers.local.provider import Local
from tests.core.simulator import pool, specs
from tests.providers.test_account import CLIENTS, LOCAL

TRAITS = {
    "azure": Azure.traits,
    "github": GitHub.traits,
    "gitea": Gitea.traits,
    "gitlab": OWN_RUNNERS,
    "gitlab, one runner for all": SHARED_RUNNER,
    "local": Local.traits,
}
GPU, NAME = "GPU-a", Generation("l0000000abcde")
BORN, READY, COMMITTED, OPENED, IDLE, BUSY, ENDED = (
    0.0,
    5.0,
    3605.0,
    3606.0,
    3610.0,
    10_810.0,
    10_870.0,
)
JOB_TIMEOUT, IDLE_RECYCLE = 600.0, 86_400.0


@dataclass(frozen=True)
class Stage:
    """What is true of the agent from that moment on."""

    at: float
    fact: Fact
    phase: Phase
    limit: float
    reason: DoomReason


def slot(traits: Traits) -> SlotSpec:
    """Its slot, as the provider's traits make it."""
    spec = specs(pool("p", job_timeout=JOB_TIMEOUT), leases=((GPU,),))[0]
    return replace(
        spec,
        embedded=traits.embedded,
        ladder=traits.stop_ladder,
        enrol_deadline=traits.enrol_deadline,
        proof=traits.proof,
    )


def life(spec: SlotSpec) -> tuple[Stage, ...]:
    """The stages of an agent that waits for two hours and then has a job for a minute."""
    agent = Agent(NAME, SlotName("p-0"), spec.pool.name, 1, "f", "i", (GPU,), BORN)
    agent = replace(agent, embedded=spec.embedded)
    enrolling = (Phase.ENROLLING, spec.enrol_deadline or 180.0, DoomReason.MISSED)
    busy, idle = (
        (Phase.BUSY, JOB_TIMEOUT, DoomReason.TIMEOUT),
        (Phase.IDLE, IDLE_RECYCLE, DoomReason.OLD),
    )
    made = Stage(BORN, AgentCreated(BORN, agent, ""), Phase.PREPARING, 120.0, DoomReason.MISSED)
    armed = AgentArmed(1.0, NAME, ContainerId("c"))
    ready, gate = AgentReady(READY, NAME), GateOpening(COMMITTED, NAME, "run", None)
    opened = AgentOpened(OPENED, NAME)
    if spec.embedded:
        return (
            made,
            Stage(1.0, armed, made.phase, made.limit, made.reason),
            Stage(READY, ready, *idle),
            Stage(COMMITTED, gate, *enrolling),
            Stage(OPENED, opened, *busy),
        )
    return (
        made,
        Stage(1.0, armed, made.phase, made.limit, made.reason),
        Stage(READY, ready, Phase.ARMED, 86_400.0, DoomReason.OLD),
        Stage(COMMITTED, gate, *enrolling),
        Stage(OPENED, opened, *enrolling),
        Stage(IDLE, AgentConfirmed(IDLE, NAME, Phase.IDLE), *idle),
        Stage(BUSY, AgentConfirmed(BUSY, NAME, Phase.BUSY), *busy),
    )


@pytest.mark.parametrize("provider", TRAITS)
def test_every_reader_tells_the_same_of_an_agent_s_life(provider: str) -> None:
    spec = slot(TRAITS[provider])
    memory, tally = Memory(), Tally()
    starts: dict[Phase, float] = {}
    for stage in life(spec):
        memory = apply(memory, [stage.fact])
        agent = memory.agents[NAME]
        start = starts.setdefault(stage.phase, stage.at)
        assert phase_of(agent, own=True) is stage.phase, stage
        assert phase_since(agent, stage.phase) == start, stage
        # Law 7 (docs/architecture.md): a moment before its deadline and a moment after.
        assert overdue(agent, spec, start + stage.limit, own=True) is None, stage
        late = overdue(agent, spec, start + stage.limit + 0.001, own=True)
        assert late is not None
        assert late[0] is stage.reason, stage
        # The GPU's load is the job's alone; a minute at full load, after hours at none.
        tally = tally.assigned((spec,), memory)
        working = stage.phase is Phase.BUSY
        assert tally.working is working
        vitals = {GPU: Vitals(used=10, utilisation=100 if working else 0)}
        tally = tally.add(Reading(stage.at, 0.0, vitals=vitals))
    (use,) = tally.use_of(memory.agents[NAME], ENDED) or ()
    assert (use.utilisation, use.samples) == (100.0, 1)
    seconds = seconds_in_phases(memory.agents[NAME], ENDED)
    ends = [*list(starts.values())[1:], ENDED]
    assert seconds == {
        phase: end - start for (phase, start), end in zip(starts.items(), ends, strict=True)
    }


@pytest.mark.parametrize("provider", TRAITS)
def test_what_missed_a_deadline_is_judged_by_the_deadline(provider: str) -> None:
    """Whatever its client made of being told to end: 0, a signal's code, or nothing at all."""
    client = CLIENTS.get(provider.partition(",")[0])
    judge = client.judge if client is not None else LOCAL.judge
    for stage in life(slot(TRAITS[provider])):
        opened = stage.at >= OPENED
        busy = stage.phase is Phase.BUSY
        signs = () if client is None else client.begins if busy else client.waits if opened else ()
        for code in (0, 143, None):
            exited = Exit(code) if code is not None else None
            told = judge(End(stage.at >= COMMITTED, opened, exited, doom=stage.reason), signs)
            if busy:
                assert told.cause is Cause.TIMEOUT, stage
            else:
                assert (told.result, told.cause) == (Result.NO_JOB, None), stage
