"""When a sick GPU is reset, what is ended before, and what comes of it: the machine decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from mayfly.core.apply import ahead, apply
from mayfly.core.facts import (
    AgentDoomed,
    ClockJumped,
    Fact,
    GpuHealed,
    GpuHealing,
    GpuReset,
    GpuResetting,
    SlotHeld,
    SlotReleased,
)
from mayfly.core.gpu_health import ForeignContainer, Process, Reading, Vitals
from mayfly.core.gpus import Gpus
from mayfly.core.healing import (
    DRAIN,
    FIRST_AGENT,
    GIVE_UP,
    ONCE_IN,
    PROOF,
    HealPlan,
    ResetOutcome,
    Scene,
    heal,
    linked,
    plan,
    sick_gpus,
)
from mayfly.core.leases import Gpu, Mig
from mayfly.core.memory import Heal, Memory, Pause
from mayfly.core.model import (
    ContainerId,
    Desired,
    Generation,
    GpuVerdict,
    Hold,
    JobState,
    PoolSpec,
    ProbeVerdict,
    SlotName,
    World,
)
from mayfly.core.requests import PaceGpus, ResetGpu
from mayfly.core.state import scene_of as state_scene
from mayfly.core.stimuli import GpuResetDone
from tests.core.simulator import FitGpus, Host, Manager, desire, pool, specs

A, B = Gpu("GPU-a", 0, capability=(9, 0)), Gpu("GPU-b", 1, capability=(9, 0))
G0, G1 = SlotName("g-0"), SlotName("g-1")
KEPT = "4096 MiB of GPU-a were not returned and no process holds them: reset the GPU"
SICK = GpuVerdict(sick=KEPT, returns=True, code="gpu.memory_kept", device="GPU-a", healable=True)
WELL = ResetOutcome()
XID = replace(SICK, sick="XID 95 on GPU-a (an uncontained ECC error)", returns=False)


@dataclass(frozen=True, slots=True)
class Judged(FitGpus):
    """GPUs that are as a test says."""

    words: Mapping[SlotName, GpuVerdict] = field(default_factory=dict)
    blind: bool = False

    def judged(
        self, desired: Desired, memory: Memory, world: World, now: float
    ) -> tuple[Gpus, World]:
        _, world = FitGpus.judged(self, desired, memory, world, now)
        probes: Mapping[Generation, ProbeVerdict] = {} if self.blind else world.probes
        leased = {spec.name for spec in desired.slots if spec.lease}
        words = {name: word for name, word in self.words.items() if name in leased}
        verdicts = {**world.gpu_verdicts, **words}
        return self, replace(world, gpu_verdicts=verdicts, probes=probes)


@dataclass
class Healer(Manager):
    """A manager on a host with two GPUs."""

    words: dict[SlotName, GpuVerdict] = field(default_factory=dict)
    processes: dict[str, tuple[Process, ...]] = field(default_factory=dict)
    known: tuple[Gpu, ...] = (A, B)
    lost: str | None = None  # the GPU that is not listed any more
    blind: bool = False  # no agent says what it sees
    foreign: tuple[ForeignContainer, ...] = ()

    def gpus(self) -> Gpus:
        uuids = [uuid for gpu in self.known for uuid in (gpu.uuid, *(m.uuid for m in gpu.mig))]
        vitals = {
            uuid: Vitals(processes=self.processes.get(uuid, ()))
            for uuid in uuids
            if uuid != self.lost
        }
        reading = Reading(self.now, self.now, gpus=self.known, vitals=vitals)
        return Judged(words=dict(self.words), blind=self.blind, known=self.known, reading=reading)

    def _ready(self):  # type: ignore[no-untyped-def]
        state = Manager._ready(self)
        return replace(state, survey=replace(state.survey, foreign_containers=self.foreign))

    def resets(self) -> list[ResetGpu]:
        return [one for one in self.asked if isinstance(one, ResetGpu)]

    def told(self, kind: type[Fact]) -> list[Fact]:
        return [fact for fact in self.journal if isinstance(fact, kind)]

    def until_reset(self) -> ResetGpu:
        """Turns until a reset is asked for."""
        for _ in range(20):
            self.run()
            found = [fact for fact in self.journal if isinstance(fact, GpuResetting)]
            if found:
                one = self.memory.heals[found[-1].gpu]
                return ResetGpu(one.gpu, one.together, one.devices, split=bool(one.mig))
        raise AssertionError("no reset was begun")

    def done(self, outcome: ResetOutcome = WELL, gpu: str = "GPU-a") -> None:
        self.inbox.append(GpuResetDone(gpu, outcome))

    @property
    def heal(self) -> Heal:
        return self.memory.heals["GPU-a"]


LEASES = (("GPU-a",), ("GPU-b",))


def healer(mode: str = "reset", leases: tuple[tuple[str, ...], ...] = LEASES) -> Healer:
    spec = replace(pool("g", len(leases)), heal=mode)  # type: ignore[arg-type]
    manager = Healer(Host(), desire(specs(spec, leases=leases)))
    manager.run()
    return manager


def test_a_gpu_that_a_reset_may_mend_is_reset_once_nothing_has_it_and_comes_back_into_service() -> (
    None
):
    manager = healer()
    before = manager.own("g-0")
    manager.words[G0] = SICK
    asked = manager.until_reset()
    assert (asked.gpu, asked.devices, asked.split) == ("GPU-a", ("GPU-a",), False)
    assert before not in manager.memory.agents
    assert manager.phases("g-1") == ["idle"]
    begun = manager.journal.index(manager.told(GpuResetting)[0])
    manager.run()
    assert manager.phases("g-0") == []  # nobody is made while it may be reset
    manager.pass_time(3)
    manager.done()
    del manager.words[G0]
    for _ in range(4):
        manager.run()
    (healed,) = manager.told(GpuHealed)
    assert isinstance(healed, GpuHealed)
    assert (healed.gpu, healed.reason, healed.failure) == ("GPU-a", KEPT, None)
    assert healed.seconds == 3
    assert begun < manager.journal.index(healed)
    assert manager.memory.slot(G0).held is None
    job = manager.submit("g")
    manager.run()
    assert manager.memory.jobs[job].state is JobState.RUNNING


def test_a_slot_held_for_what_readings_do_not_show_is_let_go_by_the_reset() -> None:
    manager = healer()
    manager.words[G0] = XID
    manager.until_reset()
    assert manager.memory.slot(G0).hold is Hold.PERSON
    manager.done()
    del manager.words[G0]
    for _ in range(4):
        manager.run()
    assert manager.memory.slot(G0).held is None
    assert manager.heal.failure is None


def test_nothing_is_reset_where_the_pool_does_not_want_it_or_a_reset_does_not_help() -> None:
    for mode, word in (("off", SICK), ("reset", replace(SICK, healable=False))):
        manager = healer(mode)
        manager.words[G0] = word
        for _ in range(3):
            manager.run()
        assert not manager.told(GpuHealing)


def test_a_job_on_the_gpu_is_never_ended_for_it_and_the_reset_waits() -> None:
    manager = healer(leases=(("GPU-a",), ("GPU-a",)))
    job = manager.submit("g")
    manager.run()
    assert manager.memory.jobs[job].slot is not None
    manager.words = {G0: SICK, G1: SICK}
    for _ in range(3):
        manager.run()
    assert not manager.told(GpuHealing)
    agent = manager.memory.agents[manager.memory.jobs[job].agent]  # type: ignore[index]
    assert agent.doom is None
    assert "has a job" in manager.state.gpus.waits["GPU-a"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"processes": {"GPU-a": (Process(7, 1, command="python train.py", age=60.0),)}},
            "process 7",
        ),
        ({"foreign": (ForeignContainer("c1", "lab", ("all",)),)}, "container lab"),
        (
            {
                "lost": None,
                "known": (
                    replace(A, capability=(7, 0), bus="1", links=("2",)),
                    replace(B, capability=(7, 0), bus="2", links=("1",)),
                ),
                "processes": {"GPU-b": (Process(8, 1),)},
            },
            "process 8",
        ),
    ],
)
def test_whatever_else_uses_it_keeps_it_from_being_reset_and_is_named(
    change: dict[str, object], why: str
) -> None:
    manager = healer()
    for name, value in change.items():
        setattr(manager, name, value)
    manager.words[G0] = SICK
    for _ in range(3):
        manager.run()
    assert not manager.told(GpuHealing)
    assert why in manager.state.gpus.waits["GPU-a"]


def test_who_comes_while_it_is_drained_is_left_alone_and_the_reset_is_given_up() -> None:
    manager = healer()
    manager.words[G0] = SICK
    while not manager.told(GpuHealing):
        manager.turn()
    manager.processes["GPU-a"] = (Process(7, 1),)
    for _ in range(3):
        manager.run()
    assert not manager.told(GpuResetting)
    (healed,) = manager.told(GpuHealed)
    assert isinstance(healed, GpuHealed)
    assert "process 7" in (healed.failure or "")
    manager.processes.clear()
    manager.until_reset()  # nothing was reset, so no hour is waited for


def test_linked_gpus_are_reset_together_before_ampere_and_alone_since() -> None:
    def ring(capability: tuple[int, int] | None) -> tuple[Gpu, ...]:
        return tuple(
            Gpu(f"GPU-{n}", n, capability=capability, bus=str(n), links=(str((n + 1) % 3),))
            for n in range(3)
        )

    for capability in ((7, 0), None):
        old = ring(capability)
        assert linked(old[0], old) == ("GPU-1", "GPU-2") or set(linked(old[0], old)) == {
            "GPU-1",
            "GPU-2",
        }
    assert linked(ring((8, 0))[0], ring((8, 0))) == ()
    switched = tuple(
        Gpu(f"GPU-{n}", n, capability=(7, 0), bus=str(n), links=("switch",)) for n in range(2)
    )
    assert linked(switched[0], switched) == ("GPU-1",)
    assert linked(replace(A, capability=(7, 0)), (A, B)) == ()


def test_who_stands_at_a_gate_with_a_linked_gpu_is_ended_first() -> None:
    manager = healer()
    manager.known = (
        replace(A, capability=(7, 0), bus="1", links=("2",)),
        replace(B, capability=(7, 0), bus="2", links=("1",)),
    )
    manager.words[G0] = SICK
    asked = manager.until_reset()
    assert (asked.gpu, asked.together) == ("GPU-a", ("GPU-b",))
    assert manager.phases("g-1") == []
    manager.done()
    manager.words.clear()
    for _ in range(4):
        manager.run()
    assert manager.phases("g-1") == ["idle"]
    assert manager.heal.failure is None


def test_no_gpu_is_reset_twice_in_an_hour_also_after_a_restart() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    began = manager.now
    manager.done()
    del manager.words[G0]
    for _ in range(4):
        manager.run()
    manager.words[G0] = SICK
    for _ in range(3):
        manager.run()
    manager.crash(())
    for _ in range(3):
        manager.run()
    assert len(manager.told(GpuResetting)) == 1
    assert "is not again for" in manager.state.gpus.waits["GPU-a"]
    manager.pass_time(began + ONCE_IN - manager.now + 1)
    for _ in range(4):
        manager.run()
    assert len(manager.told(GpuResetting)) == 2


def test_a_manager_that_ended_in_a_reset_begins_no_second_and_says_what_it_does_not_know() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    manager.crash(())
    for _ in range(3):
        manager.run()
    assert len(manager.told(GpuResetting)) == 1
    assert "does not know whether the reset was made" in (manager.memory.slot(G0).held or "")
    manager.record([SlotReleased(manager.now, G0, "operator")])
    for _ in range(3):
        manager.run()
    assert len(manager.told(GpuResetting)) == 1


def test_a_reset_that_failed_holds_the_slot_with_what_was_tried_until_a_person_retries() -> None:
    said = "GPU-a was not reset: the driver says that another client uses it"
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    manager.done(ResetOutcome(said, untouched=True))
    for _ in range(4):
        manager.run()
    assert (manager.memory.slot(G0).held, manager.memory.slot(G0).hold) == (said, Hold.PERSON)
    assert len(manager.told(GpuResetting)) == 1
    assert manager.phases("g-1") == ["idle"]
    manager.record([SlotReleased(manager.now, G0, "operator")])  # it changed nothing: no hour
    for _ in range(4):
        manager.run()
    assert len(manager.told(GpuResetting)) == 2


def test_a_gpu_that_is_not_well_after_its_reset_is_held() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    manager.done()
    manager.run()
    assert not manager.told(GpuHealed)
    manager.pass_time(PROOF + 1)
    manager.run()
    assert "it is not well after it" in (manager.memory.slot(G0).held or "")
    assert (manager.heal.failure or "").startswith(f"GPU-a was reset for this: {KEPT}")


def test_a_gpu_that_is_gone_after_its_reset_holds_whoever_had_it() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    manager.done()
    manager.lost = "GPU-a"
    manager.pass_time(PROOF + 1)
    manager.run()
    assert "GPU-a is not there any more" in (manager.memory.slot(G0).held or "")


def test_a_gpu_that_no_agent_sees_after_its_reset_is_held() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    manager.blind = True
    manager.done()
    del manager.words[G0]
    manager.run()
    assert not manager.told(GpuHealed)
    manager.pass_time(FIRST_AGENT + 1)
    manager.run()
    assert "no agent has seen it since" in (manager.memory.slot(G0).held or "")


def test_a_reset_that_does_not_end_is_waited_for_no_longer_and_what_comes_late_changes_nothing() -> (
    None
):
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    manager.pass_time(GIVE_UP + 1)
    manager.run()
    held = manager.memory.slot(G0).held
    assert "nobody knows whether it was made" in (held or "")
    manager.done()
    manager.run()
    assert not manager.told(GpuReset)
    assert manager.memory.slot(G0).held == held


def test_an_agent_that_does_not_end_is_not_waited_for_for_ever() -> None:
    manager = healer()
    manager.words[G0] = SICK
    while not manager.told(GpuHealing):
        manager.turn()
    late = replace(scene_of(manager), now=manager.now + DRAIN + 1)
    (healed, held) = heal(late, manager.run_id).facts
    assert isinstance(healed, GpuHealed)
    assert "the agent of slot g-0 does not end" in (healed.failure or "")
    assert isinstance(held, SlotHeld)
    assert held.slot == G0


def test_a_pause_while_agents_end_gives_the_reset_up_and_holds_nobody_however_long_it_lasts() -> (
    None
):
    manager = healer()
    manager.words[G0] = SICK
    while not manager.told(GpuHealing):
        manager.turn()
    scene = scene_of(manager)
    paused = replace(scene, memory=replace(scene.memory, pause=Pause(manager.now, "root")))
    (healed,) = heal(paused, manager.run_id).facts
    assert isinstance(healed, GpuHealed)
    assert healed.untouched
    assert "Mayfly is paused" in (healed.failure or "")
    memory = apply(paused.memory, (healed,))
    later = replace(paused, memory=replace(memory, pause=None), now=manager.now + DRAIN + 1)
    assert any(isinstance(fact, GpuHealing) for fact in heal(later, manager.run_id).facts)


def test_a_gpu_that_gets_well_while_its_agents_end_is_not_reset_and_holds_nobody() -> None:
    manager = healer()
    manager.words[G0] = SICK
    while not manager.told(GpuHealing):
        manager.turn()
    del manager.words[G0]
    for _ in range(4):
        manager.run()
    assert not manager.told(GpuResetting)
    (healed,) = manager.told(GpuHealed)
    assert isinstance(healed, GpuHealed)
    assert (healed.untouched, healed.failure) == (True, "GPU-a was not reset: it is well again")
    assert manager.memory.slot(G0).held is None
    assert manager.phases("g-0") == ["idle"]
    manager.words[G0] = SICK
    manager.until_reset()  # what was not made counts for no hour


def test_a_pause_after_the_reset_keeps_nvml_from_being_asked_only_once_the_gpu_was_seen() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    paused = replace(manager.memory, pause=Pause(manager.now, "root"))
    reset = apply(paused, (GpuReset(manager.now, "GPU-a", manager.heal.devices),))
    over = apply(reset, (GpuHealed(manager.now, "GPU-a", KEPT, 1.0),))

    def rests(memory: Memory) -> bool:
        _, asked, _ = Gpus().scheduled(manager.desired, memory, World({}), manager.now)
        (pace,) = (one for one in asked if isinstance(one, PaceGpus))
        return pace.resting

    assert [rests(memory) for memory in (paused, reset, over)] == [True, False, True]


def test_a_clock_that_was_set_back_while_no_manager_ran_makes_no_second_reset_of_it() -> None:
    began = Heal("GPU-a", (), ("GPU-a",), (), (G0,), KEPT, asked=5000.0, began=5000.0, ended=5010.0)
    memory = Memory(heals={"GPU-a": began})
    assert ahead(memory, 1400.0) == 3610.0
    moved = apply(memory, (ClockJumped(1400.0, -3610.0),)).heals["GPU-a"]
    assert (moved.began, moved.ended) == (1390.0, 1400.0)


def test_mig_devices_with_new_uuids_after_a_reset_are_told() -> None:
    before = replace(A, split=True, mig=(Mig("MIG-1", "1g.10gb"), Mig("MIG-2", "1g.10gb")))
    after = replace(before, mig=(Mig("MIG-3", "1g.10gb"), Mig("MIG-4", "1g.10gb")))
    manager = healer(leases=(("MIG-1",), ("MIG-2",)))
    manager.known = (before, B)
    manager.words[G0] = replace(SICK, device="MIG-1")
    asked = manager.until_reset()
    assert (asked.gpu, asked.split, manager.heal.mig) == ("GPU-a", True, ("1g.10gb", "1g.10gb"))
    assert manager.phases("g-1") == []  # it has another part of the same GPU
    manager.done()
    manager.words.clear()
    manager.known = (after, B)
    spec = replace(pool("g", 2), heal="reset")
    manager.desired = desire(specs(spec, leases=(("MIG-3",), ("MIG-4",))))
    for _ in range(4):
        manager.run()
    (healed,) = manager.told(GpuHealed)
    assert isinstance(healed, GpuHealed)
    assert healed.failure is None
    assert "new UUIDs: MIG-3, MIG-4" in healed.detail


def test_mig_devices_that_are_fewer_after_a_reset_hold_their_slots() -> None:
    before = replace(A, split=True, mig=(Mig("MIG-1", "1g.10gb"), Mig("MIG-2", "2g.20gb")))
    manager = healer(leases=(("MIG-1",), ("MIG-2",)))
    manager.known = (before, B)
    manager.words[G0] = replace(SICK, device="MIG-1")
    manager.until_reset()
    manager.done()
    manager.words.clear()
    manager.known = (replace(before, mig=before.mig[:1]), B)
    manager.pass_time(PROOF + 1)
    manager.run()
    for slot in (G0, G1):
        held = manager.memory.slot(slot).held or ""
        assert "its MIG devices are 1g.10gb" in held
        assert "were 1g.10gb, 2g.20gb" in held


def test_a_pool_that_may_have_the_gpu_too_has_to_want_it() -> None:
    one = replace(pool("g", 1), heal="reset", exclusive="in turn")
    other = replace(pool("h", 1), exclusive="in turn")
    manager = Healer(
        Host(), desire(specs(one, leases=(("GPU-a",),)), specs(other, leases=(("GPU-a",),)))
    )
    manager.run()
    manager.words[G0] = SICK
    for _ in range(3):
        manager.run()
    assert not manager.told(GpuHealing)
    assert "pool h" in manager.state.gpus.waits["GPU-a"]


def test_a_wide_pool_in_turn_waits_at_its_gate_while_one_of_its_gpus_is_reset() -> None:
    wide = replace(pool("w", 1), heal="reset", exclusive="in turn")
    one = replace(pool("g", 1), heal="reset", exclusive="in turn")
    manager = Healer(
        Host(),
        desire(specs(one, leases=(("GPU-a",),)), specs(wide, leases=(("GPU-a", "GPU-b"),))),
    )
    manager.run()
    manager.words = {G0: SICK, SlotName("w-0"): SICK}
    job = manager.submit("w")
    manager.until_reset()
    manager.run()
    assert manager.memory.jobs[job].agent is None
    manager.done()
    manager.words.clear()
    for _ in range(6):
        manager.run()
    assert manager.memory.jobs[job].state is JobState.RUNNING
    assert manager.heal.failure is None


def test_one_gpu_is_reset_after_the_other() -> None:
    manager = healer()
    manager.words = {G0: SICK, G1: replace(SICK, device="GPU-b")}
    manager.until_reset()
    for _ in range(3):
        manager.run()
    assert len(manager.told(GpuResetting)) == 1
    manager.done()
    del manager.words[G0]
    for _ in range(6):
        manager.run()
    assert [fact.gpu for fact in manager.told(GpuResetting)] == ["GPU-a", "GPU-b"]  # type: ignore[union-attr]


def test_what_is_healed_is_not_healed_beside_that() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    assert plan_of(manager).refusals[0] == "GPU-a is being healed already"


def scene_of(manager: Healer) -> Scene:
    return Scene(
        manager.desired,
        manager.look(),
        manager.memory,
        manager.gpus(),
        manager.foreign,
        manager.now,
    )


def plan_of(manager: Healer) -> HealPlan:
    found = plan(scene_of(manager), "GPU-a", by_hand=True)
    assert found is not None
    return found


def test_a_plan_by_hand_knows_what_is_sick_as_it_was_judged_last() -> None:
    manager = healer()
    state = replace(manager.state, gpus=replace(manager.gpus(), verdicts={G0: SICK}))
    scene = state_scene(state, manager.now)
    assert sick_gpus(scene) == ["GPU-a"]
    found = plan(scene, "GPU-a", by_hand=True)
    assert found is not None
    assert (found.slots, found.reason) == ((G0,), KEPT)


def test_a_plan_names_what_it_ends_what_goes_with_it_and_all_that_is_in_the_way() -> None:
    manager = healer()
    found = plan_of(manager)
    assert [agent.slot for agent in found.stops] == [G0]
    assert found.refusals == ()
    manager.processes["GPU-a"] = (Process(7, 1, container=ContainerId("c" * 64)),)
    manager.foreign = (ForeignContainer("c1", "lab", ("0",)),)
    refusals = plan_of(manager).refusals
    assert [any(word in one for one in refusals) for word in ("process 7", "lab")] == [True, True]


def test_what_dooms_for_a_reset_is_no_job_s_end() -> None:
    manager = healer()
    manager.words[G0] = SICK
    manager.until_reset()
    dooms = [fact for fact in manager.journal if isinstance(fact, AgentDoomed)]
    assert {fact.reason.value for fact in dooms} <= {"unwanted"}


def test_a_pool_says_off_unless_it_is_asked() -> None:
    assert PoolSpec(pool("g").name).heal == "off"
