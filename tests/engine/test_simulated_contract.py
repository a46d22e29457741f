"""The simulated engine keeps the contract, with each set of capabilities that it can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from mayfly.core.agent_plan import AgentPlan
from mayfly.core.workspace import WORKSPACE
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.gate import words
from mayfly.engines.protocol import Capabilities, Engine, StreamTurn
from mayfly.engines.simulated.engine import SimulatedEngine
from tests.engine.contract import CLAIMS, IMAGE, EngineContract, World

CLAIMING = "image/that-claims:much"


def work(files: Mapping[str, bytes]) -> int | None:
    """``true``, and what goes to a workspace, ends at once; all else goes on until it is ended."""
    ends = files["job.argv"] == words(["true"]) or f" {WORKSPACE} ".encode() in files["job.argv"]
    return 0 if ends else None


class TestSimulated(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return SimulatedEngine(images=(IMAGE, CLAIMING), work=work)

    @pytest.fixture
    def claiming(self, engine: Engine) -> str:
        assert isinstance(engine, SimulatedEngine)
        engine.image_labels[CLAIMING] = CLAIMS
        return CLAIMING

    @pytest.fixture
    def prints(self) -> Callable[[World, AgentPlan], None]:
        """What the job prints, which nobody runs here."""

        def say(world: World, plan: AgentPlan) -> None:
            engine = world.engine
            assert isinstance(engine, SimulatedEngine)
            engine.prints(plan.generation, b"one\n")
            engine.prints(plan.generation, b"two\n")
            engine.ends(plan.generation)

        return say


def test_faults_come_when_they_are_said_and_once() -> None:
    engine = SimulatedEngine()
    engine.fails("list", Refused("no"), Passing("later"))
    for kind in (Refused, Passing):
        with pytest.raises(kind):
            engine.list()
    assert engine.list() == ()


@pytest.mark.parametrize("lives_on", [True, False])
def test_a_restart_ends_what_the_engine_cannot_carry_over(
    lives_on: bool, world_of: Callable[[SimulatedEngine], World]
) -> None:
    engine = SimulatedEngine(capabilities=Capabilities(outlives_restart=lives_on))
    world = world_of(engine)
    turned: list[StreamTurn] = []
    engine.watch(lambda _: None, turned.append)
    container = engine.prepare(world.plan())
    engine.restart()
    seen = world.seen(container)
    assert seen is not None
    assert seen.live is lives_on
    assert [turn.up for turn in turned] == [True, False, True]


def test_an_engine_that_is_away_answers_nothing_and_tells_late_what_happened(
    world_of: Callable[[SimulatedEngine], World],
) -> None:
    engine = SimulatedEngine()
    world = world_of(engine)
    heard: list[str] = []
    engine.watch(lambda event: heard.append(event.action), lambda _: None)
    plan = world.plan()
    engine.prepare(plan)
    engine.away()
    with pytest.raises(Passing):
        engine.list()
    engine.ends(plan.generation, 3)
    assert heard == ["start"]
    engine.back()
    assert heard == ["start", "die"]


@pytest.fixture
def world_of(tmp_path: object) -> Callable[[SimulatedEngine], World]:
    """Agents on an engine of the test's own."""
    from pathlib import Path

    return lambda engine: World(engine, Path(str(tmp_path)))
