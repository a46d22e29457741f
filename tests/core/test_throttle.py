"""The brake: who does too much of something is frozen for as long as it takes, and never for good."""

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
    Excess,
    Generation,
    Limits,
    PoolName,
    PoolSpec,
    SlotName,
)
from mayfly.core.stimuli import ActivitySeen, Begun, Printed
from mayfly.core.taking_in import REST
from mayfly.core.throttle import (
    CONNECTIONS_AT_ONCE,
    LONGEST,
    MIB,
    NO_DEBTS,
    OUTPUT,
    PROCESSES_AT_ONCE,
    SLOWED,
    Allowance,
    Debts,
    connections,
    dearness,
    owing,
    processes,
    weight,
)
from tests.core.simulator import Fate, Host, Manager, desire, pool, specs

T = 1000.0
BURST, RATE = int(OUTPUT.burst), int(OUTPUT.rate)
SLOT = SlotName("a-0")
POOL = pool("a")


def agent(name: str) -> Agent:
    fixed = (Generation(name), SLOT, PoolName("a"), 1, "f", "image", ())
    return Agent(*fixed, born=T)


def printed(debts: Debts, who: Agent, size: float, now: float) -> Debts:
    return debts.charged(who, Excess.OUTPUT, size, OUTPUT, now)


def at_work(of: PoolSpec = POOL) -> tuple[Manager, Generation]:
    """A manager with one slot, whose job runs for ever."""
    manager = Manager(Host(), desire(specs(of)))
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
        debts = printed(debts, agent("g1"), RATE, T + second)
    assert owing(debts.of[SLOT][Excess.OUTPUT], T + 1000) <= RATE
    assert decoded(encoded(debts)) == debts


def test_short_lines_cost_what_carrying_them_does() -> None:
    assert weight(1_000_000, 2_000_000) > 50 * weight(20, 2_000_000)


@given(
    st.lists(st.tuples(st.integers(0, 10**12), st.floats(0, 100), st.booleans()), max_size=20),
    st.sampled_from([OUTPUT, connections(100.0), processes(300.0), processes(1e-3)]),
)
def test_nobody_is_frozen_for_longer_than_the_longest(
    told: list[tuple[int, float, bool]], allowance: Allowance
) -> None:
    debts, now = NO_DEBTS, T
    for size, wait, throttled in told:
        now += wait
        who = replace(agent("g1"), throttled=T if throttled else None)
        debts = debts.charged(who, Excess.PROCESSES, size, allowance, now)
        (debt,) = debts.of[SLOT].values()
        waits = owing(debt, now) - allowance.burst + allowance.room
        assert waits <= LONGEST * debt.rate * (1 + 1e-9)


@given(st.floats(0.01, 1e6), st.integers(1, 500))
def test_who_keeps_to_its_rate_owes_nothing_whatever_the_rate(rate: float, seconds: int) -> None:
    debts = NO_DEBTS
    for second in range(seconds):
        debts = debts.charged(agent("g1"), Excess.PROCESSES, rate, processes(rate), T + second)
    (debt,) = debts.of[SLOT].values()
    assert owing(debt, T + seconds) <= rate


def test_the_next_job_of_the_slot_does_not_begin_frozen_and_has_not_saved_anything() -> None:
    debts = printed(printed(Debts(), agent("g1"), 10 * BURST, T), agent("g2"), MIB, T)
    assert owing(debts.of[SLOT][Excess.OUTPUT], T) == BURST + MIB


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


@pytest.mark.parametrize(
    "excess",
    [Printed(Generation(""), 0, BURST + MIB), ActivitySeen(2, {})],
    ids=["prints", "begins"],
)
def test_an_image_that_does_too_much_before_its_gate_is_frozen_too_and_gets_its_job_later(
    excess: Printed | ActivitySeen,
) -> None:
    manager = Manager(Host(), desire(specs(replace(POOL, limits=Limits(process_rate=300.0)))))
    manager.run()
    generation = manager.own("a-0")
    assert manager.memory.agents[generation].committed is None
    if isinstance(excess, Printed):
        manager.prints(generation, excess.size)
    else:
        begun = Begun(processes=int(2 * 300 * (PROCESSES_AT_ONCE + 10)))
        manager.inbox.append(ActivitySeen(2, {generation: begun}))
    manager.run()
    assert frozen(manager, generation)
    manager.submit("a")
    manager.run()
    assert manager.memory.agents[generation].committed is None, "what is frozen reads nothing"
    manager.pass_time(60.0)
    assert manager.memory.agents[generation].opened is not None


def test_no_gate_is_opened_while_its_agent_is_being_frozen() -> None:
    manager = Manager(Host(), desire(specs(POOL)))
    manager.run()
    generation = manager.own("a-0")
    manager.prints(generation, BURST + MIB)
    manager.submit("a")
    for _ in range(3):
        manager.turn()
        assert isinstance(manager.flight.get(generation), Freeze)
    assert manager.memory.agents[generation].committed is None
    manager.run()
    manager.pass_time(60.0)
    assert manager.memory.agents[generation].opened is not None


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


def test_what_many_do_at_once_counts_for_more() -> None:
    one = agent("g1")
    throttled = [replace(one, throttled=T)] * 8
    assert dearness([one] * 8) == dearness(throttled[:2]) == 1
    assert dearness(throttled) == 4
    assert dearness([replace(gone, exited=T) for gone in throttled]) == 1


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


def begins(
    manager: Manager, generation: Generation, begun: Begun, seconds: int, processors: int = 2
) -> None:
    """An agent begins so much in each of so many seconds in which it is not frozen."""
    for _ in range(seconds):
        if not frozen(manager, generation):
            manager.inbox.append(ActivitySeen(processors, {generation: begun}))
        manager.pass_time(1.0)


def limited(limits: Limits, network: str | None = None) -> tuple[Manager, Generation]:
    own = replace(pool("a"), limits=limits, network=network)
    return at_work(own)


BOMB = Begun(processes=3000)
FLOOD = Begun(connections=4000)


@pytest.mark.parametrize(
    ("begun", "seconds", "processors", "excess"),
    [
        (BOMB, 30, 2, Excess.PROCESSES),
        (Begun(processes=700), 60, 2, Excess.PROCESSES),
        (FLOOD, 30, 2, Excess.CONNECTIONS),
        (Begun(connections=400), 60, 2, Excess.CONNECTIONS),
        # A configure script; many compilers on many processors; a server under test; packages fetched.
        (Begun(processes=300), 60, 2, None),
        (Begun(processes=600), 20, 2, None),
        (Begun(processes=4000), 60, 32, None),
        (Begun(connections=90), 60, 2, None),
        (Begun(connections=1000), 5, 2, None),
    ],
)
def test_who_begins_too_much_for_long_is_throttled_and_nobody_else(
    begun: Begun, seconds: int, processors: int, excess: Excess | None
) -> None:
    manager, generation = at_work()
    begins(manager, generation, begun, seconds, processors)
    told = [one for one in manager.journal if isinstance(one, AgentThrottled)]
    assert [one.excess for one in told] == ([excess] if excess else [])


@pytest.mark.parametrize(("begun", "burst"), [
    (BOMB, 2 * 150.0 * PROCESSES_AT_ONCE), (FLOOD, CONNECTIONS_AT_ONCE),
])  # fmt: skip
def test_who_is_throttled_has_a_part_of_its_rate_until_it_is_calm(
    begun: Begun, burst: float
) -> None:
    manager, generation = at_work()
    ran = 0
    for _ in range(200):
        ran += not frozen(manager, generation)
        begins(manager, generation, begun, 1)
    each = max(begun.processes, begun.connections)
    rate = 2 * 150.0 if begun.processes else 100.0
    # Each time it runs for as long as it takes to see it.
    assert ran * each <= burst + 200 * rate * SLOWED + each * (1 + 200 / LONGEST)
    assert not manager.memory.agents[generation].settled
    manager.pass_time(1000.0)
    agent = manager.memory.agents[generation]
    assert (agent.throttled, agent.excess, frozen(manager, generation)) == (None, (), False)


def test_each_kind_of_excess_is_told_once() -> None:
    manager, generation = at_work()
    begins(manager, generation, Begun(processes=9000, connections=9000), 70)
    flood(manager, generation, 3 * BURST)
    begins(manager, generation, Begun(processes=9000, connections=9000), 70)
    told = [one.excess for one in manager.journal if isinstance(one, AgentThrottled)]
    assert sorted(told) == [Excess.CONNECTIONS, Excess.OUTPUT, Excess.PROCESSES]
    assert len(manager.memory.agents[generation].excess) == 3
    assert decoded(encoded(manager.state.debts)) == manager.state.debts


@pytest.mark.parametrize(
    ("limits", "network"),
    [
        (Limits(process_rate=None, connection_rate=None), None),
        (Limits(process_rate=10_000.0, connection_rate=10_000.0), None),
        (Limits(process_rate=None), "host"),
    ],
)
def test_a_pool_that_may_begin_that_much_is_left_alone(limits: Limits, network: str | None) -> None:
    manager, generation = limited(limits, network)
    begins(manager, generation, replace(BOMB, connections=4000), 60)
    assert not any(isinstance(one, AgentThrottled) for one in manager.journal)


def test_who_bombs_with_processes_and_is_adopted_is_thawed_and_throttled_again() -> None:
    manager, generation = at_work()
    begins(manager, generation, BOMB, 10)
    assert frozen(manager, generation)
    manager.crash([])
    manager.run()
    assert not frozen(manager, generation)
    assert manager.memory.agents[generation].excess == ()
    begins(manager, generation, BOMB, 10)
    assert frozen(manager, generation)
