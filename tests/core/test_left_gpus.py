"""What is left on a GPU is looked for before the next gate opens there, whatever became of its slot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core import machine
from mayfly.core.codec import decoded, encoded
from mayfly.core.gpu_health import Process, Quiet, Reading, Vitals
from mayfly.core.gpus import REMEMBERED, Gpus
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    ContainerId,
    Desired,
    Generation,
    GpuVerdict,
    Pending,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.stimuli import ClockSet
from tests.core.simulator import Host, Manager, desire, judge, pool, specs

ONE, OTHER = "GPU-0", "GPU-1"


def slots(
    name: str, *leases: str, in_turn: bool = False, share: bool = False
) -> tuple[SlotSpec, ...]:
    of = pool(name, len(leases), share=share)
    exclusive = "in turn" if in_turn else of.exclusive
    return specs(replace(of, exclusive=exclusive), leases=tuple((lease,) for lease in leases))


def reading(at: float) -> Reading:
    seen = (Gpu(ONE, 0), Gpu(OTHER, 1))
    return Reading(at, at, gpus=seen, vitals={gpu.uuid: Vitals(0, 9, 0) for gpu in seen})


def agent(of: SlotSpec) -> Agent:
    """At work in that slot."""
    return Agent(
        *(Generation("g"), of.name, of.pool.name, 1, "f", "image", of.lease, 10.0),
        container=ContainerId("a" * 64),
        committed=20.0,
        opened=21.0,
    )


BEFORE, AFTER = "a-0", "b-0"
WORLDS = {
    "a pool in turn is gone": (
        desire(slots("a", ONE, in_turn=True), slots("b", ONE, in_turn=True)),
        desire(slots("b", ONE, in_turn=True)),
    ),
    "a pool has another name": (desire(slots("a", ONE)), desire(slots("b", ONE))),
    "a slot has another lease": (
        desire(slots("a", ONE), slots("b", OTHER)),
        desire(slots("a", OTHER), slots("b", ONE)),
    ),
    "no pool had GPUs for a while": (desire(slots("a", ONE)), desire(specs(pool("c")))),
}


@pytest.mark.parametrize(("before", "after"), WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("made", [False, True], ids=["", "and what it made goes later"])
def test_no_gpu_is_judged_by_what_was_seen_of_it_before_its_last_agent_ended(
    before: Desired, after: Desired, made: bool
) -> None:
    at_work = agent(before.slots[0])
    gpus = replace(Gpus(), since={SlotName(AFTER): 0.0}).read(reading(15.0))
    gpus, _ = gpus.judged(before, Memory({at_work.generation: at_work}), World({}), 25.0)
    gpus, _ = gpus.judged(after, Memory({at_work.generation: at_work}), World({}), 26.0)
    gone = replace(at_work, exited=30.0)
    if made:
        gone = replace(gone, door=True, made=True, cleared=40.0)
    gpus, _ = gpus.judged(after, Memory({gone.generation: gone}), World({}), 41.0)
    last = desire(slots("b", ONE)) if not any(one.lease for one in after.slots) else after

    def verdict(asked: float) -> GpuVerdict:
        _, world = gpus.read(reading(asked)).judged(last, Memory(), World({}), 50.0)
        return world.gpu_verdicts[SlotName(AFTER)]

    end = 40.0 if made else 30.0
    assert verdict(end - 1).pending is Pending.NOT_ASKED
    assert verdict(end + 1).fit


def test_where_slots_share_a_gpu_the_end_of_one_s_agent_asks_nothing_anew_for_the_other() -> None:
    both = desire(slots("a", ONE, share=True), slots("b", ONE, share=True))
    gone = replace(agent(both.slots[0]), exited=30.0)
    gpus = replace(Gpus(), since=dict.fromkeys((SlotName("a-0"), SlotName("b-0")), 0.0))
    _, world = gpus.read(reading(29.0)).judged(both, Memory({gone.generation: gone}), World({}), 31)
    assert world.gpu_verdicts[SlotName("b-0")].fit


MUCH = 40 * 2**30


@pytest.mark.parametrize("ended", [False, True], ids=["while it ran", "once it had ended"])
@pytest.mark.parametrize("process", [None, MUCH], ids=["", "with its process to be seen"])
def test_memory_of_a_job_is_no_gpu_s_quiet_where_a_manager_starts_before_it_is_returned(
    ended: bool, process: int | None
) -> None:
    desired = desire(slots("a", ONE))
    runs = agent(desired.slots[0])
    gone = replace(runs, exited=30.0)

    def looked(gpus: Gpus, at: float, one: Agent, used: int) -> tuple[Gpus, GpuVerdict]:
        known = (Process(7, process, runs.container),) if process and one.exited is None else ()
        seen = replace(reading(at), vitals={ONE: Vitals(used, 2 * MUCH, 0, known)})
        gpus, world = gpus.read(seen).judged(desired, Memory({one.generation: one}), World({}), at)
        return gpus, world.gpu_verdicts[SlotName("a-0")]

    gpus = replace(Gpus(), since={SlotName("a-0"): 0.0})
    if not ended:
        gpus, _ = looked(gpus, 29.0, runs, MUCH)
    gpus, kept = looked(gpus, 31.0, gone, MUCH)
    assert kept.pending is Pending.UNCLEAN
    _, returned = looked(gpus, 32.0, gone, 0)
    assert returned.fit
    gpus, first_seen = looked(gpus, 41.0, gone, MUCH)
    assert first_seen.fit, "what stays is not known to be the job's"
    later = replace(gone, generation=Generation("h"), exited=60.0)
    assert looked(gpus, 61.0, later, MUCH + 2**30)[1].pending is Pending.UNCLEAN


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
def test_a_clock_that_was_set_keeps_no_gpu_waiting(by: float) -> None:
    manager = Manager(Host(), desire(slots("a", ONE)))
    state = replace(manager._ready(), gpus=Gpus().read(reading(manager.now)))
    step = machine.step(state, manager.sight(), manager.now, judge)
    assert step.state.gpus.verdicts[SlotName("a-0")].fit
    later = machine.step(step.state, [ClockSet(by)], manager.now + by + 1.0, judge)
    assert later.state.gpus.verdicts[SlotName("a-0")].fit
    due = later.state.gpus.recheck(manager.now + by + 1.0)
    assert due is None, "there is nothing to ask NVML again for"


BOOT, NEXT_BOOT = "boot 1", "boot 2"


def quiet_of(loading: str, used: int) -> Gpus:
    """A manager that has seen a GPU at rest with so much in use."""
    desired = desire(slots("a", ONE))
    seen = replace(reading(10.0), loading=loading, vitals={ONE: Vitals(used, 2 * MUCH, 0)})
    return Gpus().read(seen).judged(desired, Memory(), World({}), 10.0)[0]


@pytest.mark.parametrize(
    ("loading", "pending"), [(BOOT, Pending.UNCLEAN), (NEXT_BOOT, None), ("", None)]
)
def test_what_is_quiet_is_known_to_the_next_manager_for_as_long_as_the_driver_stays_loaded(
    loading: str, pending: Pending | None
) -> None:
    desired = desire(slots("a", ONE))
    earlier = decoded(encoded(quiet_of(BOOT, 2**20).quiet))
    assert earlier == Quiet(BOOT, {ONE: 2**20})
    gpus = replace(Gpus(), earlier=earlier, since={SlotName("a-0"): 59.0})
    leak = replace(reading(60.0), loading=loading, vitals={ONE: Vitals(MUCH, 2 * MUCH, 0)})
    gpus, world = gpus.read(leak).judged(desired, Memory(), World({}), 60.0)
    assert world.gpu_verdicts[SlotName("a-0")].pending is pending
    later = replace(leak, began=80.0, ended=80.0)
    gpus, world = gpus.read(later).judged(desired, Memory(), World({}), 80.0)
    assert (world.gpu_verdicts[SlotName("a-0")].sick is not None) is (pending is not None)
    assert gpus.quiet.used == ({ONE: MUCH if pending is None else 2**20} if loading else {})


def test_what_was_quiet_with_a_driver_says_nothing_once_that_is_loaded_anew() -> None:
    gpus = quiet_of(BOOT, 2**20)
    gone = Reading(20.0, 20.0, problem="the driver is not loaded")
    more = replace(reading(30.0), loading=NEXT_BOOT, vitals={ONE: Vitals(MUCH, 2 * MUCH, 0)})
    desired = desire(slots("a", ONE))
    gpus, world = gpus.read(gone).read(more).judged(desired, Memory(), World({}), 30.0)
    assert world.gpu_verdicts[SlotName("a-0")].fit
    assert gpus.quiet == Quiet(NEXT_BOOT, {ONE: MUCH})


def test_who_has_ended_is_remembered_up_to_a_bound_and_for_as_long_as_a_process_of_it_shows() -> (
    None
):
    (spec,) = desire(slots("a", ONE)).slots

    def lived(number: int) -> Agent:
        name = ContainerId(f"{number:064x}")
        return replace(
            agent(spec), generation=Generation(f"g{number}"), container=name, door=True, exited=30.0
        )

    left = lived(0)
    shown = replace(
        reading(15.0),
        vitals={ONE: Vitals(0, 9, 0, (Process(7, 1, left.container, agent=left.generation),))},
    )
    gpus = Gpus().read(shown)
    for number in range(REMEMBERED + 100):
        one = lived(number)
        gpus, ours = gpus.whose(Memory({one.generation: one}))
    assert len(gpus.ours) == len(gpus.makers) == REMEMBERED
    assert left.container in ours.containers
    assert left.generation in ours.makers
    assert one.container in ours.containers
    assert lived(1).container not in ours.containers
