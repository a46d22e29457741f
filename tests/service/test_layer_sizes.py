"""What an agent has written is measured each by itself: one that has too many files blinds nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from queue import Empty, SimpleQueue
from typing import cast

import pytest

from mayfly.core.model import ContainerId
from mayfly.core.stimuli import LayersMeasured
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.engines.protocol import Engine, Gone, Unmeasured
from mayfly.service.bugs import Bug
from mayfly.service.layer_sizes import SELDOM, SOON, LayerSizes

PATIENCE = 30.0
A, B, C = ContainerId("a"), ContainerId("b"), ContainerId("c")


class Stage:
    """An engine that measures as it is told, and what came of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers: dict[ContainerId, int | Exception | None] = {}
        self.asked: list[ContainerId] = []
        self.made: list[ContainerId] = []  # asked for with what they have made
        self.away = False
        self.sent: SimpleQueue[LayersMeasured | Bug] = SimpleQueue()
        self.sizes = LayerSizes(cast(Engine, self), self.sent.put, lambda: self.now)

    def size(self, container: ContainerId, *, made: bool = False) -> int | None:
        self.asked.append(container)
        if made:
            self.made.append(container)
        answer = self.answers[container]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ping(self) -> None:
        if self.away:
            raise Passing("the Engine is away")

    def measured(
        self, *containers: ContainerId, made: frozenset[ContainerId] = frozenset()
    ) -> LayersMeasured | Bug:
        self.asked.clear()
        self.sizes.measure({one: one in made for one in containers})
        return self.sent.get(timeout=PATIENCE)

    def is_quiet(self) -> bool:
        with pytest.raises(Empty):
            self.sent.get(timeout=0.1)
        return True


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.sizes.start()
    yield made
    made.sizes.stop()


def test_one_that_takes_too_long_is_told_and_delays_no_other(stage: Stage) -> None:
    stage.answers = {A: Unmeasured("slow"), B: 5, C: None}
    # What is known goes out before the next one may take as long.
    assert stage.measured(A, B, C) == LayersMeasured({}, frozenset({A}))
    assert stage.sent.get(timeout=PATIENCE) == LayersMeasured({B: 5}, frozenset({A}))
    assert stage.asked == [A, B, C]
    stage.answers[B] = 6
    assert stage.measured(A, B) == LayersMeasured({B: 6}, frozenset({A}))
    assert stage.asked == [B], "it rests"
    stage.now += SOON
    stage.answers |= {A: 1, B: 7}
    assert stage.measured(A, B) == LayersMeasured({B: 7, A: 1}, frozenset())
    assert stage.asked == [B, A], "who was quick comes first"


def test_what_goes_on_taking_too_long_is_asked_for_ever_more_seldom(stage: Stage) -> None:
    stage.answers = {A: Unmeasured("slow"), B: 0}
    assert stage.measured(A, B) == LayersMeasured({}, frozenset({A}))
    assert stage.sent.get(timeout=PATIENCE) == LayersMeasured({B: 0}, frozenset({A}))
    asked = [0.0]
    while stage.now < 4 * SELDOM:
        stage.now += SOON / 2
        stage.answers[B] = int(stage.now)
        assert stage.measured(A, B) == LayersMeasured({B: int(stage.now)}, frozenset({A}))
        asked += [stage.now] * (A in stage.asked)
    rests = [later - earlier for earlier, later in pairwise(asked)]
    assert rests[0] == SOON
    assert rests == sorted(rests)
    assert rests[-1] == SELDOM


@pytest.mark.parametrize("fault", [Passing("500: file name too long"), Refused("no permission")])
def test_one_on_which_the_engine_fails_is_told_and_blinds_for_no_other(
    stage: Stage, fault: Fault
) -> None:
    stage.answers = {A: fault, B: 5}
    assert stage.measured(A, B) == LayersMeasured({}, frozenset({A}))
    assert stage.sent.get(timeout=PATIENCE) == LayersMeasured({B: 5}, frozenset({A}))
    stage.answers[B] = 6
    assert stage.measured(A, B) == LayersMeasured({B: 6}, frozenset({A}))
    assert stage.asked == [B], "it rests"


def test_one_that_has_gone_meanwhile_is_passed_over(stage: Stage) -> None:
    stage.answers = {A: Gone("it is not there"), B: 5}
    assert stage.measured(A, B) == LayersMeasured({B: 5}, frozenset())


def test_where_the_engine_is_away_nothing_new_is_told(stage: Stage) -> None:
    stage.answers = {A: 3}
    assert stage.measured(A) == LayersMeasured({A: 3}, frozenset())
    stage.answers, stage.away = {A: Passing("the Engine is away")}, True
    stage.sizes.measure({A: False})
    assert stage.is_quiet()
    stage.answers, stage.away = {A: 4}, False
    assert stage.measured(A) == LayersMeasured({A: 4}, frozenset())


def test_a_bug_ends_one_round_alone(stage: Stage) -> None:
    stage.answers = {A: KeyError("a bug")}
    assert isinstance(stage.measured(A), Bug)
    stage.answers = {A: 4}
    assert stage.measured(A) == LayersMeasured({A: 4}, frozenset())


def test_of_a_host_without_limits_nothing_is_told(stage: Stage) -> None:
    stage.sizes.measure({})
    assert stage.is_quiet()
    stage.answers = {A: 4}
    assert stage.measured(A) == LayersMeasured({A: 4}, frozenset())
    assert stage.measured() == LayersMeasured({}, frozenset())


def test_who_has_made_something_is_measured_with_it(stage: Stage) -> None:
    stage.answers = {A: 1, B: 2}
    assert stage.measured(A, B, made=frozenset({B})) == LayersMeasured({A: 1, B: 2}, frozenset())
    assert stage.made == [B]
