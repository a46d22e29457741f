"""An engine whose nodes fetch images as they make containers: that takes long, and is in nobody's way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.capabilities import Capabilities
from mayfly.core.decide import preparing
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Container,
    ContainerId,
    ContainerState,
    DoomReason,
    Generation,
    HostId,
    PoolName,
    SlotName,
    World,
)
from mayfly.core.slots import overdue
from tests.core.simulator import pool, specs

BORN = 1_000.0
AGENT = Agent(*(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f1", "i", (), BORN))
MADE = Container(
    *(ContainerId("c"), "a-0.g1", ContainerState.CREATED, HostId("h"), AGENT.pool, AGENT.slot),
    *(AGENT.generation, "f1", "i", BORN),
)


@pytest.mark.parametrize(
    ("needs", "made", "age", "late"),
    [
        (None, None, 121.0, True),
        (3700.0, None, 121.0, False),
        (3700.0, None, 3701.0, True),
        (60.0, None, 119.0, False),
        # Once there is a container, it has the time that everybody has: an image without a gate is found out.
        (3700.0, 2.0, 119.0, False),
        (3700.0, 2.0, 123.0, True),
        (3700.0, 1000.0, 1119.0, False),
        (3700.0, 1000.0, 1121.0, True),
        (None, 60.0, 121.0, True),
    ],
)
def test_an_engine_may_need_longer_to_make_an_agent_than_others(
    needs: float | None, made: float | None, age: float, late: bool
) -> None:
    (spec,) = specs(pool("a"))
    agent = replace(AGENT, armed=None if made is None else BORN + made)
    far = replace(spec, engine=Capabilities(preparing=needs))
    found = overdue(agent, far, BORN + age, own=True)
    assert (found is not None and found[0] is DoomReason.MISSED) is late


@pytest.mark.parametrize(
    ("seen", "counted"),
    [(None, 1), (MADE, 1), (replace(MADE, waits="node-1 pulls its image"), 0)],
    ids=["not seen yet", "being made", "waits for its image"],
)
def test_who_waits_for_its_image_keeps_nobody_else_from_being_made(
    seen: Container | None, counted: int
) -> None:
    world = World({} if seen is None else {AGENT.generation: seen})
    assert preparing(Memory({AGENT.generation: AGENT}), world) == counted
