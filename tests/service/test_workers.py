"""What hangs in one pool delays no other, and what cannot be begun is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any, cast

import pytest

from mayfly.core.actions import (
    Action,
    Dismiss,
    Enrol,
    Forget,
    Freeze,
    Open,
    Prepare,
    Remove,
    Rename,
    Signal,
    Thaw,
    Weigh,
)
from mayfly.core.capabilities import EVERYTHING, Capabilities
from mayfly.core.model import ContainerId, Generation, JobId, PoolName, SlotName
from mayfly.core.naming import pool_of
from mayfly.edge.faults import Passing
from mayfly.service.bugs import Bug
from mayfly.service.perform import ActionResult, Done, Failed, Performer
from mayfly.service.workers import BRING, MAKE, MAKE_WAITING, OPEN, REMOVE, SERVICE, SIGNAL, Workers
from tests.core.simulator import pool as pool_of_tests
from tests.core.simulator import specs

PATIENCE = 30.0
LANES = {"make": MAKE, "service": SERVICE, "open": OPEN, "signal": SIGNAL, "remove": REMOVE}
SICK, WELL = PoolName("sick"), PoolName("well")


@dataclass
class Hanging:
    """Performs what concerns a pool that is well; the rest once it is let go."""

    providers: Any = field(default_factory=dict)
    healed: threading.Event = field(default_factory=threading.Event)

    def perform(self, action: Action, agent: object) -> ActionResult:
        assert action.slot is not None
        if pool_of(action.slot) == SICK:
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


def of(pool: PoolName, number: int) -> tuple[Action, ...]:
    """All that is done for an agent; its service, its gate, its image, what its job left: each may hang."""
    generation, slot = Generation(f"g{number:012}"), SlotName(f"{pool}-{number}")
    container, why = ContainerId("c"), "it has ended"
    return (
        Prepare(generation, replace(specs(pool_of_tests(pool))[0], name=slot), slot, why),
        Enrol(generation, slot, pool, "its slot is free", ()),
        Dismiss(generation, slot, pool, f"{number}", why),
        Open(generation, slot, pool, container, JobId("j"), "a job waits"),
        Rename(generation, slot, container, slot, why),
        Signal(generation, slot, container, "TERM", why),
        Freeze(generation, slot, container, why),
        Thaw(generation, slot, container, why),
        Weigh(generation, slot, container, 0.125, why),
        Remove(generation, slot, container, why),
        Forget(generation, slot, why),
    )


def threads_of(pool: PoolName) -> list[threading.Thread]:
    return [one for one in threading.enumerate() if f"-{pool}-" in one.name]


def test_a_pool_that_hangs_delays_no_other(stage: Stage) -> None:
    hanging = [action for number in range(2 * MAKE) for action in of(SICK, number)]
    for action in hanging:
        stage.workers.begin(action, None)
    for action in of(WELL, 0):
        stage.workers.begin(action, None)
        assert stage.next() == Done(action)
    stage.performer.healed.set()
    assert {type(stage.next()) for _ in hanging} == {Done}


@pytest.mark.parametrize(
    ("engine", "slots", "most"),
    [
        (EVERYTHING, 12, MAKE),
        (replace(EVERYTHING, preparing=600.0), 12, 12),
        (replace(EVERYTHING, preparing=600.0), 2, MAKE),
        (replace(EVERYTHING, preparing=600.0), 100, MAKE_WAITING),
    ],
    ids=["images are there", "each of its slots", "few slots", "bounded"],
)
def test_agents_that_wait_for_an_image_keep_no_other_slot_of_their_pool_waiting(
    stage: Stage, engine: Capabilities, slots: int, most: int
) -> None:
    of_pool = pool_of_tests(SICK, slots)
    made = [replace(spec, engine=engine) for spec in specs(of_pool)]
    for number, spec in enumerate(made):
        generation = Generation(f"g{number:012}")
        stage.workers.begin(Prepare(generation, spec, spec.name, "it is free"), None)
    assert len(threads_of(SICK)) == min(slots, most)
    stage.performer.healed.set()
    assert {type(stage.next()) for _ in made} == {Done}


def test_a_lane_has_no_more_threads_than_it_had_to_do_at_once(stage: Stage) -> None:
    for number in range(20):
        for action in of(WELL, number):
            stage.workers.begin(action, None)
            assert stage.next() == Done(action)
    assert len(threads_of(WELL)) == len(LANES)
    for number in range(20):
        for action in of(SICK, number):
            stage.workers.begin(action, None)
    assert len(threads_of(SICK)) == sum(LANES.values())


def test_the_lanes_of_a_pool_that_is_gone_end_with_their_last_action(stage: Stage) -> None:
    for action in of(SICK, 0):
        stage.workers.begin(action, None)
    stage.workers.use_providers({})
    stage.performer.healed.set()
    assert {type(stage.next()) for _ in of(SICK, 0)} == {Done}
    for thread in threads_of(SICK):
        thread.join(PATIENCE)
    assert threads_of(SICK) == []
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


def test_users_take_turns_so_that_nobody_waits_for_all_that_another_brings(stage: Stage) -> None:
    def brings(number: int, uid: int) -> Open:
        names = (Generation(f"g{number:012}"), SlotName(f"sick-{number}"), SICK, ContainerId("c"))
        return Open(*names, JobId("j"), "it is next", brings=True, uid=uid)

    begun: list[int] = []
    perform = stage.performer.perform

    def noted(action: Action, agent: object) -> ActionResult:
        assert isinstance(action, Open)
        begun.append(action.uid or 0)
        return perform(action, agent)

    stage.performer.perform = noted  # type: ignore[method-assign]
    for number in range(6):
        stage.workers.begin(brings(number, 1000), None)
    stage.workers.begin(brings(6, 1001), None)
    stage.performer.healed.set()
    assert {type(stage.next()) for _ in range(7)} == {Done}
    # Two threads may have taken two each before, and one is the other's turn.
    assert 1001 in begun[: BRING + 2]
