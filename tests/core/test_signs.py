"""What the lines of a service's clients lead to, where they are the proof and where a roster is."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from mayfly.core import rosters
from mayfly.core.facts import AgentConfirmed, AgentDoomed
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    ContainerId,
    DoomReason,
    Phase,
    PoolName,
    Roster,
    RosterEntry,
    SlotName,
    World,
)
from mayfly.core.rosters import absent, confirmations
from mayfly.core.signs import LINGER, Reported, heard, wants_roster
from mayfly.core.stimuli import ClientSign
from mayfly.providers import Sign
from tests.service_agent import service_agent

POOL = PoolName("gl")
AGENT = service_agent(
    POOL,
    container=ContainerId("c"),
    committed=1.0,
    opened=2.0,
    registration="7",
    registered="box-gl-0",
)
TROUBLE = Sign("trouble", "no answer")


class Services:
    """What clients have reported in a pool whose clients' lines are the proof."""

    def __init__(self) -> None:
        self.reported = Reported()

    def signed(self, agent: Agent, sign: Sign, now: float) -> AgentConfirmed | AgentDoomed | None:
        line = ClientSign(agent.generation, sign.kind, sign.text, sign.quiet)
        known = {agent.generation}
        self.reported, fact = heard(agent, line, "lines", self.reported, known, now)
        return fact


@pytest.fixture
def services() -> Services:
    return Services()


def test_a_roster_is_the_proof_where_there_is_one_and_is_asked_for() -> None:
    for kind in get_args(get_type_hints(Sign)["kind"]):
        line = ClientSign(AGENT.generation, kind, "text")
        reported, fact = heard(AGENT, line, "roster", Reported(), set(), 5.0)
        assert fact is None
        assert (AGENT.slot in reported.troubles) == (kind == "trouble")
        assert wants_roster(line, "roster")
        assert wants_roster(line, "lines") == (kind == "refused")


def test_a_job_shows_in_the_line_where_the_service_does_not_say_who_is_there() -> None:
    for kind, phase in (("listening", Phase.IDLE), ("job_started", Phase.BUSY)):
        line = ClientSign(AGENT.generation, kind)
        _, fact = heard(AGENT, line, "roster", Reported(), set(), 5.0, unlisted=True)
        assert fact == AgentConfirmed(5.0, AGENT.generation, phase)
    for kind in ("trouble", "refused"):
        line = ClientSign(AGENT.generation, kind, "text")
        assert heard(AGENT, line, "roster", Reported(), set(), 5.0, unlisted=True)[1] is None


def test_lines_confirm_idle_and_busy_at_once(services: Services) -> None:
    for kind, phase in (("listening", Phase.IDLE), ("job_started", Phase.BUSY)):
        sign = Sign(kind)  # type: ignore[arg-type]
        assert services.signed(AGENT, sign, 5.0) == AgentConfirmed(5.0, AGENT.generation, phase)


def test_a_client_that_is_refused_is_ended_with_the_sentence(services: Services) -> None:
    fact = services.signed(AGENT, Sign("refused", "no jobs for it"), 5.0)
    assert fact == AgentDoomed(5.0, AGENT.generation, DoomReason.REFUSED, detail="no jobs for it")


def test_a_busy_agent_is_ended_for_nothing_that_its_client_says(services: Services) -> None:
    busy = replace(AGENT, confirmed=Phase.BUSY)
    assert services.signed(busy, Sign("refused", "no jobs for it"), 5.0) is None
    for second in range(0, 1000, 3):
        assert services.signed(busy, TROUBLE, float(second)) is None


def test_each_job_that_a_client_is_handed_has_the_whole_of_its_time(services: Services) -> None:
    """Also where nobody has said that the one before was taken back."""
    busy = replace(AGENT, confirmed=Phase.BUSY, confirmed_at=5.0)
    fact = services.signed(busy, Sign("job_started"), 45.0)
    assert fact == AgentConfirmed(45.0, AGENT.generation, Phase.BUSY)


def test_an_agent_whose_job_is_taken_back_before_it_begins_is_idle_again(
    services: Services,
) -> None:
    busy = replace(AGENT, confirmed=Phase.BUSY, confirmed_at=5.0)
    for at in (6.0, 26.0):
        assert services.signed(busy, Sign("job_started"), at) is not None
        fact = services.signed(busy, Sign("job_dropped"), at + 1)
        assert fact == AgentConfirmed(at + 1, AGENT.generation, Phase.IDLE)
        services.signed(replace(busy, confirmed=Phase.IDLE), Sign("job_begun"), at + 2)


def test_a_job_that_has_begun_is_not_over_for_what_its_service_answers(
    services: Services,
) -> None:
    """Its client is still ending it, and says so once that is done."""
    busy = replace(AGENT, confirmed=Phase.BUSY, confirmed_at=5.0)
    services.signed(AGENT, Sign("job_started"), 5.0)
    assert services.signed(busy, Sign("job_begun"), 6.0) is None
    assert services.signed(busy, Sign("job_dropped"), 60.0) is None
    services.signed(busy, Sign("job_started"), 90.0)
    assert services.signed(busy, Sign("job_dropped"), 91.0) is not None


def test_a_client_in_trouble_is_given_time_and_ended_when_it_goes_on_and_on(
    services: Services,
) -> None:
    ended = next(
        second for second in range(0, 1000, 3) if services.signed(AGENT, TROUBLE, float(second))
    )
    assert 150 < ended < 160


def test_what_a_client_tells_while_its_service_is_away_for_us_too_is_not_held_against_it() -> None:
    line = ClientSign(AGENT.generation, "trouble", "no answer", 0.0)
    reported, known = Reported(), {AGENT.generation}
    for second in range(0, 1000, 3):
        now = float(second)
        reported, fact = heard(AGENT, line, "lines", reported, known, now, unlisted=True)
        assert fact is None
    # The service says again who is there, and its client's last word of trouble comes after that.
    reported, fact = heard(AGENT, line, "lines", reported, known, 1001.0)
    assert fact is None
    assert not reported.lasting(AGENT)


def test_a_client_that_was_asked_for_a_pause_is_in_trouble_through_it(services: Services) -> None:
    asked = Sign("trouble", "a pause of 140 s", quiet=140.0)
    assert services.signed(AGENT, asked, 0.0) is None
    assert services.signed(AGENT, asked, 145.0) is None
    assert services.signed(AGENT, asked, 290.0) is not None


@pytest.mark.parametrize("proof", ["lines", "roster"])
def test_a_client_that_says_that_it_is_back_is_in_no_trouble_and_takes_no_job_for_that(
    proof: str,
) -> None:
    cut_off = ClientSign(AGENT.generation, "trouble", "no answer", None)
    reported, _ = heard(AGENT, cut_off, proof, Reported(), {AGENT.generation}, 5.0)
    assert AGENT.slot in reported.troubles
    back = ClientSign(AGENT.generation, "reconnected")
    reported, fact = heard(AGENT, back, proof, reported, {AGENT.generation}, 6.0, unlisted=True)
    assert (dict(reported.troubles), fact) == ({}, None)


@pytest.mark.parametrize(
    ("quiet", "online", "after", "over"),
    [
        (None, True, LINGER, True),
        (None, True, LINGER - 1.0, False),
        (None, False, LINGER, False),
        (None, None, LINGER, False),
        (0.0, True, LINGER, False),
    ],
    ids=["seen", "too soon", "not online", "not told", "says more of it"],
)
def test_a_client_that_does_not_say_that_it_is_back_is_back_once_its_service_shows_it_for_long(
    quiet: float | None, online: bool | None, after: float, over: bool
) -> None:
    cut_off = ClientSign(AGENT.generation, "trouble", "no answer", quiet)
    reported, _ = heard(AGENT, cut_off, "roster", Reported(), {AGENT.generation}, 5.0)
    roster = Roster((RosterEntry("7", "box-gl-0", online, False, SlotName("gl-0")),), 5.0 + after)
    there = rosters.online(Memory({AGENT.generation: AGENT}), POOL, roster)
    assert (reported.listed(there, roster.at).troubles == {}) is over


def test_trouble_that_stops_in_between_is_counted_anew(services: Services) -> None:
    for start in (0.0, 300.0, 600.0):
        for second in range(0, 120, 3):
            assert services.signed(AGENT, TROUBLE, start + second) is None


def test_a_client_that_takes_a_job_after_trouble_is_well_again(services: Services) -> None:
    for second in range(0, 149, 3):
        assert services.signed(AGENT, TROUBLE, float(second)) is None
    assert services.signed(AGENT, Sign("listening"), 150.0) is not None
    assert services.signed(replace(AGENT, confirmed=Phase.IDLE), TROUBLE, 153.0) is None


@pytest.mark.parametrize(
    ("online", "busy", "phase"),
    [
        (None, False, None),
        (None, True, Phase.BUSY),
        (True, False, Phase.IDLE),
        (False, False, None),
    ],
)
def test_a_service_that_does_not_tell_who_is_online_still_tells_who_is_busy(
    online: bool | None, busy: bool, phase: Phase | None
) -> None:
    roster = Roster((RosterEntry("7", "box-gl-0", online, busy, SlotName("gl-0")),), 9.0)
    memory = Memory({AGENT.generation: AGENT})
    facts = list(confirmations(memory, World({}, rosters={POOL: roster}), 10.0))
    assert [fact.phase for fact in facts if isinstance(fact, AgentConfirmed)] == (
        [phase] if phase is not None else []
    )
    assert (AGENT.generation in absent(memory, POOL, roster)) == (online is False)
