"""Conditions: one for each cause, gone with it, and of every kind of trouble that a slot can be in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.conditions import (
    FAILING,
    FAILURES,
    UNKILLED,
    WELL,
    queue_conditions,
    slot_conditions,
    spanned,
)
from mayfly.core.memory import Agent, Doom, Job, Memory, SlotMemory
from mayfly.core.model import (
    Container,
    ContainerId,
    ContainerState,
    Desired,
    DoomReason,
    EngineLines,
    Generation,
    Hold,
    HostId,
    JobId,
    PoolName,
    Severity,
    SlotName,
    StopStep,
    World,
)
from mayfly.core.slots import VACANCY, SlotStatus, Tenancy, status_of
from tests.core.simulator import pool, specs

T = 1000.0
SEEN = World({})
LINES = EngineLines(unpause="thaw {name}")


def rows(desired: Desired, memory: Memory, *agents: Agent) -> list[SlotStatus]:
    tenancies = {agent.slot: Tenancy((agent,)) for agent in agents}
    return [
        status_of(spec, desired, memory, tenancies.get(spec.name, VACANCY), T)
        for spec in desired.slots
    ]


def test_many_slots_with_one_cause_are_one_condition_and_another_cause_is_another() -> None:
    slots = (*specs(pool("a", 5)), *specs(pool("b", 2)))
    obstacles = {spec.name: "the image is missing" for spec in slots}
    obstacles[SlotName("a-4")] = "the dataset is missing"
    found = slot_conditions(rows(Desired(slots, obstacles), Memory()), SEEN, T, LINES)
    assert [(one.code, one.severity, one.pool, one.slots) for one in found] == [
        ("slot.held", Severity.ERROR, "a", ("a-0", "a-1", "a-2", "a-3")),
        ("slot.held", Severity.ERROR, "a", ("a-4",)),
        ("slot.held", Severity.ERROR, "b", ("b-0", "b-1")),
    ]
    assert found[0].text == "4 slots of pool a (a-0 to a-3) are held: the image is missing"
    assert found[1].text == "slot a-4 is held: the dataset is missing"
    assert slot_conditions(rows(Desired(slots), Memory()), SEEN, T, LINES) == []


def test_a_line_to_type_that_the_cause_names_is_the_fix() -> None:
    (spec,) = specs(pool("a"))
    for note, fix in (
        ("image x:1 is not on this Engine: `mayfly images pull`", "mayfly images pull"),
        ("lab is not there: `try make lab`, or change `network`", "try make lab"),
        ("data is gone: make it with `sudo mkdir -p /data`", "sudo mkdir -p /data"),
        ("data is no directory: make it, or change `source`", "mayfly describe a-0"),
    ):
        shown = rows(Desired((spec,), {spec.name: note}), Memory())
        (one,) = slot_conditions(shown, SEEN, T, replace(LINES, inspect="try look {name}"))
        assert one.fix == fix


def test_a_cause_that_names_an_agent_s_own_directory_is_one_for_all() -> None:
    def known(name: SlotName) -> SlotMemory:
        place = f"/state/agents/mx18i5vf8qx{name[-1]}y"
        return SlotMemory(held=f"creating container {name}: there is no {place}; see to it")

    desired = Desired(specs(pool("a", 3)))
    held = {spec.name: known(spec.name) for spec in desired.slots}
    (one,) = slot_conditions(rows(desired, Memory(slots=held)), SEEN, T, LINES)
    assert one.text.endswith(": creating container a-N: there is no /state/agents/…; see to it")


@pytest.mark.parametrize("slots", [3, 20])
def test_a_cause_that_names_its_slot_is_one_for_all(slots: int) -> None:
    def known(name: SlotName) -> SlotMemory:
        return SlotMemory(
            held=f"creating container {name}.g00000000000{name[-1]}: /data is not there"
        )

    held = {spec.name: known(spec.name) for spec in specs(pool("a", slots))}
    (one,) = slot_conditions(
        rows(Desired(specs(pool("a", slots))), Memory(slots=held)), SEEN, T, LINES
    )
    assert one.text.endswith("are held: creating container a-N: /data is not there")
    named = " ".join(f"a-{number}" for number in range(slots))
    assert one.fix == f"mayfly retry {named if slots == 3 else '--all'}"


@pytest.mark.parametrize(("failures", "told"), [(FAILURES - 1, 0), (FAILURES, 1)])
def test_a_slot_that_keeps_losing_its_agents_is_told_whatever_its_phase(
    failures: int, told: int
) -> None:
    desired = Desired(specs(pool("a")))
    for until in (T + 60, T - 1):  # cooling, and trying again
        known = SlotMemory(failures=failures, cooling_until=until, reason="it ended at its gate")
        found = slot_conditions(
            rows(desired, Memory(slots={SlotName("a-0"): known})), SEEN, T, LINES
        )
        assert [one.code for one in found] == ["slot.cooling"] * told
        assert all("it ended at its gate" in one.text for one in found)


def test_a_slot_whose_next_agent_is_refused_is_told_while_its_own_goes_on() -> None:
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), T - 10),
        ready=T - 5,
        committed=T - 4,
        opened=T - 4,
    )
    held = {SlotName("a-0"): SlotMemory(held="no such image", hold=Hold.MAKING)}
    memory = Memory({agent.generation: agent}, held)
    (one,) = slot_conditions(rows(Desired(specs(pool("a"))), memory, agent), SEEN, T, LINES)
    assert (one.code, one.severity) == ("slot.held", Severity.ERROR)
    assert one.text == "slot a-0 gets no next agent: no such image"


@pytest.mark.parametrize(
    ("failures", "since", "told"),
    [(2, T - FAILING, 1), (2, T - FAILING + 1, 0), (1, T - 9000.0, 0), (2, None, 0)],
)
def test_a_slot_that_has_lost_its_agents_for_long_is_told_however_seldom(
    failures: int, since: float | None, told: int
) -> None:
    known = SlotMemory(
        failures=failures, cooling_until=T + 60, reason="it died", failing_since=since
    )
    shown = rows(Desired(specs(pool("a"))), Memory(slots={SlotName("a-0"): known}))
    assert [one.code for one in slot_conditions(shown, SEEN, T, LINES)] == ["slot.cooling"] * told


@pytest.mark.parametrize(("idle", "told"), [(WELL - 1, 1), (WELL + 1, 0)])
def test_a_slot_whose_agent_is_well_for_a_while_has_no_trouble_any_more(
    idle: float, told: int
) -> None:
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), T - 100),
        ready=T - idle,
    )
    known = SlotMemory(failures=FAILURES, reason="it died", failing_since=T - 9000.0)
    memory = Memory({agent.generation: agent}, {agent.slot: known})
    shown = rows(Desired(specs(pool("a"))), memory, agent)
    assert [one.code for one in slot_conditions(shown, SEEN, T, LINES)] == ["slot.cooling"] * told


def test_a_container_that_somebody_paused_is_told() -> None:
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), T - 10),
        ready=T - 5,
    )
    container = Container(
        *(ContainerId("c"), "a-0", ContainerState.PAUSED, HostId("h"), agent.pool, agent.slot),
        *(agent.generation, "f1", "i", T - 10),
    )
    shown = rows(Desired(specs(pool("a"))), Memory({agent.generation: agent}), agent)
    (one,) = slot_conditions(shown, World({agent.generation: container}), T, LINES)
    assert (one.code, one.fix) == ("slot.paused", "thaw a-0")
    renamed = replace(container, name="a-0.g1")  # another container may have the slot's name
    (one,) = slot_conditions(shown, World({agent.generation: renamed}), T, LINES)
    assert one.fix == "thaw a-0.g1"
    running = replace(container, state=ContainerState.RUNNING)
    assert slot_conditions(shown, World({agent.generation: running}), T, LINES) == []


def test_an_agent_that_mayfly_has_frozen_prints_too_much_and_was_not_paused() -> None:
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), T - 10),
        opened=T - 5,
        throttled=T - 1,
    )
    container = Container(
        *(ContainerId("c"), "a-0", ContainerState.PAUSED, HostId("h"), agent.pool, agent.slot),
        *(agent.generation, "f1", "i", T - 10),
    )
    (row,) = rows(Desired(specs(pool("a"))), Memory({agent.generation: agent}), agent)
    (one,) = slot_conditions([row], World({agent.generation: container}), T, LINES)
    assert (one.code, one.fix) == ("slot.throttled", "mayfly logs a-0")
    assert row.note == "throttled: it prints too much"
    calm = replace(row, agent=replace(agent, throttled=None))
    running = replace(container, state=ContainerState.RUNNING)
    assert slot_conditions([calm], World({agent.generation: running}), T, LINES) == []


@pytest.mark.parametrize("limit", [None, 1000])
def test_an_agent_whose_disk_cannot_be_watched_is_told_where_that_has_a_limit(
    limit: int | None,
) -> None:
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), T - 10), opened=T - 5
    )
    shown = rows(Desired(specs(pool("a", disk=limit))), Memory({agent.generation: agent}), agent)
    found = slot_conditions(shown, World({}, unmeasured=frozenset({agent.generation})), T, LINES)
    assert [one.code for one in found] == ["slot.unmeasured"] * (limit is not None)
    assert slot_conditions(shown, World({}), T, LINES) == []


@pytest.mark.parametrize(
    ("ago", "state", "told"),
    [
        (10.0 + UNKILLED, ContainerState.RUNNING, False),  # its ladder took ten
        (11.0 + UNKILLED, ContainerState.RUNNING, True),
        (11.0 + UNKILLED, ContainerState.EXITED, False),
        (11.0 + UNKILLED, None, False),
    ],
)
def test_an_agent_that_does_not_die_is_told(
    ago: float, state: ContainerState | None, told: bool
) -> None:
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), T - 999),
        embedded=True,
        opened=T - 900,
        doom=Doom(DoomReason.CANCELLED, T - ago),
    )
    container = Container(
        *(ContainerId("c"), "a-0", state or ContainerState.RUNNING, HostId("h"), agent.pool),
        *(agent.slot, agent.generation, "f1", "i", T - 10),
    )
    spec = replace(specs(pool("a"))[0], ladder=(StopStep("TERM", 10.0),))
    shown = rows(Desired((spec,)), Memory({agent.generation: agent}), agent)
    world = World({agent.generation: container} if state is not None else {})
    codes = [one.code for one in slot_conditions(shown, world, T, LINES)]
    assert codes == ["slot.unkillable"] * told


def test_jobs_of_a_pool_that_is_gone_are_told_until_they_are() -> None:
    jobs = {JobId(name): Job(JobId(name), PoolName("old"), 1, T) for name in ("j1", "j2")}
    shown = rows(Desired(specs(pool("a"))), Memory())
    (one,) = queue_conditions(shown, Memory(jobs=jobs))
    assert (one.code, one.severity, one.pool) == ("queue.no_slot", Severity.ERROR, "old")
    assert one.text.startswith("2 queued jobs of pool old will never run")
    assert queue_conditions(shown, Memory()) == []


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        (("a-0", "a-1", "a-2"), "a-0 to a-2"),
        (("a-0", "a-2", "a-3"), "a-0 and 2 more"),
        (("a-x", "b"), "a-x and 1 more"),
    ],
)
def test_slots_are_named_in_short(slots: tuple[str, ...], text: str) -> None:
    assert spanned([SlotName(name) for name in slots]) == text


WAITS = "node-1 pulls mayfly/local:cpu (ContainerCreating)"


@pytest.mark.parametrize(("age", "told"), [(59.0, []), (61.0, ["slot.starting"])])
def test_an_agent_that_waits_long_for_its_image_is_told_in_its_engines_words(
    age: float, told: list[str]
) -> None:
    agent = Agent(*(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), T - age))
    container = Container(
        *(ContainerId("c"), "a-0.g1", ContainerState.CREATED, HostId("h"), agent.pool, agent.slot),
        *(agent.generation, "f1", "i", T - age),
        waits=WAITS,
    )
    shown = rows(Desired(specs(pool("a"))), Memory({agent.generation: agent}), agent)
    found = slot_conditions(shown, World({agent.generation: container}), T, LINES)
    assert [one.code for one in found] == told
    assert all(one.text == f"the agent of slot a-0 does not run yet: {WAITS}" for one in found)
    running = replace(container, state=ContainerState.RUNNING, waits="")
    assert slot_conditions(shown, World({agent.generation: running}), T, LINES) == []
