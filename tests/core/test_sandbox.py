"""A slot's kept network: made before its agents, joined by them, given up when it is of no use."""

from __future__ import annotations

from dataclasses import replace

from mayfly.core.actions import MakeSandbox, Prepare, RemoveSandbox
from mayfly.core.capabilities import Capabilities
from mayfly.core.facts import AgentExited, JobRequeued, SlotCooled, SlotHeld
from mayfly.core.memory import Memory
from mayfly.core.model import (
    ContainerId,
    Generation,
    HostId,
    JobId,
    JobState,
    PoolName,
    SlotName,
)
from mayfly.core.seal import is_ours, looked_at, seal
from tests.core.simulator import Fate, Holder, Host, Manager, desire, pool, specs

SLOT = "a-0"
KEPT = desire(specs(pool("a", sandbox="slot")))


def filled() -> Manager:
    manager = Manager(Host(), KEPT)
    manager.run()
    return manager


def the_holder(manager: Manager) -> Holder:
    (holder,) = manager.host.holders.values()
    return holder


def joined(manager: Manager) -> dict[str, ContainerId | None]:
    """In which sandbox each agent is, by its name."""
    return {box.name: box.sandbox for box in manager.host.boxes.values()}


def working(manager: Manager) -> JobId:
    """A job runs, and its slot's standby stands at its gate."""
    job = manager.submit("a")
    manager.run()
    assert manager.phases(SLOT) == ["busy", "armed"]
    return job


def ends(manager: Manager) -> None:
    """The job that runs has done its work."""
    manager.host.ends(manager.own(SLOT), 0)
    manager.run()


def test_it_is_made_first_and_whoever_comes_after_joins_it() -> None:
    manager = Manager(Host(), KEPT)
    assert [type(action) for action in manager.turn().actions] == [MakeSandbox]
    assert not manager.turn().actions, "one is made at a time, and no agent before it is there"
    (subject,) = manager.flight
    manager.finish(subject)
    (prepare,) = manager.turn().actions
    holder = the_holder(manager)
    assert isinstance(prepare, Prepare)
    assert prepare.sandbox == holder.id
    manager.run()
    first = joined(manager)
    assert first == {SLOT: holder.id}
    working(manager)
    both = set(manager.host.holders)
    assert len(both) == 2
    assert len(set(joined(manager).values())) == 2, "its standby is in another one"
    for _ in range(3):
        ends(manager)
        job = working(manager)
        assert set(manager.host.holders) == both, "they are used by turns"
    ends(manager)
    assert manager.ended(job).state is JobState.SUCCEEDED


def test_where_a_packet_has_left_it_the_next_agent_gets_a_new_one() -> None:
    manager = filled()
    used = the_holder(manager)
    working(manager)
    used.littered = True  # it is seen once its agent is gone
    ends(manager)
    manager.run()
    assert used.generation not in manager.host.holders
    working(manager)
    assert len(set(joined(manager).values())) == 2
    assert not any(isinstance(fact, SlotCooled) for fact in manager.journal), "nobody is to blame"


def test_without_a_standby_the_next_one_is_made_while_a_job_works() -> None:
    alone = desire(specs(pool("a", sandbox="slot", standby=False)))
    manager = Manager(Host(), alone)
    manager.run()
    used = the_holder(manager)
    manager.submit("a")
    manager.run()
    assert len(manager.host.holders) == 2
    used.littered = True
    manager.host.ends(manager.own(SLOT), 0)
    actions = [action for action in manager.turn().actions if isinstance(action, Prepare)]
    assert [action.sandbox for action in actions if action.sandbox != used.id] == [
        holder.id for holder in manager.host.holders.values() if holder != used
    ]
    manager.run()
    assert used.generation not in manager.host.holders


def test_an_engine_that_keeps_none_is_asked_for_none() -> None:
    (spec,) = KEPT.slots
    assert spec.sandboxed
    assert not replace(spec, engine=Capabilities(sandbox=False)).sandboxed
    (other,) = desire(specs(pool("a"))).slots
    assert not other.sandboxed


def test_one_that_cannot_be_made_is_told_as_an_agent_that_cannot() -> None:
    manager = Manager(Host(), KEPT)
    manager.turn()
    manager.finish("sandbox:a-0", Fate.FAILED)
    manager.turn()
    (cooled,) = (fact for fact in manager.journal if isinstance(fact, SlotCooled))
    assert (cooled.slot, cooled.failures) == (SLOT, 1)
    manager.host.now += 2.0
    manager.turn()
    manager.finish("sandbox:a-0", Fate.LASTING)
    manager.turn()
    assert [fact.slot for fact in manager.journal if isinstance(fact, SlotHeld)] == [SLOT]
    manager.pass_time(60.0)
    assert manager.phases(SLOT) == ["idle"], "it is tried again, and then all is well"


def test_whose_holder_is_killed_is_replaced_while_it_is_idle_and_left_alone_while_it_works() -> (
    None
):
    manager = filled()
    before, agent = the_holder(manager), manager.own(SLOT)
    manager.host.holders.clear()
    manager.run()
    assert manager.own(SLOT) != agent
    after = the_holder(manager)
    assert after.id != before.id

    job = working(manager)
    busy = manager.own(SLOT)
    manager.host.holders.clear()
    manager.run()
    assert manager.own(SLOT) == busy, "it may do without a network"
    standby = manager.tenancy(SLOT).standby
    assert standby is not None
    assert manager.host.boxes[standby.generation].sandbox == the_holder(manager).id
    ends(manager)
    assert manager.ended(job).state is JobState.SUCCEEDED


def test_where_something_was_left_no_gate_opens_and_the_job_goes_to_another_sandbox() -> None:
    manager = filled()
    littered, agent = the_holder(manager), manager.own(SLOT)
    littered.littered = True
    job = manager.submit("a")
    manager.pass_time(5.0)
    assert manager.memory.jobs[job].agent not in (None, agent)
    assert manager.host.runs[job] == [manager.own(SLOT)]
    assert littered.generation not in manager.host.holders
    (end,) = (fact for fact in manager.journal if isinstance(fact, AgentExited))
    assert end.generation == agent
    (again,) = (fact for fact in manager.journal if isinstance(fact, JobRequeued))
    assert not again.counted, "the job is not to blame"
    assert any(isinstance(fact, SlotCooled) for fact in manager.journal)
    ends(manager)
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert manager.memory.slot(SlotName(SLOT)).failures == 0


def test_it_goes_with_its_configuration_and_not_before_its_job() -> None:
    manager = filled()
    holder, job = the_holder(manager), working(manager)
    manager.desired = desire(specs(pool("a")))
    manager.run()
    assert the_holder(manager) == holder, "the job has its network"
    ends(manager)
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert not manager.host.holders
    manager.desired = KEPT
    manager.run()
    assert the_holder(manager).id != holder.id
    manager.desired = desire()
    manager.run()
    assert not manager.host.holders
    assert not manager.host.boxes


def test_another_manager_finds_it_and_uses_none_again_of_which_it_knows_nothing() -> None:
    manager = filled()
    holder = the_holder(manager)
    manager.crash(())
    manager.run()
    assert the_holder(manager) == holder
    job = working(manager)
    manager.crash(())
    ends(manager)
    assert manager.ended(job).state is JobState.SUCCEEDED
    assert holder.generation not in manager.host.holders, "what has left it meanwhile nobody saw"
    working(manager)

    fresh = Manager(Host(), KEPT)
    fresh.turn()
    fresh.crash(["sandbox:a-0"])  # it was made all the same
    made = the_holder(fresh)
    fresh.run()
    assert the_holder(fresh) != made
    assert joined(fresh) == {SLOT: the_holder(fresh).id}


def test_what_was_made_and_not_started_goes() -> None:
    manager = Manager(Host(), KEPT)
    manager.turn()
    manager.finish("sandbox:a-0", Fate.HALF)
    half = the_holder(manager)
    actions = manager.turn().actions
    assert any(isinstance(one, RemoveSandbox) and one.container == half.id for one in actions)
    manager.pass_time(5.0)
    assert the_holder(manager).id != half.id
    assert manager.phases(SLOT) == ["idle"]


def test_an_agents_labels_make_no_holder_and_a_holders_no_agent() -> None:
    host, key, generation = HostId("ours00000000"), "key", Generation("0abcdefghijkl")
    told = (key, host, PoolName("a"), SlotName(SLOT), generation, "f1", ())
    sealed = {holds: seal(*told, holds=holds) for holds in (False, True)}
    assert sealed[False] != sealed[True]
    seen = Holder(generation, SlotName(SLOT), PoolName("a"), "f1", 0.0).seen()
    for holds, own in sealed.items():
        for name in (seen.name, SLOT):
            one = seen.__class__(
                *(seen.id, name, seen.state, host, seen.pool, seen.slot, generation, "f1", "image"),
                created=0.0,
                seal=own,
                holds=True,
            )
            (looked,) = looked_at(key, [one])
            assert is_ours(looked, Memory()) is (holds and name == seen.name)


def test_a_drained_slot_keeps_none() -> None:
    manager = filled()
    working(manager)
    manager.cordon(SlotName(SLOT), drain=True)
    manager.run()
    assert len(manager.host.holders) == 1, "its job has its network"
    ends(manager)
    assert not manager.host.holders
    manager.uncordon(SlotName(SLOT))
    manager.run()
    assert manager.phases(SLOT) == ["idle"]
    assert len(manager.host.holders) == 1
