"""How often the Engine is looked at where nobody rings: slowly where nothing goes on, else as before."""

from __future__ import annotations

import pytest

from mayfly.core.actions import Open
from mayfly.core.model import ContainerId, Continuity, Death, Exit, PoolSpec, Witness
from mayfly.core.polls import QUIET, TICK, PollSchedule
from mayfly.core.stimuli import AgentStirred, ContainerDied, EngineUnseen, StreamTurned
from tests.core.test_mounts import EMBEDDED, POOL, THERE, Box

SLOW = TICK * QUIET


def rest(box: Box) -> float:
    """Seconds until the next look, after one that was answered."""
    box.now = max(box.now, box.state.polls.next_look)
    box.tell()
    box.tell(box.containers())
    return box.state.polls.next_look - box.now


@pytest.fixture
def box() -> Box:
    return Box(PoolSpec(POOL, image="image"), EMBEDDED, THERE)


def test_an_idle_host_is_looked_at_slowly_and_a_busy_one_is_not(box: Box) -> None:
    assert rest(box) == SLOW
    box.submit()
    box.now += 1
    opened = [one for one in box.actions if isinstance(one, Open)]
    assert opened
    assert box.state.polls.next_look - box.now <= TICK
    box.witness = Witness(ready=box.now - 60, opened=box.now)
    box.tell(AgentStirred(opened[0].generation))
    assert rest(box) == TICK


def test_an_agent_that_has_ended_and_is_shown_as_running_is_looked_at_again_soon() -> None:
    box = Box(PoolSpec(POOL, image="image", standby=False), EMBEDDED, THERE)
    assert rest(box) == SLOW
    (generation,) = box.state.memory.agents
    box.witness = Witness(ready=box.now - 60, exit=Exit(0, 0, box.now))
    box.tell(ContainerDied(generation, Death(ContainerId("c1"), 0, box.now)))
    assert box.state.memory.agents[generation].settled
    assert rest(box) == TICK


def test_an_engine_that_is_lost_or_does_not_answer_is_looked_at_often(box: Box) -> None:
    assert rest(box) == SLOW
    box.tell(StreamTurned(up=False, continuity=Continuity.UNKNOWN, why="it went"))
    assert rest(box) == TICK
    box.tell(StreamTurned(up=True, continuity=Continuity.SAME, why=""))
    assert rest(box) == SLOW
    box.tell(EngineUnseen("it does not answer"))
    box.now = box.state.polls.next_look
    box.tell()
    assert box.state.polls.next_look - box.now == TICK


def test_a_look_that_nobody_has_answered_yet_is_asked_for_again_after_a_tick() -> None:
    asked, look = PollSchedule().ask(100.0)
    assert look is not None
    assert asked.paced(quiet=True).next_look == 100.0 + TICK
    assert asked.answered().paced(quiet=True).next_look == 100.0 + SLOW
    assert asked.answered().paced(quiet=True).paced(quiet=False).next_look == 100.0 + TICK


def test_a_look_that_somebody_rang_for_is_not_put_off() -> None:
    asked, _ = PollSchedule().ask(100.0)
    rung = asked.answered().soon(101.0)
    assert rung.paced(quiet=True) == rung
