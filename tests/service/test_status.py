"""The published document: slots of the configuration, and those that it has no more."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.memory import Agent, Memory, SlotMemory
from mayfly.core.model import (
    Condition,
    Config,
    Container,
    ContainerId,
    ContainerState,
    Desired,
    EngineLines,
    Generation,
    HostId,
    HostSpec,
    JobId,
    PoolName,
    Severity,
    SlotName,
    World,
)
from mayfly.edge.log import Log
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.service import status
from mayfly.service.board import StatusBoard
from mayfly.service.metrics import Metrics
from mayfly.service.report import Ground, Report, own_health
from tests.core.simulator import Holder, pool, specs

T = 1_800_000_000.0
READY = Agent(
    generation=Generation("g1"),
    slot=SlotName("a-0"),
    pool=PoolName("a"),
    serial=1,
    fingerprint="f1",
    image="sha256:0123456789abcdef",
    lease=(),
    born=T,
    armed=T + 1,
    ready=T + 2,
)
BUSY = replace(
    READY,
    generation=Generation("g2"),
    slot=SlotName("a-1"),
    committed=T + 3,
    opened=T + 4,
    job=JobId("j"),
)
ONE = Desired(specs(pool("a")))
NONE = Desired(())


def rows(desired: Desired, *agents: Agent) -> list[dict[str, object]]:
    memory = Memory({agent.generation: agent for agent in agents})
    told = status.statuses(desired, memory, T + 10)
    line = status.headline(told, memory, World({}))
    document = status.document(HostSpec("box"), told, memory, World({}), line, ())
    shown = document["slots"]
    assert isinstance(shown, list)
    return [*shown, {"headline": line}]


def test_a_slot_that_the_configuration_lost_is_shown_while_something_of_it_is_left() -> None:
    first, second, line = rows(ONE, READY, BUSY)
    assert (first["slot"], first["phase"], first["note"]) == ("a-0", "idle", "")
    assert (second["slot"], second["phase"], second["agent"]) == ("a-1", "busy", "g2")
    assert second["note"] == "not configured any more: goes when its job has ended"
    assert second["provider"] == "local"
    assert line["headline"] == "1 slot: 1 idle; 1 more no longer configured"


def test_so_is_one_whose_agent_is_over_and_not_yet_buried() -> None:
    over, _ = rows(NONE, replace(BUSY, exited=T + 9, container=ContainerId("c" * 64)))
    assert (over["phase"], over["agent"], over["container"]) == ("ending", None, "c" * 12)
    assert over["note"] == "not configured any more"


def test_of_a_service_that_the_configuration_lost_nothing_is_made_up() -> None:
    (former, _) = rows(NONE, replace(READY, embedded=False))
    assert (former["provider"], former["image"]) == ("unknown", "sha256:0123456789ab")


@pytest.mark.parametrize(
    ("ready", "name", "waited", "told"),
    [
        (READY, "a-0", 60, []),
        (READY, "a-0.g1", 5, []),
        (READY, "a-0.g1", 60, ["a-0.g1"]),
        (replace(READY, embedded=False, enrolled=T + 2), "a-0.g1", 60, ["a-0.g1"]),
        # It waits for its service, and then it gets its name.
        (replace(READY, embedded=False), "a-0.g1", 60, []),
    ],
)
def test_a_slot_whose_name_somebody_else_has_is_told(
    ready: Agent, name: str, waited: float, told: list[str]
) -> None:
    memory, now = Memory({READY.generation: ready}), T + 2 + waited
    container = Container(
        *(ContainerId("c1"), name, ContainerState.RUNNING, HostId("h"), READY.pool, READY.slot),
        *(READY.generation, "f1", READY.image, T),
    )
    world = World({READY.generation: container})
    lines = status.health_of(status.statuses(ONE, memory, now), memory, world, now, EngineLines())
    assert [line.code for line in lines] == ["slot.name_taken"] * len(told)
    assert all(f"called {other}" in line.text for other, line in zip(told, lines, strict=True))


def test_a_slot_is_idle_since_its_last_job_ended_and_not_since_its_standby_stood_ready() -> None:
    memory = Memory({READY.generation: READY}, {READY.slot: SlotMemory(vacant_since=T + 50)})
    (row,) = status.statuses(ONE, memory, T + 52)
    assert row.since == T + 50
    container = Container(
        *(ContainerId("c1"), "a-0.g1", ContainerState.RUNNING, HostId("h"), READY.pool, READY.slot),
        *(READY.generation, "f1", READY.image, T),
    )
    # Its name comes with the next pass: nothing to tell of in a hand-over.
    assert (
        status.health_of([row], memory, World({READY.generation: container}), T + 52, EngineLines())
        == []
    )


DOUBTED = {READY.generation: T + 10}


def test_a_slot_whose_agent_is_doubted_says_so_in_its_row_and_in_a_line() -> None:
    memory = Memory({READY.generation: READY})
    shown = status.statuses(ONE, memory, T + 430)
    (row,) = status.noted(shown, DOUBTED, T + 430)
    assert row.note == "listed as busy for 7m, and told of no job"
    lines = status.health_of_unbegun([row], DOUBTED, T + 430)
    assert lines[READY.generation].code == "agent.unbegun"
    assert "slot a-0: its service has listed its agent as busy for 7m" in (
        lines[READY.generation].text
    )
    assert status.noted(shown, {}, T + 430) == shown
    assert status.health_of_unbegun(shown, {}, T + 430) == {}


def test_the_log_tells_of_a_doubted_agent_once() -> None:
    told = io.StringIO()
    config = Config(HostSpec("box"), ())
    report = Report(StatusBoard(), Log(told), Metrics(config), Nobody(), EngineLines())
    memory = Memory({READY.generation: READY})

    def pass_on(doubted: Mapping[Generation, float], now: float, memory: Memory = memory) -> None:
        report.publish(config.host, ONE, memory, World({}), now, (), doubted)

    pass_on(DOUBTED, T + 430)
    pass_on({}, T + 440)  # no list for a moment
    pass_on(DOUBTED, T + 450)
    events = [json.loads(line) for line in told.getvalue().splitlines()]
    doubts = [event for event in events if event["event"] == "agent.unbegun"]
    assert [event["generation"] for event in doubts] == [READY.generation]


class Nobody:
    """Wants to know nothing."""

    def passed(self, sentence: str) -> None: ...

    def reloading(self) -> None: ...


def test_what_asks_for_nothing_is_no_health_line() -> None:
    """An Engine whose containers Mayfly removes itself is the doctor's; what a restart costs has a fix."""
    removal = Condition("engine.removal", Severity.INFO, "removed here", "")
    restart = Condition("engine.restart_ends_jobs", Severity.WARNING, "it ends jobs", "a line")
    facts = replace(SimulatedEngine().facts(), self_removal=removal, restart=None)
    assert own_health(Ground(info=facts)) == []
    assert own_health(Ground(info=replace(facts, restart=restart))) == [restart]


class Counted(dict[Generation, Container]):
    """Holders, and how often they were gone through."""

    looks = 0

    def values(self) -> Any:  # as of a dict
        self.looks += 1
        return super().values()


def test_holders_are_gone_through_once_however_many_slots_there_are() -> None:
    wanted = Desired(specs(pool("a", slots=20, sandbox="slot")))
    last = wanted.slots[-1]
    holder = Holder(Generation("h1"), last.name, PoolName("a"), last.fingerprint, T).seen()
    holders = Counted({holder.generation: holder})
    world = World({}, holders=holders)
    told = status.statuses(wanted, Memory(), T)
    shown = status.document(HostSpec("box"), told, Memory(), world, "", ())["slots"]
    assert isinstance(shown, list)
    assert [row["sandbox"] is not None for row in shown] == [False] * 19 + [True]
    assert holders.looks == 1
