"""What GPUs mean for decisions: sickness holds, health opens, the blind and old leases are replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mayfly.core.facts import AgentDoomed, SlotCooled, SlotReleased
from mayfly.core.gpu_health import Process, Reading, Vitals
from mayfly.core.gpus import LATE, Gpus
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Container,
    ContainerId,
    Desired,
    DoomReason,
    Generation,
    GpuVerdict,
    JobState,
    Pending,
    ProbeVerdict,
    SlotName,
    World,
)
from tests.core.simulator import FitGpus, Host, Manager, desire, pool, specs

G0, G1, C0 = SlotName("g-0"), SlotName("g-1"), SlotName("c-0")
G = Generation("mywpiww03hg4s")
LEASES = (("GPU-0",), ("GPU-1",))
HANGS = GpuVerdict(pending=Pending.NO_ANSWER, text="NVML hangs")


@dataclass(frozen=True, slots=True)
class Judged(FitGpus):
    """GPUs that are as a test says."""

    words: Mapping[SlotName, GpuVerdict] = field(default_factory=dict)
    blind: Mapping[Generation, str] = field(default_factory=dict)
    unseen: frozenset[Generation] = frozenset()

    def judged(
        self, desired: Desired, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, World]:
        _, world = FitGpus.judged(self, desired, memory, world, now)
        probes = {
            generation: ProbeVerdict(generation not in self.blind, self.blind.get(generation, ""))
            for generation in world.probes
            if generation not in self.unseen
        }
        verdicts = {**world.gpu_verdicts, **self.words}
        return self, replace(world, gpu_verdicts=verdicts, probes=probes)


@dataclass
class GpuManager(Manager):
    """A manager whose GPUs are as a test says."""

    words: dict[SlotName, GpuVerdict] = field(default_factory=dict)
    blind: dict[Generation, str] = field(default_factory=dict)
    unseen: set[Generation] = field(default_factory=set)
    stale: dict[Generation, Container] = field(default_factory=dict)  # the last look is old

    def gpus(self) -> Gpus:
        return Judged(words=dict(self.words), blind=dict(self.blind), unseen=frozenset(self.unseen))

    def containers(self) -> tuple[Container, ...]:
        return (*super().containers(), *self.stale.values())


def filled() -> GpuManager:
    groups = (specs(pool("g", 2), leases=LEASES), specs(pool("c")))
    manager = GpuManager(Host(), desire(*groups))
    manager.run()
    return manager


def dooms(manager: Manager) -> list[DoomReason]:
    return [fact.reason for fact in manager.journal if isinstance(fact, AgentDoomed)]


def test_a_sick_gpu_holds_its_slot_and_no_other_until_a_person_says_retry() -> None:
    manager = filled()
    manager.words[G0] = GpuVerdict(sick="XID 79")
    manager.run()
    assert manager.memory.slot(G0).held == "XID 79"
    assert manager.phases("g-0") == []
    assert [manager.phases(name) for name in ("g-1", "c-0")] == [["idle"], ["idle"]]
    manager.words[G0] = GpuVerdict(fit=True)
    manager.run()
    assert manager.memory.slot(G0).held == "XID 79"
    manager.record([SlotReleased(manager.now, G0, "operator")])
    manager.run()
    assert manager.phases("g-0") == ["idle"]


def test_a_sick_gpu_ends_no_job() -> None:
    manager = filled()
    job = manager.submit("g")
    manager.run()
    busy = next(agent for agent in manager.memory.agents.values() if agent.job == job)
    manager.words[busy.slot] = GpuVerdict(sick="ECC")
    manager.run()
    assert manager.memory.agents[busy.generation].doom is None
    assert manager.phases(busy.slot) == ["busy"]
    assert manager.memory.slot(busy.slot).held == "ECC"


def test_no_gate_opens_while_the_health_of_its_gpu_is_not_known_and_other_slots_go_on() -> None:
    manager = filled()
    manager.words = {G0: HANGS, G1: HANGS}
    waiting, going = manager.submit("g"), manager.submit("c")
    manager.run()
    assert manager.memory.jobs[waiting].state is JobState.QUEUED
    assert manager.memory.jobs[going].state is JobState.RUNNING
    manager.words = {}
    manager.run()
    assert manager.memory.jobs[waiting].state is JobState.RUNNING


def test_no_gate_opens_before_its_agent_was_seen_to_see_its_lease() -> None:
    manager = filled()
    manager.unseen = set(manager.memory.agents)
    job = manager.submit("g")
    manager.run()
    assert manager.memory.jobs[job].agent is None
    manager.unseen = set()
    manager.run()
    assert manager.memory.jobs[job].agent is not None


def test_an_agent_that_sees_another_gpu_is_replaced_and_its_slot_cools() -> None:
    manager = filled()
    own = manager.own("g-0")
    manager.blind[own] = "it sees GPU-1, which its lease does not have"
    manager.run()
    assert DoomReason.BLIND in dooms(manager)
    (cooled,) = [fact for fact in manager.journal if isinstance(fact, SlotCooled)]
    assert (cooled.slot, cooled.reason) == (G0, manager.blind[own])
    manager.pass_time(60)
    manager.run()
    assert manager.phases("g-0") == ["idle"]
    assert manager.own("g-0") != own


def test_no_gate_opens_on_an_old_lease_and_its_agents_are_replaced_at_once() -> None:
    manager = filled()
    before = {manager.own("g-0"), manager.own("g-1")}
    swapped = specs(pool("g", 2), leases=LEASES[::-1])
    manager.desired = desire(swapped, specs(pool("c")))
    job = manager.submit("g")
    manager.run()
    agent = manager.memory.jobs[job].agent
    assert agent not in before
    assert {manager.own("g-0"), manager.own("g-1")} & before == set()
    assert {agent.lease for agent in manager.memory.agents.values() if agent.slot == G0} == {
        ("GPU-1",)
    }


def test_the_engine_s_word_that_a_container_died_opens_the_next_gate_before_the_next_look() -> None:
    manager = filled()
    for _ in range(2):
        manager.submit("g")
    manager.run()
    waiting = manager.submit("g")
    manager.run()
    first = manager.own("g-0")
    manager.stale[first] = manager.host.boxes[first].seen()
    manager.host.ends(first, 0)
    manager.turn()
    assert manager.memory.jobs[waiting].agent == manager.own("g-0")


def test_an_agent_that_is_not_seen_to_see_its_gpus_is_told_of_at_a_moment_of_its_own() -> None:
    agents = {
        name: replace(agent, ready=100.0)
        for name, agent in filled().memory.agents.items()
        if agent.slot == G0
    }
    memory = Memory(agents=agents)
    at_first, _, due = Gpus().probe_all(memory, World(None), 100.0)
    assert (at_first.unproven, due) == ((), 100 + LATE)
    late, _, due = at_first.probe_all(memory, World(None), 100 + LATE)
    assert [agent.slot for agent in late.unproven] == [G0] * len(agents)
    assert due is None


def test_a_container_of_an_agent_s_works_as_long_as_its_agent_is_cleared_up_after() -> None:
    """And is remembered as its, once the agent itself is forgotten."""
    (spec,) = specs(pool("g"), leases=(("GPU-0",),))
    agent = Agent(
        *(G, spec.name, spec.pool.name, 1, "f", "image", ("GPU-0",), 10.0),
        container=ContainerId("a" * 64),
        committed=20.0,
        opened=21.0,
        exited=30.0,
        door=True,
        made=True,
    )
    process = Process(7, 0, ContainerId("b" * 64), agent=G)
    seen = Reading(
        50.0, 50.0, gpus=(Gpu("GPU-0", 0),), vitals={"GPU-0": Vitals(0, 9, 0, (process,))}
    )
    gpus = Gpus().read(seen)

    def verdict(*agents: Agent) -> GpuVerdict:
        nonlocal gpus
        memory = Memory({one.generation: one for one in agents})
        gpus, world = gpus.judged(Desired((spec,)), memory, World({}), 50.0)
        return world.gpu_verdicts[spec.name]

    assert verdict(agent).fit
    gpus = replace(gpus, since={spec.name: 45.0})
    for rest in ((replace(agent, cleared=40.0),), ()):
        assert verdict(*rest).text.startswith(
            f"process 7 of container {'b' * 12} of g-0's agent {G}"
        )
