"""What agents have made: when a door is shut, what keeps a gate shut, what is cleared, and what is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.actions import Clear, Forget, Open, TakeResults
from mayfly.core.belongings import Clearings, gateway_conditions, to_be_shut
from mayfly.core.facts import AgentCleared, AgentExited
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Closing,
    Condition,
    Config,
    Generation,
    HostId,
    HostSpec,
    PoolName,
    Removal,
    Severity,
    SlotName,
    World,
)
from mayfly.core.observed import Observed
from mayfly.core.slots import status_of
from mayfly.core.stimuli import Failure, Family
from mayfly.engines.docker.lines import LINES
from tests.core.simulator import Fate, Host, Manager, desire, pool, specs

GPUS = (("G0",), ("G1",))
WHY = Failure(Family.PASSING, "removing network mf-x-bridge: it has active endpoints")


def manager(*, slots: int = 1, leased: bool = False, sandbox: bool = False) -> Manager:
    of = pool("a", slots, containers=True, sandbox="slot" if sandbox else "job")
    known = Manager(Host(), desire(specs(of, leases=GPUS[:slots] if leased else ())))
    known.run()
    return known


def begins_a_job(known: Manager) -> Generation:
    """The agent that runs it."""
    before = set(known.gates)
    known.submit("a")
    known.run()
    (generation,) = known.gates.keys() - before
    return generation


def opens(known: Manager) -> list[Generation]:
    return [one.generation for one in known.flight.values() if isinstance(one, Open)]


def clears(known: Manager) -> list[str]:
    return [name for name, one in known.flight.items() if isinstance(one, Clear)]


@pytest.mark.parametrize("sandbox", [False, True])
def test_no_gate_opens_before_what_the_last_job_made_is_gone(sandbox: bool) -> None:
    known = manager(sandbox=sandbox)
    agent = begins_a_job(known)
    known.host.makes(agent)
    known.submit("a")
    known.host.ends(agent, 0)
    known.turn()
    assert known.memory.agents[agent].owes
    (clear,) = clears(known)
    for _ in range(3):
        for subject in [name for name in known.flight if name != clear]:
            known.finish(subject)
        known.turn()
        assert not opens(known)
    known.finish(clear)
    known.turn()
    assert opens(known)
    assert any(isinstance(fact, AgentCleared) for fact in known.journal)


def test_an_agent_that_made_nothing_costs_no_call_and_no_fact_more() -> None:
    told = []
    for containers in (False, True):
        known = Manager(Host(), desire(specs(pool("a", containers=containers))))
        known.run()
        agent = begins_a_job(known)
        known.submit("a")
        before = len(known.journal)
        known.host.ends(agent, 0)
        known.turn()
        assert opens(known), "in the step that records the end"
        known.run()
        told.append([type(fact).__name__ for fact in known.journal[before:]])
    assert told[0] == told[1]


def test_nobody_is_told_of_an_end_before_the_door_is_shut() -> None:
    known = manager()
    agent = begins_a_job(known)
    known.host.shuts = False
    known.host.ends(agent, 0)
    known.turn()
    assert not known.memory.agents[agent].settled
    known.host.shuts = True
    known.turn()
    assert known.memory.agents[agent].settled


def test_a_door_is_shut_at_the_kernels_word_and_never_while_its_agent_is_being_made() -> None:
    known = manager()
    agent = known.memory.agents[begins_a_job(known)]
    generation = agent.generation
    live = known.host.boxes[generation].seen()
    there = World({generation: live})
    assert to_be_shut([agent], there, ()) == []
    assert to_be_shut([agent], replace(there, ended=frozenset({generation})), ()) == [generation]
    assert to_be_shut([agent], World({}), ()) == [generation]
    assert to_be_shut([agent], World({}), (generation,)) == []
    assert to_be_shut([agent], World(None), ()) == []
    shut = replace(World({}), closed={generation: Closing()})
    assert to_be_shut([agent], shut, ()) == []
    assert to_be_shut([replace(agent, door=False)], World({}), ()) == []


def test_what_it_made_goes_with_a_manager_that_died_in_between() -> None:
    known = manager()
    agent = begins_a_job(known)
    known.host.makes(agent)
    known.host.ends(agent, 0)
    known.crash(())
    known.run()
    assert agent not in known.host.belongings
    assert agent not in known.memory.agents
    known.host.makes(begins_a_job(known))
    agent = next(iter(known.host.belongings))
    known.host.ends(agent, 0)
    known.turn()
    known.crash(clears(known))
    known.run()
    assert not known.host.belongings
    accounts = [one for one in known.journal if isinstance(one, AgentExited)]
    assert [one.made for one in accounts if one.generation == agent] == [True]


def test_no_other_slot_gets_the_gpu_that_something_made_may_be_on() -> None:
    known = manager(slots=2, leased=True)
    agent = begins_a_job(known)
    slot = known.memory.agents[agent].slot
    known.host.makes(agent)
    known.host.ends(agent, 0)
    known.turn()
    # The GPUs change places.
    known.desired = desire(specs(pool("a", 2, containers=True), leases=GPUS[::-1]))
    known.submit("a")
    known.submit("a")
    (clear,) = clears(known)
    for _ in range(6):
        for subject in [name for name in known.flight if name != clear]:
            known.finish(subject)
        known.turn()
    used = {gpu for box in known.host.boxes.values() if box.running for gpu in box.lease}
    lost = set(known.memory.agents[agent].lease)
    assert not used & lost
    known.finish(clear)
    known.run()
    running = [box for box in known.host.boxes.values() if box.running]
    assert {gpu for box in running for gpu in box.lease} == {"G0", "G1"}
    assert slot in {box.slot for box in running}


def test_results_are_taken_once_nothing_can_change_them() -> None:
    of = pool("a", containers=True)
    known = Manager(Host(), desire(specs(of, removal=Removal.MANAGER)))
    known.run()
    known.submit("a", out=("results",))
    known.run()
    (agent,) = known.gates
    known.host.makes(agent)
    known.host.ends(agent, 0)
    known.turn()
    (clear,) = clears(known)
    assert not any(isinstance(one, TakeResults) for one in known.flight.values())
    known.finish(clear)
    known.turn()
    assert any(isinstance(one, TakeResults) for one in known.flight.values())
    known.run()


def test_what_is_not_cleared_is_tried_again_and_told() -> None:
    known = manager()
    agent = begins_a_job(known)
    known.host.makes(agent)
    known.host.ends(agent, 0)
    for _ in range(3):
        known.turn()
        for subject in list(known.flight):
            failed = isinstance(known.flight[subject], Clear)
            known.finish(subject, Fate.FAILED if failed else Fate.DONE)
        known.host.now += 40.0
    known.turn()
    tenancy = known.tenancy("a-0")
    (spec,) = known.desired.slots
    row = status_of(spec, known.desired, known.memory, tenancy, known.now)
    assert row.note == "waits until what the last job's containers left is removed"
    (told,) = known.state.clearings.conditions(LINES)
    assert told.code == "belongings.left"
    assert told.slots == ("a-0",)
    assert f"io.mayfly.belongs={agent}" in told.fix
    assert agent in known.memory.agents
    assert not any(isinstance(one, Forget) for one in known.flight.values())
    known.pass_time(60.0)
    assert not known.state.clearings.conditions(LINES)
    assert agent not in known.memory.agents


def test_a_condition_names_what_stays_once_it_was_tried_twice() -> None:
    one = Clear(Generation("g" * 13), SlotName("a-0"), "its agent has ended")
    clearings, soon = Clearings().failed(one, WHY)
    assert not clearings.conditions(LINES)
    clearings, later = clearings.failed(one, WHY)
    assert later > soon
    (told,) = clearings.conditions(LINES)
    assert "active endpoints" in told.text
    assert not clearings.done(one.generation).conditions(LINES)


def test_what_an_agent_made_that_nobody_remembers_is_cleared_and_keeps_its_slot_shut() -> None:
    known = manager(slots=2)
    lost = Generation("mywpiww03hg4s")
    known.host.shut.add(lost)
    observed = known.state.observed.unowned_seen({lost: SlotName("a-0")}, known.memory)
    known.state = replace(known.state, observed=observed)
    known.submit("a")
    known.submit("a")
    known.turn()
    (clear,) = clears(known)
    assert {known.memory.agents[name].slot for name in opens(known)} == {"a-1"}
    known.finish(clear)
    known.turn()
    assert {known.memory.agents[name].slot for name in opens(known)} >= {"a-0"}
    assert not known.state.observed.world.unowned


def test_what_a_forgotten_agent_of_a_slot_that_is_gone_has_made_keeps_every_slot_with_gpus_shut() -> (
    None
):
    of = replace(pool("g", 1), gpus=1)
    known = Manager(Host(), desire(specs(of, leases=(("GPU-0",),)), specs(pool("c"))))
    known.run()
    lost = Generation("mywpiww03hg4s")
    known.host.shut.add(lost)
    observed = known.state.observed.unowned_seen({lost: SlotName("gone-0")}, known.memory)
    known.state = replace(known.state, observed=observed)
    known.submit("g")
    known.submit("c")
    known.turn()
    (clear,) = clears(known)
    assert {known.memory.agents[name].slot for name in opens(known)} == {"c-0"}
    known.finish(clear)
    known.turn()
    assert {known.memory.agents[name].slot for name in opens(known)} == {"c-0", "g-0"}


def test_what_was_forgotten_since_a_survey_began_keeps_no_slot_shut() -> None:
    observed = manager().state.observed
    lost, found = Generation("mywpiww03hg4s"), {Generation("mywpiww03hg4s"): SlotName("a-0")}
    at_start = observed.unowned_seen(found, Memory())
    assert lost in at_start.world.unowned, "at the start nothing was forgotten yet"
    later = observed.unowned_seen({}, Memory()).unowned_seen(found, Memory())
    assert not later.world.unowned
    assert lost in later.unowned_seen(found, Memory()).world.unowned


def test_a_container_without_a_record_is_taken_for_one_that_may_have_made_something() -> None:
    known = manager()
    agent = begins_a_job(known)
    known.host.makes(agent)
    known.remember(Memory())
    known.journal.clear()
    known.turn()
    assert known.memory.agents[agent].door
    known.host.ends(agent, 0)
    known.run()
    assert agent not in known.host.belongings


def test_gates_wait_for_a_gateway_where_jobs_may_have_containers_and_only_there() -> None:
    known = Manager(Host(), desire(specs(pool("a", containers=True)), specs(pool("b"))))
    known.run()
    known.host.gateway = "the gateway does not run"
    known.submit("a")
    known.submit("b")
    known.turn()
    assert {known.memory.agents[name].pool for name in opens(known)} == {"b"}
    config = Config(HostSpec("box"), (pool("a", containers=True), pool("b")))
    (told,) = gateway_conditions(config, known.state.observed.world, known.memory)
    assert told.code == "gateway.away"
    assert "pool a " in told.text
    known.host.gateway = ""
    known.turn()
    assert "a" in {known.memory.agents[name].pool for name in opens(known)}
    assert not gateway_conditions(config, known.state.observed.world, known.memory)


def test_what_a_gateway_sees_is_told_while_it_serves_of_pools_that_are_there() -> None:
    config = Config(HostSpec("box"), (pool("a", containers=True), pool("b")))
    of_host = Condition("x.y", Severity.ERROR, "no addresses", "# do")
    of_a, of_b = (replace(of_host, pool=PoolName(name)) for name in "ab")
    seen = Observed(HostId("box")).gateway_seen("", (of_host, of_a, of_b))
    assert gateway_conditions(config, seen.world, Memory()) == [of_host, of_a]
    assert seen.gateway_seen("", (of_host, of_a, of_b)) is seen
    (away,) = gateway_conditions(config, seen.gateway_seen("it is away", ()).world, Memory())
    assert away.code == "gateway.away"
    nowhere = Config(HostSpec("box"), (pool("a"),))
    assert gateway_conditions(nowhere, seen.world, Memory()) == []


def test_a_refusal_is_part_of_the_account_of_an_end() -> None:
    known = manager()
    agent = begins_a_job(known)
    closing = Closing(made=False, refusals=("privileged containers are not to be had",), refused=3)
    known.host.closes = lambda _: closing  # type: ignore[method-assign, assignment]
    known.host.ends(agent, 0)
    known.turn()
    (account,) = [one for one in known.journal if isinstance(one, AgentExited)]
    assert (account.refusals, account.refused) == (closing.refusals, 3)
    assert not known.memory.agents[agent].owes
