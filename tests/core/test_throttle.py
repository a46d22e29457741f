"""Floods of output: who prints too much is frozen for as long as it takes, and never for good."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.actions import Freeze, Signal, Thaw
from mayfly.core.codec import decoded, encoded
from mayfly.core.facts import AgentThrottled, AgentUnthrottled
from mayfly.core.memory import Agent
from mayfly.core.model import (
    ContainerState,
    DoomReason,
    Generation,
    PoolName,
    SlotName,
)
from mayfly.core.stimuli import Printed
from mayfly.core.taking_in import REST
from mayfly.core.throttle import (
    BURST,
    LONGEST,
    MIB,
    NO_DEBTS,
    RATE,
    Debts,
    owing,
    price,
    weight,
)
from tests.core.simulator import Fate, Host, Manager, desire, pool, specs

T = 1000.0
SLOT = SlotName("a-0")


def agent(name: str) -> Agent:
    fixed = (Generation(name), SLOT, PoolName("a"), 1, "f", "image", ())
    return Agent(*fixed, born=T)


def at_work() -> tuple[Manager, Generation]:
    """A manager with one slot, whose job runs for ever."""
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.run()
    manager.submit("a")
    manager.run()
    return manager, manager.own("a-0")


def frozen(manager: Manager, generation: Generation) -> bool:
    return manager.host.boxes[generation].state is ContainerState.PAUSED


def flood(manager: Manager, generation: Generation, size: int = BURST + MIB) -> None:
    manager.prints(generation, size)
    manager.run()


def test_a_long_log_is_paid_from_what_was_saved_and_the_rest_as_time_goes_on() -> None:
    debts = NO_DEBTS
    for second in range(1000):
        debts = debts.printed(agent("g1"), RATE, T + second)
    assert owing(debts.of[SLOT], T + 1000) <= RATE
    assert decoded(encoded(debts)) == debts


def test_short_lines_cost_what_carrying_them_does() -> None:
    assert weight(1_000_000, 2_000_000) > 50 * weight(20, 2_000_000)


@given(st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 100)), max_size=20))
def test_nobody_is_frozen_for_longer_than_the_longest(told: list[tuple[int, float]]) -> None:
    debts, now = NO_DEBTS, T
    for size, wait in told:
        now += wait
        debts = debts.printed(agent("g1"), size, now)
    assert all(owing(one, now) - BURST <= LONGEST * RATE for one in debts.of.values())


def test_the_next_job_of_the_slot_does_not_begin_frozen_and_has_not_saved_anything() -> None:
    debts = Debts().printed(agent("g1"), 10 * BURST, T).printed(agent("g2"), MIB, T)
    assert owing(debts.of[SLOT], T) == BURST + MIB


def test_who_prints_too_much_is_frozen_and_thawed_in_turns_and_let_go_when_it_is_calm() -> None:
    manager, generation = at_work()
    flood(manager, generation)
    assert frozen(manager, generation)
    assert manager.memory.agents[generation].throttled is not None
    (fact,) = [one for one in manager.journal if isinstance(one, AgentThrottled)]
    assert fact.generation == generation
    manager.pass_time(2.0)
    assert not frozen(manager, generation)
    flood(manager, generation, 4 * MIB)
    assert frozen(manager, generation)
    manager.pass_time(60.0)
    assert not frozen(manager, generation)
    assert manager.memory.agents[generation].throttled is None
    told = [one for one in manager.journal if isinstance(one, AgentThrottled | AgentUnthrottled)]
    assert [type(one) for one in told] == [AgentThrottled, AgentUnthrottled]


def test_who_prints_within_its_allowance_is_left_alone() -> None:
    manager, generation = at_work()
    for _ in range(100):
        flood(manager, generation, 4 * MIB)
        manager.pass_time(2.0)
    assert not any(isinstance(one, AgentThrottled) for one in manager.journal)


def test_a_frozen_job_is_thawed_before_it_is_ended() -> None:
    manager, generation = at_work()
    flood(manager, generation)
    manager.doom(generation, DoomReason.CANCELLED)
    for expected in (Thaw, Signal):
        plan = manager.turn()
        assert [type(action) for action in plan.actions] == [expected]
        for subject in list(manager.flight):
            manager.finish(subject)
    manager.run()
    assert generation not in manager.memory.agents


@pytest.mark.parametrize("performed", [True, False])
def test_a_manager_that_died_meanwhile_leaves_nobody_frozen(performed: bool) -> None:
    manager, generation = at_work()
    manager.prints(generation, BURST + MIB)
    manager.turn()
    manager.crash([generation] if performed else [])
    assert frozen(manager, generation) == performed
    manager.run()
    assert not frozen(manager, generation)
    assert manager.memory.agents[generation].throttled is None


def test_a_manager_that_only_observes_thaws_and_freezes_nobody() -> None:
    manager, generation = at_work()
    flood(manager, generation)
    manager.pause()
    manager.run()
    assert not frozen(manager, generation)
    flood(manager, generation, 10 * BURST)
    assert not frozen(manager, generation)


def test_what_many_print_at_once_counts_for_more() -> None:
    one = agent("g1")
    throttled = [replace(one, throttled=T)] * 8
    assert price(0, MIB, [one] * 8) == price(0, MIB, throttled[:2]) == MIB
    assert price(0, MIB, throttled) == 4 * MIB
    assert price(0, MIB, [replace(gone, exited=T) for gone in throttled]) == MIB


def test_what_an_ended_agent_printed_is_on_nobody_s_account() -> None:
    manager, generation = at_work()
    manager.host.output_kept = False
    manager.host.ends(generation, 0)
    manager.turn()
    assert manager.memory.agents[generation].settled
    manager.inbox.append(Printed(generation, 0, 10 * BURST))
    manager.turn()
    assert manager.state.debts.of == {}


def test_what_cannot_be_frozen_is_tried_again_soon_and_ended_at_once() -> None:
    manager, generation = at_work()
    manager.prints(generation, 4 * BURST)
    manager.turn()
    manager.finish(generation, Fate.FAILED)
    assert not any(isinstance(action, Freeze) for action in manager.turn().actions)
    manager.host.now += REST
    assert any(isinstance(action, Freeze) for action in manager.turn().actions)
    manager.finish(generation, Fate.FAILED)
    manager.doom(generation, DoomReason.CANCELLED)
    manager.turn()
    assert any(isinstance(action, Signal) for action in manager.turn().actions) or manager.flight


def test_an_engine_that_freezes_nothing_is_not_asked_to() -> None:
    manager, generation = at_work()
    survey = manager.state.survey
    engine = replace(survey.engine, freezes=False)
    manager.state = replace(manager.state, survey=replace(survey, engine=engine))
    manager.inbox.append(Printed(generation, 0, 10 * BURST))
    manager.run()
    assert not frozen(manager, generation)
