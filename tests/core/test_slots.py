"""Phases and their deadlines, each a moment before and a moment after."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.keeping import deadline
from mayfly.core.memory import Agent, Cordon, Doom, Memory, SlotMemory
from mayfly.core.model import Desired, DoomReason, Generation, Phase, PoolName, SlotName, World
from mayfly.core.plan import View
from mayfly.core.slots import (
    BACKOFF_MOST,
    DEADLINES,
    VACANCY,
    Tenancy,
    backoff,
    cooling,
    job_limit,
    overdue,
    phase_of,
    phase_since,
    status_of,
    within,
)
from tests.core.simulator import pool, specs

T = 1_800_000_000.0
BORN = Agent(
    generation=Generation("g1"),
    slot=SlotName("a-0"),
    pool=PoolName("a"),
    serial=1,
    fingerprint="f1",
    image="image",
    lease=(),
    born=T,
)
READY = replace(BORN, armed=T + 1, ready=T + 2)
COMMITTED = replace(READY, committed=T + 3, run_id="b")
OPENED = replace(COMMITTED, opened=T + 4)
DOOMED = replace(OPENED, doom=Doom(DoomReason.TIMEOUT, T + 9))
SETTLED = replace(OPENED, exited=T + 10)
SERVICE = replace(OPENED, embedded=False)
IDLE = replace(SERVICE, confirmed=Phase.IDLE, confirmed_at=T + 5)
BUSY = replace(SERVICE, confirmed=Phase.BUSY, confirmed_at=T + 6)
SPEC = specs(pool("a", job_timeout=600.0))[0]


@pytest.mark.parametrize(
    ("agent", "own", "phase", "since"),
    [
        (BORN, True, Phase.PREPARING, T),
        (replace(BORN, armed=T + 1), True, Phase.PREPARING, T),
        (READY, True, Phase.IDLE, T + 2),
        (READY, False, Phase.ARMED, T + 2),
        (replace(READY, embedded=False), True, Phase.ARMED, T + 2),
        (COMMITTED, True, Phase.ENROLLING, T + 3),
        (OPENED, True, Phase.BUSY, T + 4),
        (SERVICE, True, Phase.ENROLLING, T + 3),
        (IDLE, True, Phase.IDLE, T + 5),
        (BUSY, True, Phase.BUSY, T + 6),
        (DOOMED, True, Phase.ENDING, T + 9),
        (SETTLED, True, Phase.ENDING, T + 10),
    ],
)
def test_the_phase_of_an_agent_and_since_when(
    agent: Agent, own: bool, phase: Phase, since: float
) -> None:
    assert phase_of(agent, own=own) is phase
    assert phase_since(agent, phase) == since


@pytest.mark.parametrize(
    ("agent", "own", "due", "reason"),
    [
        (BORN, True, T + 120, DoomReason.MISSED),
        (READY, False, T + 2 + 86_400, DoomReason.OLD),
        (READY, True, T + 2 + 86_400, DoomReason.OLD),
        (COMMITTED, True, T + 3 + 180, DoomReason.MISSED),
        (SERVICE, True, T + 3 + 180, DoomReason.MISSED),
        (OPENED, True, T + 4 + 600, DoomReason.TIMEOUT),
        (replace(OPENED, timeout=60.0), True, T + 4 + 60, DoomReason.TIMEOUT),
        (replace(OPENED, timeout=6000.0), True, T + 4 + 600, DoomReason.TIMEOUT),
        (BUSY, True, T + 6 + 600, DoomReason.TIMEOUT),
        (IDLE, True, T + 5 + 86_400, DoomReason.OLD),
    ],
)
def test_an_agent_is_overdue_only_after_its_deadline(
    agent: Agent, own: bool, due: float, reason: DoomReason
) -> None:
    assert overdue(agent, SPEC, due, own=own) is None
    late = overdue(agent, SPEC, due + 0.001, own=own)
    assert late is not None
    assert late[0] is reason


@given(
    agent=st.sampled_from([BORN, READY, COMMITTED, SERVICE, OPENED, BUSY, IDLE]),
    own=st.booleans(),
    age=st.floats(-10.0, 200_000.0),
    written=st.none() | st.floats(0.0, 500.0) | st.just(inf),
)
def test_who_is_not_yet_at_the_deadline_is_not_overdue(
    agent: Agent, own: bool, age: float, written: float | None
) -> None:
    now = T + age
    since = {agent.generation: T + written} if written is not None else {}
    view = View(
        Desired(()), World({}), Memory(), now, "run", set(), {}, set(), set(), written=since
    )
    due = deadline(view, SPEC, agent, own=own)
    late = overdue(agent, SPEC, now, own=own, written=since.get(agent.generation))
    if due is not None and due <= now:
        assert late is not None
    if late is not None:
        assert due is not None
        assert due <= now + 0.0011


@pytest.mark.parametrize("agent", [DOOMED, SETTLED])
def test_what_is_ending_is_not_overdue(agent: Agent) -> None:
    assert overdue(agent, SPEC, T + 1e9, own=True) is None


def test_without_a_limit_a_job_may_take_for_ever() -> None:
    unlimited = specs(pool("a", job_timeout=None))[0]
    assert job_limit(OPENED, unlimited) is None
    assert overdue(OPENED, unlimited, T + 1e9, own=True) is None
    assert job_limit(replace(OPENED, timeout=5.0), unlimited) == 5.0
    assert overdue(OPENED, None, T + 1e9, own=True) is None


def test_every_phase_has_its_line_in_the_table() -> None:
    assert set(DEADLINES) == set(Phase)


def test_the_backoff_doubles_up_to_its_bound() -> None:
    assert [backoff(failures) for failures in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]
    assert backoff(9) == 256.0
    assert backoff(10) == BACKOFF_MOST
    assert backoff(10_000) == BACKOFF_MOST


@pytest.mark.parametrize(
    ("now", "goes_on"),
    [(T, True), (T + 9.9, True), (T + 10, False), (T - 1, True), (T - 60, False)],
)
def test_a_wait_that_began_in_the_future_is_over(now: float, goes_on: bool) -> None:
    assert within(now, T, 10.0) is goes_on


def test_a_slot_cools_until_its_time_and_never_longer_than_the_longest_backoff() -> None:
    known = SlotMemory(failures=3, cooling_until=T + 4)
    assert cooling(known, T)
    assert not cooling(known, T + 4)
    assert not cooling(known, T - 3600)
    assert not cooling(SlotMemory(), T)


def test_the_oldest_agent_that_is_not_over_is_the_slots_own_and_the_next_its_standby() -> None:
    second = replace(READY, generation=Generation("g2"), serial=2)
    tenancy = Tenancy((SETTLED, OPENED, second))
    assert tenancy.own is OPENED
    assert tenancy.standby is second
    assert tenancy.settled == (SETTLED,)
    assert VACANCY.own is None
    assert VACANCY.standby is None


@pytest.mark.parametrize(
    ("known", "obstacle", "phase", "note"),
    [
        (SlotMemory(), None, Phase.VACANT, "about to be filled"),
        (SlotMemory(held="no image"), None, Phase.HELD, "no image"),
        (SlotMemory(), "no GPU", Phase.HELD, "no GPU"),
        (
            SlotMemory(cooling_until=T + 8, reason="it died"),
            None,
            Phase.COOLING,
            "next try in 8 s: it died",
        ),
        (SlotMemory(cordon=Cordon(T, "ann")), None, Phase.VACANT, "cordoned"),
        (SlotMemory(cordon=Cordon(T, "ann", drain=True)), None, Phase.VACANT, "drained"),
    ],
)
def test_a_slot_without_an_agent_says_why(
    known: SlotMemory, obstacle: str | None, phase: Phase, note: str
) -> None:
    obstacles = {SPEC.name: obstacle} if obstacle is not None else {}
    memory = Memory(slots={SPEC.name: known})
    row = status_of(SPEC, Desired((SPEC,), obstacles), memory, VACANCY, T)
    assert (row.phase, row.note) == (phase, note)


def test_a_slot_with_an_agent_shows_it_and_its_standby() -> None:
    second = replace(READY, generation=Generation("g2"), serial=2)
    row = status_of(SPEC, Desired((SPEC,)), Memory(), Tenancy((DOOMED, second)), T)
    assert row.phase is Phase.ENDING
    assert row.note == "timeout"
    assert row.standby_phase is Phase.ARMED
    assert row.confirmed_by is None
    busy = status_of(SPEC, Desired((SPEC,)), Memory(), Tenancy((OPENED,)), T)
    assert (busy.phase, busy.confirmed_by) == (Phase.BUSY, "witness")
