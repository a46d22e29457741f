"""A GPU of an agent that is gone unseen: no other slot's gate opens on it before its processes have ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.capabilities import Capabilities
from mayfly.core.model import STOP_GRACE, ContainerId, Death, Generation, JobId, SlotName
from mayfly.core.notice import DOUBT
from mayfly.core.slots import UNSEEN_MARGIN
from mayfly.core.unseen_ends import after_loss, after_opening, on_its_gpus, unseen_ends
from mayfly.service.status import statuses
from tests.core.simulator import Host, Manager, desire, pool, specs

FAR = Capabilities(renames=False, picks_gpu=False, on_this_host=False)
WAITS = "nobody has said that the last agent of a-0 has left its GPU"


def gone(had: tuple[str, ...], *, devices: int = 1) -> Manager:
    """A manager of two slots; the container of a-0's agent, which had a job and those GPUs, is gone, and its
    processes may run.
    """
    of = replace(pool("a", 2, standby=False), devices=devices)
    slots = tuple(replace(spec, engine=FAR) for spec in specs(of))
    manager = Manager(Host(), desire(slots))
    manager.run()
    manager.submit("a")
    manager.run()
    busy = next(one for one in manager.memory.agents.values() if one.opened is not None)
    assert busy.slot == "a-0"
    manager.host.boxes[busy.generation].devices = had
    manager.run()
    del manager.host.boxes[busy.generation]
    return manager


def made_anew(manager: Manager, given: tuple[str, ...]) -> Generation:
    """The agent of a-1, which is another one, and was given those GPUs."""
    before = manager.own("a-1")
    del manager.host.boxes[before]
    for _ in range(20):
        manager.run()
        found = manager.tenancy("a-1").own
        if found is not None and found.generation != before and found.ready is not None:
            break
        manager.pass_time(0.5)
    after = manager.own("a-1")
    assert after != before
    manager.host.boxes[after].devices = given
    manager.run()
    return after


def runs(manager: Manager, job: JobId) -> Generation | None:
    manager.run()
    return manager.memory.jobs[job].agent


def note(manager: Manager) -> str:
    rows = statuses(manager.desired, manager.memory, manager.host.now)
    return next(row.note for row in rows if row.spec.name == SlotName("a-1"))


@pytest.mark.parametrize(
    ("had", "given"),
    [
        (("GPU-0",), ("GPU-0",)),
        ((), ("GPU-0",)),
        (("GPU-0",), ()),
        (("GPU-0", "GPU-1"), ("GPU-1",)),
        (("GPU-0",), ("gpu.nvidia.com/node-1/gpu-3",)),
        (("gpu.nvidia.com/node-1/gpu-3",), ("GPU-0",)),
        (("gpu.nvidia.com/node-1/gpu-3",), ("gpu.nvidia.com/node-1/gpu-3-mig-1g.10gb-19-0",)),
        (("GPU-0",), ("MIG-0",)),
        (("GPU-0::1",), ("GPU-0::2",)),
        (("nvidia0",), ("nvidia0/gi1",)),
    ],
    ids=[
        *("the same", "what it had is not known", "what it has is not known", "one of two"),
        *("by UUID and by its driver", "by its driver and by UUID", "a part of it by its driver"),
        *("a part of it by UUID", "another turn of it", "another plugin's"),
    ],
)
def test_no_other_slot_works_on_a_gpu_that_processes_may_be_on(
    had: tuple[str, ...], given: tuple[str, ...]
) -> None:
    manager = gone(had)
    other = made_anew(manager, given)
    job = manager.submit("a")
    assert runs(manager, job) is None
    manager.pass_time(DOUBT + 1.0)
    assert runs(manager, job) is None
    assert WAITS in note(manager)
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN + 1.0)
    assert runs(manager, job) is not None
    assert other in manager.memory.agents


def test_a_host_that_was_lost_has_its_time_from_when_it_is_back() -> None:
    """However long ago that was; after the first agent there nobody waits."""
    manager = gone(("GPU-0",))
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN + 600.0)
    other = made_anew(manager, ("GPU-0",))
    first, second = manager.submit("a"), manager.submit("a")
    assert runs(manager, first) == manager.own("a-0")
    assert runs(manager, second) is None
    assert WAITS in note(manager)
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN + 1.0)
    assert runs(manager, second) == other
    assert manager.memory.slots[SlotName("a-0")].unseen_end is None


def test_a_slots_own_agent_too_waits_for_a_host_that_was_lost() -> None:
    manager = gone(("GPU-0",))
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN + 600.0)
    manager.host.boxes[manager.own("a-1")].devices = ("GPU-1",)
    before = manager.own("a-0")
    manager.host.boxes[before].devices = ("GPU-0",)
    spec = next(one for one in manager.desired.slots if one.name == "a-0")
    manager.run()
    ends = unseen_ends(manager.desired, manager.memory, manager.host.now)
    agent = replace(manager.memory.agents[before], ready=manager.host.now)
    assert on_its_gpus(ends, spec, agent, manager.host.now) is not None
    later = manager.host.now + STOP_GRACE + UNSEEN_MARGIN + 1.0
    assert on_its_gpus(ends, spec, agent, later) is None


@pytest.mark.parametrize("second", [("GPU-1",), ()], ids=["another GPU", "it is not known"])
def test_a_second_loss_in_a_slot_forgets_nothing_of_the_first(second: tuple[str, ...]) -> None:
    """Two hosts may be lost; the one of the first agent comes back last."""
    manager = gone(("GPU-0",))
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN + 600.0)
    again = manager.own("a-0")
    manager.host.boxes[again].devices = second
    manager.run()
    assert runs(manager, manager.submit("a")) == again
    del manager.host.boxes[again]
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN + 600.0)
    other = made_anew(manager, ("GPU-0",))
    manager.host.boxes[manager.own("a-0")].devices = ("GPU-2",)
    manager.run()
    one, two = manager.submit("a"), manager.submit("a")
    assert other not in (runs(manager, one), runs(manager, two))
    manager.pass_time(STOP_GRACE + UNSEEN_MARGIN + 1.0)
    assert other in (runs(manager, one), runs(manager, two))


def test_what_was_not_known_of_a_first_loss_is_waited_for_after_a_second_too() -> None:
    """For as long as a second one is; and it keeps nobody for ever."""
    manager = gone(())
    made_anew(manager, ("GPU-2",))
    now, mine = manager.host.now, SlotName("a-0")
    known = replace(manager.memory.slots[mine], unseen_end=now)
    assert after_loss(known, ()) == ()
    assert after_loss(replace(known, unseen_end=None), ("GPU-1",)) == ("GPU-1",)
    slots = {mine: replace(known, unseen_devices=after_loss(known, ("GPU-1",)))}
    spec = next(one for one in manager.desired.slots if one.name == "a-1")
    agent = replace(manager.memory.agents[manager.own("a-1")], ready=now)
    ends = unseen_ends(manager.desired, replace(manager.memory, slots=slots), now)
    assert on_its_gpus(ends, spec, agent, now) is not None
    left = after_opening(slots, replace(agent, devices=("GPU-1",)))[mine]
    memory = replace(manager.memory, slots={mine: replace(known, unseen_devices=left)})
    assert unseen_ends(manager.desired, memory, now)
    over = now + STOP_GRACE + UNSEEN_MARGIN + 1.0
    assert not unseen_ends(manager.desired, memory, over)


@pytest.mark.parametrize(
    ("had", "given"),
    [
        ("GPU-0", "GPU-1"),
        ("MIG-0", "MIG-1"),
        ("GPU-0::1", "GPU-1::1"),
        ("gpu.nvidia.com/node-1/gpu-0", "gpu.nvidia.com/node-2/gpu-0"),
    ],
)
def test_an_agent_on_another_gpu_waits_for_nobody(had: str, given: str) -> None:
    manager = gone((had,))
    other = made_anew(manager, (given,))
    assert runs(manager, manager.submit("a")) == other
    assert WAITS not in note(manager)


def test_before_there_is_an_account_of_that_end_it_is_waited_for_already() -> None:
    manager = gone(("GPU-0",))
    manager.host.boxes[manager.own("a-1")].devices = ("GPU-0",)
    manager.turn()
    assert runs(manager, manager.submit("a")) is None


def test_who_died_without_a_code_may_be_at_work_before_a_look_shows_it_gone() -> None:
    manager = gone(("GPU-0",))
    world, now = manager.state.observed.world, manager.host.now
    (busy,) = (one for one in manager.memory.agents.values() if one.opened is not None)
    assert busy.generation in (world.containers or {}), "no look has been since"

    def may_be_on(**changes: Any) -> list[tuple[str, ...]]:
        ends = unseen_ends(manager.desired, manager.memory, now, replace(world, **changes))
        return [one.devices for one in ends]

    died = {code: {busy.generation: Death(ContainerId("c"), code, now)} for code in (None, 137)}
    assert may_be_on() == []
    assert may_be_on(deaths=died[137]) == []
    assert may_be_on(deaths=died[None]) == [("GPU-0",)]
    assert may_be_on(deaths=died[None], ended=frozenset({busy.generation})) == []


def test_an_agent_that_stood_at_its_gate_long_before_has_gpus_of_its_own() -> None:
    of = replace(pool("a", 2, standby=False), devices=1)
    manager = Manager(Host(), desire(tuple(replace(spec, engine=FAR) for spec in specs(of))))
    manager.run()
    manager.submit("a")
    manager.run()
    manager.pass_time(300.0)
    manager.run()
    busy = next(one for one in manager.memory.agents.values() if one.opened is not None)
    del manager.host.boxes[busy.generation]
    assert runs(manager, manager.submit("a")) == manager.own("a-1")


def test_a_pool_without_gpus_waits_for_nobody_of_another_slot() -> None:
    manager = gone((), devices=0)
    assert runs(manager, manager.submit("a")) == manager.own("a-1")
