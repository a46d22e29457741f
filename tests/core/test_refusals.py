"""When a pool that its service refuses is free again: by an enrolment, not by a list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.model import PoolName, SlotName
from mayfly.core.refusals import TRIAL_FIRST, TRIAL_MOST, Refusals
from mayfly.core.requests import Trial
from mayfly.core.stimuli import Failure, Family
from tests.service_agent import service_agent

POOL = PoolName("gh")
AGENT = service_agent(
    POOL,
)
TRIAL = Trial(AGENT, ("big",))
NO_GROUP = Failure(Family.REFUSED, "there is no such group")


class Kept:
    """Refusals as they follow one another; a method says whether it changed what pools are refused."""

    def __init__(self) -> None:
        self.now = Refusals()

    @property
    def by_pool(self) -> dict[PoolName, str]:
        return self.now.by_pool

    def _after(self, after: Refusals) -> bool:
        before, self.now = self.now, after
        return before.by_pool != after.by_pool

    def listed(self, pool: PoolName) -> bool:
        return self._after(self.now.listed(pool))

    def list_refused(self, pool: PoolName, failure: Failure) -> bool:
        return self._after(self.now.list_refused(pool, failure))

    def enrolled(self, pool: PoolName) -> bool:
        return self._after(self.now.enrolled(pool))

    def enrolment_refused(self, pool: PoolName, failure: Failure, trial: Trial, at: float) -> bool:
        return self._after(self.now.enrolment_refused(pool, failure, trial, at))

    def tried(self, pool: PoolName, failure: Failure | None, at: float) -> bool:
        return self._after(self.now.tried(pool, failure, at))

    def retry_now(self, pool: PoolName) -> bool:
        return self._after(self.now.retry_now(pool))

    def forget(self, pool: PoolName) -> bool:
        return self._after(self.now.forget(pool))

    def trials(self, at: float) -> tuple[tuple[PoolName, Trial], ...]:
        self.now, due = self.now.trials(at)
        return due


@pytest.fixture
def refusals() -> Kept:
    return Kept()


def due(refusals: Kept, now: float) -> bool:
    return list(refusals.trials(now)) == [(POOL, TRIAL)]


def test_a_refused_list_is_over_with_the_next_list(refusals: Kept) -> None:
    assert refusals.list_refused(POOL, Failure(Family.REFUSED, "the token is wrong"))
    assert not refusals.list_refused(POOL, Failure(Family.REFUSED, "the token is wrong"))
    assert refusals.by_pool == {POOL: "the token is wrong"}
    refusals.list_refused(POOL, Failure(Family.PASSING, "503"))
    assert POOL in refusals.by_pool
    refusals.listed(POOL)
    assert refusals.by_pool == {}


def test_a_refused_enrolment_is_not_over_with_a_list(refusals: Kept) -> None:
    assert refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    for _ in range(10):
        refusals.listed(POOL)
    assert refusals.by_pool == {POOL: "there is no such group"}
    assert due(refusals, 1000.0)
    assert refusals.tried(POOL, None, 1000.0)
    assert refusals.by_pool == {}


def test_a_passing_fault_of_an_enrolment_holds_nothing(refusals: Kept) -> None:
    assert not refusals.enrolment_refused(POOL, Failure(Family.PASSING, "503"), TRIAL, 0.0)
    assert refusals.by_pool == {}
    assert not due(refusals, 1000.0)


def test_trials_come_one_at_a_time_and_less_and_less_often(refusals: Kept) -> None:
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    times: list[float] = []
    for second in range(2000):
        if due(refusals, float(second)):
            times.append(float(second))
            assert not due(refusals, second + TRIAL_MOST)  # it is under way
            refusals.tried(POOL, NO_GROUP, float(second))
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert gaps[:5] == [TRIAL_FIRST, 60.0, 120.0, 240.0, TRIAL_MOST]
    assert set(gaps[5:]) == {TRIAL_MOST}


def test_an_enrolment_that_was_under_way_frees_the_pool_but_not_during_a_trial(
    refusals: Kept,
) -> None:
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    refusals.enrolled(POOL)
    assert refusals.by_pool == {}
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    assert due(refusals, TRIAL_FIRST)
    refusals.enrolled(POOL)
    assert POOL in refusals.by_pool
    refusals.tried(POOL, None, TRIAL_FIRST)
    assert refusals.by_pool == {}


def test_a_trial_that_fails_in_passing_proves_nothing(refusals: Kept) -> None:
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    assert due(refusals, TRIAL_FIRST)
    assert not refusals.tried(POOL, Failure(Family.PASSING, "503"), TRIAL_FIRST)
    assert refusals.by_pool == {POOL: "there is no such group"}


def test_what_a_trial_is_refused_for_is_what_is_told(refusals: Kept) -> None:
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    assert due(refusals, TRIAL_FIRST)
    assert refusals.tried(POOL, Failure(Family.REFUSED, "the group is full"), TRIAL_FIRST)
    assert refusals.by_pool == {POOL: "the group is full"}


def test_slots_that_were_refused_together_count_once(refusals: Kept) -> None:
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    other = replace(TRIAL, agent=replace(AGENT, slot=SlotName("gh-1")))
    assert not refusals.enrolment_refused(POOL, NO_GROUP, other, 0.5)
    assert due(refusals, TRIAL_FIRST)


@pytest.mark.parametrize("how", ["a person", "a list after none"])
def test_a_repair_that_shows_hastens_the_trial(refusals: Kept, how: str) -> None:
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    if how == "a person":
        refusals.retry_now(POOL)
    else:
        refusals.list_refused(POOL, Failure(Family.REFUSED, "the token is wrong"))
        assert not due(refusals, 1000.0)
        refusals.listed(POOL)
    assert due(refusals, 1.0)
    refusals.tried(POOL, NO_GROUP, 1.0)
    assert not due(refusals, 2.0)


def test_a_pool_that_is_configured_otherwise_begins_anew(refusals: Kept) -> None:
    refusals.enrolment_refused(POOL, NO_GROUP, TRIAL, 0.0)
    refusals.forget(POOL)
    assert refusals.by_pool == {}
    assert not due(refusals, 1000.0)
    assert not refusals.tried(POOL, None, 1000.0)
