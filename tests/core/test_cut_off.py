"""Agents whose client has not come back to a service that answers again: who is replaced, and who not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.contact import Contact, Contacts, Return
from mayfly.core.cut_off import GRACE, MUTE, OVER, REACH, TOGETHER, CutOff, cut_off
from mayfly.core.facts import AgentDoomed
from mayfly.core.memory import Agent, Doom, Memory
from mayfly.core.model import DoomReason, Generation, Phase, PoolName
from mayfly.core.signs import Reported
from mayfly.core.stimuli import ClientSign, Failure, Family
from tests.core.simulator import JOB
from tests.core.test_contact import AWAY, Failing, served
from tests.service_agent import service_agent

POOL = PoolName("gh")
BACK = 1000.0
SINCE = BACK - 240.0
FAILED = Return(BACK, SINCE, unanswered=False)
SILENT = Return(BACK, SINCE, unanswered=True)
IDLE = service_agent(POOL, committed=1.0, opened=2.0, confirmed=Phase.IDLE, confirmed_at=3.0)
TOLD = Reported().trouble(IDLE, ClientSign(IDLE.generation, "trouble", "cut off", None), SINCE)


def look(
    agent: Agent = IDLE,
    reported: Reported = TOLD,
    back: Return | None = FAILED,
    now: float = BACK + GRACE,
) -> CutOff:
    memory = Memory({agent.generation: agent})
    return cut_off(memory, reported, Contacts({POOL: Contact(now + 9.0, back=back)}), now)


def test_a_client_that_is_cut_off_has_a_grace_and_then_its_agent_is_replaced() -> None:
    assert look(now=BACK) == CutOff(due=BACK + GRACE)
    assert look().agents == {IDLE.generation}


@pytest.mark.parametrize(
    ("agent", "reported"),
    [
        (replace(IDLE, confirmed=Phase.BUSY), TOLD),
        (replace(IDLE, confirmed=None), TOLD),
        (replace(IDLE, doom=Doom(DoomReason.OLD, BACK)), TOLD),
        (replace(IDLE, exited=BACK), TOLD),
        (replace(IDLE, opened=BACK + 1.0), TOLD),
        (IDLE, TOLD.well(IDLE, reached=True)),
        (IDLE, Reported()),
        (IDLE, Reported().trouble(IDLE, ClientSign(IDLE.generation, "trouble", "no"), SINCE)),
        (replace(IDLE, generation=Generation("l0000000bcdef")), TOLD),
    ],
    ids=["busy", "unknown", "ending", "ended", "after", "well", "fine", "goes on", "another's"],
)
def test_nobody_else_is(agent: Agent, reported: Reported) -> None:
    assert look(agent, reported) == CutOff()


def test_a_service_that_was_never_away_has_cut_nobody_off() -> None:
    """The agents' own way there may be: an agent more would fare no better."""
    assert look(back=None) == CutOff()


def test_trouble_that_begins_long_after_the_outage_is_not_of_it() -> None:
    for after, replaced in ((REACH - 1.0, True), (REACH + 1.0, False)):
        sign = ClientSign(IDLE.generation, "trouble", "cut off", None)
        reported = Reported().trouble(IDLE, sign, BACK + after)
        assert bool(look(reported=reported, now=BACK + after + GRACE).agents) is replaced
    assert look(now=BACK + OVER) == CutOff()


def test_an_agent_that_follows_one_in_trouble_is_not_replaced_for_it_too() -> None:
    following = replace(IDLE, generation=Generation("l0000000bcdef"))
    sign = ClientSign(following.generation, "trouble", "cut off", None)
    assert look(following, TOLD.trouble(following, sign, BACK - 1.0)) == CutOff()


def test_where_nothing_was_answered_who_has_not_been_heard_of_since_is_replaced() -> None:
    """Some clients wait for ten minutes, and say nothing of it."""
    assert look(reported=Reported(), back=SILENT).agents == {IDLE.generation}
    short = replace(SILENT, since=BACK - MUTE + 1.0)
    assert look(reported=Reported(), back=short) == CutOff()
    known = {IDLE.generation}
    for at, replaced in ((BACK - 1.0, True), (BACK + 1.0, False)):
        heard = Reported().in_contact(IDLE, known, at)
        assert bool(look(reported=heard, back=SILENT).agents) is replaced


def silent_outage(manager: Failing, seconds: float) -> None:
    """The service answers nobody for so long; its lists fail when their time is over."""
    manager.failure = Failure(Family.PASSING, "timed out", unanswered=True)
    start = manager.now
    while manager.now < start + seconds:
        manager.one_second()
    manager.failure = None


def test_of_many_slots_a_few_at_a_time_are_replaced_and_none_that_works() -> None:
    manager = served(6 * TOGETHER)
    before = {spec.name: manager.own(spec.name) for spec in manager.desired.slots}
    works = list(before)[:3]
    for name in works:
        manager.host.gives_job(before[name])
    silent_outage(manager, 240.0)
    back, most = manager.now, 0
    while manager.now < back + 180.0:
        manager.one_second()
        idle = sum(manager.phases(name)[:1] == ["idle"] for name in before)
        most = max(most, len(before) - len(works) - idle)
    assert 0 < most <= TOGETHER
    after = {name: manager.own(name) for name in before}
    assert {name for name in before if after[name] == before[name]} == set(works)
    assert [manager.phases(name)[0] for name in works] == ["busy"] * len(works)
    doomed = [fact for fact in manager.journal if isinstance(fact, AgentDoomed)]
    assert {fact.reason for fact in doomed} == {DoomReason.CUT_OFF}
    assert all(manager.memory.slot(name).failures == 0 for name in before)
    assert manager.conditions() == []


def test_who_gets_a_job_before_the_service_has_let_go_of_it_keeps_it() -> None:
    manager = served(1)
    own = manager.own("service-0")
    silent_outage(manager, 120.0)
    manager.hangs = True
    for _ in range(60):
        manager.one_second()
    doom = manager.memory.agents[own].doom
    assert doom is not None
    assert doom.reason is DoomReason.CUT_OFF
    manager.host.gives_job(own)
    manager.hangs = False
    for _ in range(120):
        manager.one_second()
    assert manager.own("service-0") == own
    assert manager.host.boxes[own].working
    assert manager.host.witnesses[own].signs == (JOB,)


def test_a_call_that_was_not_answered_in_time_is_told_from_one_that_failed() -> None:
    contacts = Contacts().use([POOL], [], 0.0)
    for failure, unanswered in ((AWAY, False), (replace(AWAY, unanswered=True), True)):
        down = contacts.list_failed(POOL, failure, 10.0).list_failed(POOL, AWAY, 20.0)
        assert down.pools[POOL].back is None
        back = down.listed(POOL, 30.0, 30.0)
        assert back.pools[POOL].back == Return(30.0, 10.0, unanswered=unanswered)
        assert back.shifted(5.0, 40.0).pools[POOL].back == Return(35.0, 15.0, unanswered=unanswered)
