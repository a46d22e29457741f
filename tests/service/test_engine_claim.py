"""What becomes of another Mayfly's containers when its Engine is taken over."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mayfly.core.memory import Memory
from mayfly.core.model import HostId
from mayfly.edge.faults import Refused
from mayfly.edge.gate import frame
from mayfly.edge.log import Log
from mayfly.engines.simulated.engine import SimulatedEngine
from mayfly.service.engine_claim import KNOWN, claim
from tests.engine.contract import FOREVER, IMAGE, World

NEW = HostId("other0000000")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(SimulatedEngine(images=(IMAGE,)), tmp_path)


def known(world: World) -> Path:
    """The file that says which engine it was."""
    return world.witnesses.root.parent / KNOWN


def take_over(world: World) -> str:
    """What the log says of it."""
    told = io.StringIO()
    claim(world.engine, NEW, known(world), Memory(), take_over=True, log=Log(told))
    return told.getvalue()


def test_who_has_a_job_keeps_its_network_and_all_others_go(world: World) -> None:
    engine = world.engine
    assert isinstance(engine, SimulatedEngine)
    busy, idle = world.sandboxed(), world.sandboxed()
    holders = {spec.name: world.holder(spec) for spec in (busy, idle)}
    plans = [world.joining(spec, holders[spec.name]) for spec in (busy, idle)]
    agents = [engine.prepare(plan) for plan in (*plans, world.plan())]
    engine.open(plans[0].generation, agents[0], frame(plans[0].generation, FOREVER))
    with pytest.raises(Refused, match="already serves another Mayfly"):
        claim(engine, NEW, known(world), Memory(), take_over=False, log=Log(io.StringIO()))
    assert len(engine.list()) == 5

    told = take_over(world)
    assert {one.id for one in engine.list()} == {agents[0], holders[busy.name]}
    assert told.count("host.left_running") == 1
    assert busy.name in told
    # Each agent, and the one holder that nobody is in.
    assert engine.calls.count("at_gate") == 4
