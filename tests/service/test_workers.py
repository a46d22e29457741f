"""What hangs in one pool delays no other, and what cannot be begun is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, cast

import pytest

from mayfly.core.actions import Action, Dismiss, Enrol, Forget, Open, Remove
from mayfly.core.model import ContainerId, Generation, JobId, PoolName, SlotName
from mayfly.edge.faults import Passing
from mayfly.service.bugs import Bug
from mayfly.service.perform import ActionResult, Done, Failed, Performer
from mayfly.service.workers import OPEN, SERVICE, Workers

PATIENCE = 30.0
SICK, WELL = PoolName("sick"), PoolName("well")


@dataclass
class Hanging:
    """Performs what concerns a pool that is well; the rest once it is let go."""

    providers: Any = field(default_factory=dict)
    healed: threading.Event = field(default_factory=threading.Event)

    def perform(self, action: Action, agent: object) -> ActionResult:
        if getattr(action, "pool", None) == SICK:
            assert self.healed.wait(PATIENCE)
        if action.slot == SlotName("bug-0"):
            raise KeyError("a bug")
        return Done(action)


class Stage:
    """Workers and what they send."""

    def __init__(self) -> None:
        self.sent: SimpleQueue[ActionResult | Bug] = SimpleQueue()
        self.performer = Hanging()
        self.workers = Workers(cast(Performer, self.performer), self.sent.put)

    def next(self) -> ActionResult | Bug:
        return self.sent.get(timeout=PATIENCE)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.performer.healed.set()
    made.workers.stop(PATIENCE)


def of(pool: PoolName, number: int) -> tuple[Action, Action, Action]:
    """What waits for the pool's service, or for one of its gates."""
    generation, slot = Generation(f"g{number:012}"), SlotName(f"{pool}-{number}")
    return (
        Enrol(generation, slot, pool, "its slot is free", ()),
        Dismiss(generation, slot, pool, f"{number}", "it has ended"),
        Open(generation, slot, pool, ContainerId("c"), JobId("j"), "a job waits"),
    )


def test_a_pool_that_hangs_delays_no_other(stage: Stage) -> None:
    for number in range(2 * (SERVICE + OPEN)):
        for action in of(SICK, number):
            stage.workers.begin(action, None)
    other = Remove(Generation("g"), SlotName("sick-0"), ContainerId("c"), "it has ended")
    for action in (*of(WELL, 0), other):
        stage.workers.begin(action, None)
        assert stage.next() == Done(action)
    stage.performer.healed.set()
    assert {type(stage.next()) for _ in range(6 * (SERVICE + OPEN))} == {Done}


def test_the_lanes_of_a_pool_that_is_gone_end_with_their_last_action(stage: Stage) -> None:
    before = threading.active_count()
    for action in of(SICK, 0):
        stage.workers.begin(action, None)
    stage.workers.use_providers({})
    stage.performer.healed.set()
    assert {type(stage.next()) for _ in range(3)} == {Done}
    for thread in threading.enumerate():
        if thread.name.endswith(f"{SICK}-0"):
            thread.join(PATIENCE)
    assert threading.active_count() == before
    again = of(SICK, 1)[0]
    stage.workers.begin(again, None)
    assert stage.next() == Done(again)


@contextmanager
def no_threads() -> Iterator[None]:
    """No thread can be started: none has room for such a stack."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_an_action_for_which_there_is_no_thread_is_tried_again(stage: Stage) -> None:
    action = Forget(Generation("g"), SlotName("p-0"), "it has ended")
    with no_threads():
        stage.workers.begin(action, None)
        failed = stage.next()
        assert isinstance(failed, Failed)
        assert isinstance(failed.fault, Passing)
        assert "no thread" in str(failed.fault)
    stage.workers.begin(action, None)
    assert stage.next() == Done(action)
    with no_threads():  # the one that is there serves
        stage.workers.begin(action, None)
        assert stage.next() == Done(action)


def test_a_bug_leaves_no_action_in_flight(stage: Stage) -> None:
    action = Forget(Generation("g"), SlotName("bug-0"), "it has ended")
    stage.workers.begin(action, None)
    assert isinstance(stage.next(), Bug)
    failed = stage.next()
    assert isinstance(failed, Failed)
    assert "KeyError" in str(failed.fault)
