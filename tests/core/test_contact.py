"""Services that are down: how often they are asked then, what is said of it, and that all is well soon after.

The machine on a host without a host, by the clock of that host: four minutes take no time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf
from typing import Literal

import pytest

from mayfly.core.actions import Action
from mayfly.core.conditions import client_conditions, service_conditions
from mayfly.core.contact import GRACE, LIST_REST, SLOW, SOON, CallKind, Contacts, call_kind
from mayfly.core.memory import Agent, Doom, Memory
from mayfly.core.model import (
    DoomReason,
    Generation,
    Phase,
    PoolName,
    Roster,
    SlotName,
    Traits,
)
from mayfly.core.requests import Trial
from mayfly.core.signs import Reported
from mayfly.core.slots import Tenancy, status_of
from mayfly.core.stimuli import (
    ActionDone,
    ActionFailed,
    ClientSign,
    EnrolmentTried,
    Failure,
    Family,
    RosterFailed,
    RosterSeen,
    Stimulus,
)
from tests.core.served import Served, ServiceAction
from tests.core.simulator import LADDER, Host, desire, pool, specs

POOL = PoolName("service")
AWAY = Failure(Family.PASSING, "the service answered 503 when asked to list")
NO_TOKEN = Failure(Family.REFUSED, "the token is wrong")
OUTAGE = 240.0


@dataclass
class Failing(Served):
    """A service that fails as it is told to, and what it was asked when."""

    failure: Failure | None = None  # None: the service answers
    fails: frozenset[CallKind] = frozenset(CallKind)
    silent: bool = False  # it does not even fail
    hangs: bool = False  # nor does it at what it is asked for an agent
    calls: list[tuple[float, CallKind, str]] = field(default_factory=list)

    def traits(self) -> Traits:
        return Traits()

    def services(self) -> Mapping[PoolName, Traits]:
        return {POOL: Traits()}  # also once the configuration has no such pool any more

    def _failing(self, kind: CallKind, subject: str = "") -> Failure | None:
        self.calls.append((self.now, kind, subject))
        return self.failure if kind in self.fails else None

    def listed(self, of: PoolName) -> Stimulus | None:
        if self.silent:
            return None
        failure = self._failing(CallKind.LIST)
        if failure is not None:
            return RosterFailed(of, failure)
        return RosterSeen(of, Roster(tuple(self.host.entries.values()), self.now), 30.0)

    def called(self, action: ServiceAction) -> ActionDone | ActionFailed | None:
        failure = self._failing(call_kind(action), action.subject)
        return ActionFailed(action, failure) if failure is not None else None

    def tried(self, of: PoolName, trial: Trial) -> EnrolmentTried:
        return EnrolmentTried(of, self._failing(CallKind.ENROL, "trial"))

    def _act(self, subject: str, action: Action) -> None:
        if not (self.hangs and isinstance(action, ServiceAction)):
            super()._act(subject, action)

    def since(self, start: float) -> list[tuple[float, CallKind, str]]:
        return [call for call in self.calls if call[0] >= start]


def served(slots: int) -> Failing:
    manager = Failing(Host(), desire(specs(pool("service", slots, provider="azure"))))
    for _ in range(10):
        manager.one_second()
    assert all(manager.phases(f"service-{index}")[0] == "idle" for index in range(slots))
    assert manager.conditions() == []
    return manager


def end_all_jobs(manager: Failing) -> None:
    """Each agent does a job, so that its slot's next one wants an enrolment."""
    for box in list(manager.host.boxes.values()):
        if box.running:
            manager.host.gives_job(box.generation)
            manager.host.ends(box.generation, 0)


def drain(manager: Failing) -> None:
    """Each slot is to be emptied, so that its agent is to be dismissed."""
    for spec in manager.desired.slots:
        manager.cordon(spec.name, drain=True)


@pytest.mark.parametrize("slots", [1, 3, pytest.param(8, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "work", [end_all_jobs, drain, lambda _: None], ids=["enrol", "dismiss", "none"]
)
@pytest.mark.parametrize(
    "failure", [AWAY, NO_TOKEN, replace(AWAY, retry_after=20.0)], ids=["503", "401", "429"]
)
def test_a_service_that_is_down_for_four_minutes_costs_little_and_is_told_at_once(
    slots: int, work: Callable[[Failing], None], failure: Failure
) -> None:
    manager = served(slots)
    manager.failure, start = failure, manager.now
    work(manager)
    first_failed = inf
    while manager.now < start + OUTAGE:
        manager.one_second()
        first_failed = min([first_failed, *(call[0] for call in manager.since(start))])
        if manager.now - first_failed >= 30.0:
            (told,) = manager.conditions()
            assert told.text == failure.text
            assert told.pool == POOL
            assert told.code == ("service.refused" if failure.lasting else "service.down")
            assert told.fix
    calls = manager.since(start)
    assert first_failed - start <= 30.0
    assert len(calls) <= slots * OUTAGE / 30.0
    for subject in {subject for _, kind, subject in calls if kind is not CallKind.LIST}:
        times = [at for at, _, of in calls if of == subject]
        assert all(later - at >= 30.0 for at, later in pairwise(times))
    if work is end_all_jobs and not failure.lasting:
        # Who waits for an enrolment bears its slot's name meanwhile.
        waiting = {
            manager.host.boxes[manager.own(spec.name)].name for spec in manager.desired.slots
        }
        assert waiting == {spec.name for spec in manager.desired.slots}
    manager.failure, back = None, manager.now
    while manager.now < back + 60.0:
        manager.one_second()
    assert manager.conditions() == []
    for index in range(slots):
        phases = manager.phases(f"service-{index}")
        assert phases == [] if work is drain else phases[0] == "idle"
    if work is drain:
        assert manager.host.entries == {}


@pytest.mark.parametrize(
    ("kind", "work"),
    [(CallKind.ENROL, end_all_jobs), (CallKind.DISMISS, drain)],
)
def test_a_service_that_fails_at_one_kind_of_call_rests_for_each_agent_and_is_told(
    kind: CallKind, work: Callable[[Failing], None]
) -> None:
    manager = served(3)
    manager.failure, manager.fails, start = AWAY, frozenset({kind}), manager.now
    work(manager)
    while manager.now < start + OUTAGE:
        manager.one_second()
        if manager.now >= start + 30.0:
            assert [one.code for one in manager.conditions()] == ["service.down"]
    calls = [call for call in manager.since(start) if call[1] is kind]
    # Each tries once more after a blip, and then twice a minute.
    assert len(calls) <= 3 * (OUTAGE / 30.0 + 1)
    manager.failure, back = None, manager.now
    while manager.now < back + 60.0:
        manager.one_second()
    assert manager.conditions() == []


def remove(manager: Failing) -> None:
    """The configuration has the pool no more."""
    manager.desired = desire()


@pytest.mark.parametrize("want", [drain, remove])
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("silent", [False, True])
def test_a_service_that_never_answers_keeps_no_agent_beyond_its_deadline(
    want: Callable[[Failing], None], restarts: bool, silent: bool
) -> None:
    """It is asked to let go of the agents, then they are ended; their entries go when it is back."""
    manager = served(2)
    manager.failure, manager.silent = AWAY, silent
    while not manager.state.contacts.down and not silent:
        manager.one_second()
    want(manager)
    start = manager.now
    limit = 60.0 + sum(step.grace for step in LADDER)
    while manager.now <= start + limit + 5:
        manager.one_second()
        if restarts and manager.now == start + 30.0:
            manager.crash(())
    assert manager.host.boxes == {}
    assert len(manager.host.entries) == 2
    if restarts:
        manager.crash(())
    manager.failure, manager.silent, back = None, False, manager.now
    manager.inbox.append(RosterFailed(POOL, AWAY))  # whoever was silent gives up at last
    while manager.now < back + 60.0:
        manager.one_second()
    assert manager.host.entries == {}
    assert manager.memory.agents == {}


def test_an_agent_that_got_a_job_from_a_service_that_no_longer_answers_keeps_it() -> None:
    manager = served(1)
    generation = manager.own("service-0")
    manager.failure = AWAY
    while not manager.state.contacts.down:
        manager.one_second()
    manager.host.gives_job(generation)
    drain(manager)
    for _ in range(300):
        manager.one_second()
    assert manager.host.boxes[generation].working
    assert manager.phases("service-0")[0] == "busy"


@pytest.mark.parametrize("kind", [CallKind.LIST, CallKind.ENROL])
def test_a_blip_is_over_before_it_is_told(kind: CallKind) -> None:
    manager = served(2)
    start = manager.now
    end_all_jobs(manager)
    manager.failure, manager.fails = AWAY, frozenset({kind})
    while not [call for call in manager.since(start) if call[1] is kind]:
        manager.one_second()
    manager.failure = None
    while manager.now < start + 20.0:
        manager.one_second()
        assert manager.conditions() == []
    assert [manager.phases(f"service-{index}")[0] for index in range(2)] == ["idle", "idle"]


def test_a_service_that_does_not_answer_at_all_is_told_and_asked_once() -> None:
    manager = served(1)
    manager.silent, start = True, manager.now
    while manager.now < start + 30.0 + SLOW + 1:
        manager.one_second()
    (told,) = manager.conditions()
    assert told.code == "service.down"
    assert "has not answered for" in told.text


@pytest.mark.parametrize("work", [end_all_jobs, drain], ids=["enrol", "dismiss"])
def test_a_service_that_leaves_a_call_for_an_agent_unanswered_is_told_within_half_a_minute(
    work: Callable[[Failing], None],
) -> None:
    """While its list is not due for long yet; and it is told until it answers something."""
    manager = served(2)
    manager.inbox.append(RosterSeen(POOL, Roster((), manager.now), 3600.0))
    manager.one_second()
    manager.hangs, start = True, manager.now
    work(manager)
    while manager.now < start + 120.0:
        manager.one_second()
        if manager.now - start > 30.0:
            (told,) = manager.conditions()
            assert told.code == "service.down"
    # It fails at last: that has been so all the while.
    manager.hangs, manager.failure = False, AWAY
    manager.one_second()
    assert [one.text for one in manager.conditions()] == [AWAY.text]
    manager.failure, back = None, manager.now
    while manager.now < back + 60.0:
        manager.one_second()
    assert manager.conditions() == []


def test_a_list_that_took_long_to_fail_has_rested_meanwhile() -> None:
    """A service that is back is not left alone for another half a minute."""
    contacts, *_ = Contacts().use([POOL], [], 0.0).ask(0.0)
    contacts, *_ = contacts.list_failed(POOL, AWAY, 30.0).ask(35.0)
    again = contacts.list_failed(POOL, AWAY, 65.0)
    assert again.pools[POOL].due == 35.0 + LIST_REST
    assert again.pools[POOL].due >= 65.0 + 5.0
    asked_late = contacts.list_failed(POOL, AWAY, 90.0)
    assert asked_late.pools[POOL].due == 95.0


def test_a_list_that_failed_after_long_is_told_at_once() -> None:
    contacts, *_ = Contacts().use([POOL], [], 0.0).ask(0.0)
    failed = contacts.list_failed(POOL, AWAY, 30.0)
    assert [one.text for one in service_conditions(failed, {}, 30.0)] == [AWAY.text]
    quickly = contacts.list_failed(POOL, AWAY, 0.1)
    assert service_conditions(quickly, {}, 0.1 + GRACE - 1) == []
    assert len(service_conditions(quickly, {}, 0.1 + GRACE)) == 1


@pytest.mark.parametrize("interval", [30.0, 60.0, 90.0, 640.0])
@pytest.mark.parametrize("lasts", [0.0, 9.0], ids=["quick lists", "long lists"])
def test_a_service_that_falls_silent_is_told_within_half_a_minute_whenever_that_is(
    interval: float, lasts: float
) -> None:
    """Though its list is due seldom; and lists that take long are no silence."""
    lasts = lasts if interval > 60.0 else 0.0
    contacts, now = Contacts().use([POOL], [], 0.0), 0.0
    answers: list[tuple[float, bool]] = []
    falls_silent: list[tuple[float, Contacts]] = []  # each from where all was well until then
    while now < 740.0:
        if now >= 700.0 and now.is_integer():
            falls_silent.append((now, contacts))
        for at, listed in list(answers):
            if at <= now:
                answers.remove((at, listed))
                contacts = (
                    contacts.listed(POOL, interval, now) if listed else contacts.answered(POOL)
                )
        contacts, due, knocked = contacts.ask(now)
        assert not (due and knocked)
        answers += [(now + lasts, True)] * len(due) + [(now, False)] * len(knocked)
        assert service_conditions(contacts, {}, now) == []
        now += 0.5
    assert len(falls_silent) == 40
    for silent, contacts in falls_silent:
        now, left = silent, contacts
        while now < silent + 30.0:
            left, due, knocked = left.ask(now)
            assert not (due and knocked)
            now += 0.5
        (told,) = service_conditions(left, {}, now)
        assert told.code == "service.down"


def test_an_agent_that_is_awaited_for_long_is_asked_after_less_and_less_often() -> None:
    """And at once when its client says a word, or another agent comes."""
    contacts, *_ = Contacts().use([POOL], [], 0.0).ask(0.0)
    contacts, asked = contacts.listed(POOL, 60.0, 0.0), [0.0]
    for now in (half / 2 for half in range(840)):
        contacts, due, knocked = contacts.awaited(POOL, now, 0.0).ask(now)
        contacts = contacts.answered(POOL) if knocked else contacts
        if due:
            asked.append(now)
            contacts = contacts.listed(POOL, 60.0, now)
    gaps = [later - at for at, later in pairwise(asked)]
    assert gaps[:10] == [SOON] * 10
    assert gaps == sorted(gaps)
    assert gaps[-1] == 30.0
    assert len(asked) < 50
    last = asked[-1]
    for since in (None, 419.0):
        assert contacts.awaited(POOL, 420.0, since).pools[POOL].due == max(420.0, last + SOON)
    assert contacts.awaited(POOL, 420.0, 0.0).pools[POOL].due == last + 30.0


def test_a_service_that_wants_to_be_left_alone_is() -> None:
    contacts, *_ = Contacts().use([POOL], [], 0.0).ask(0.0)
    failed = contacts.list_failed(POOL, replace(AWAY, retry_after=600.0), 1.0)
    assert failed.ask(600.0)[1] == ()
    assert failed.ask(601.0)[1] == (POOL,)
    assert len(service_conditions(failed, {}, 600.0)) == 1


def test_a_clock_that_is_set_makes_no_service_wait() -> None:
    contacts, *_ = Contacts().use([POOL], [], 9000.0).ask(9000.0)
    failed = contacts.list_failed(POOL, AWAY, 9000.0)
    back = failed.shifted(-3600.0, 5400.0)
    assert back.pools[POOL].due == 5400.0
    assert back.pools[POOL].failing[CallKind.LIST].since == 5400.0


def test_a_pool_that_is_configured_otherwise_is_asked_at_once() -> None:
    contacts, *_ = Contacts().use([POOL], [], 0.0).ask(0.0)
    down = contacts.list_failed(POOL, AWAY, 0.0).list_failed(POOL, AWAY, 5.0)
    assert down.pools[POOL].due == 5.0 + LIST_REST
    assert down.use([POOL], [], 6.0) == down
    assert down.use([POOL], [POOL], 6.0).pools[POOL].due == 6.0
    assert down.use([], [], 6.0).pools == {}


def test_clients_in_trouble_are_told_once_for_each_cause_until_they_are_well() -> None:
    manager = served(2)
    agents = [manager.tenancy(f"service-{index}").own for index in range(2)]
    reported = Reported()
    for agent in agents:
        assert agent is not None
        sign = ClientSign(agent.generation, "trouble", "cannot connect")
        reported = reported.trouble(agent, sign, 100.0)
    rows = [
        status_of(spec, manager.desired, manager.memory, manager.tenancy(spec.name), manager.now)
        for spec in manager.desired.slots
    ]
    assert [row.phase for row in rows] == [Phase.IDLE, Phase.IDLE]
    assert client_conditions(rows, reported, 101.0) == []
    (told,) = client_conditions(rows, reported, 115.0)
    assert (told.code, told.slots) == (
        "service.unreachable",
        (SlotName("service-0"), SlotName("service-1")),
    )
    assert "cannot connect" in told.text
    assert client_conditions(rows, reported, 200.0) == []
    assert agents[0] is not None
    (one,) = client_conditions(rows, reported.well(agents[0], reached=True), 115.0)
    assert one.slots == ("service-1",)


@pytest.mark.parametrize(
    ("quiet", "told"),
    [(0.0, [109.0]), (300.0, [109.0, 399.0, 443.0]), (None, [109.0, 399.0, 443.0, 9000.0])],
    ids=["repeats itself", "after a pause", "says when it is over"],
)
def test_a_clients_trouble_is_told_for_as_long_as_its_silence_means_trouble(
    quiet: float | None, told: list[float]
) -> None:
    manager = served(1)
    agent = manager.tenancy("service-0").own
    assert agent is not None
    sign = ClientSign(agent.generation, "trouble", "cannot connect", quiet)
    reported = Reported().trouble(agent, sign, 99.0)
    spec = manager.desired.slots[0]
    rows = [status_of(spec, manager.desired, manager.memory, manager.tenancy(spec.name), 99.0)]
    found = [at for at in (109.0, 399.0, 443.0, 9000.0) if client_conditions(rows, reported, at)]
    assert found == told
    assert client_conditions(rows, reported.well(agent, reached=True), 109.0) == []


@pytest.mark.parametrize("proof", ["lines", "roster"])
def test_a_slots_trouble_with_its_service_is_one_condition_through_all_its_agents(
    proof: Literal["lines", "roster"],
) -> None:
    """Each is ended for it after a while: nobody is to be told each time that it was over."""
    manager = served(1)
    spec = replace(manager.desired.slots[0], proof=proof)
    first = manager.tenancy(spec.name).own
    assert first is not None
    quiet = 0.0 if proof == "lines" else None
    next_one = replace(
        first, generation=Generation("l0000000bcdef"), confirmed=None, confirmed_at=None
    )
    idle = replace(next_one, confirmed=Phase.IDLE, confirmed_at=205.0)
    ending = replace(first, doom=Doom(DoomReason.REFUSED, 200.0))
    reported = Reported()
    for at in range(100, 200, 3):
        sign = ClientSign(first.generation, "trouble", "cannot connect", quiet)
        reported = reported.trouble(first, sign, float(at))

    def told(agent: Agent, now: float) -> list[str]:
        memory = Memory({agent.generation: agent})
        row = status_of(spec, manager.desired, memory, Tenancy((agent,)), now)
        return [one.code for one in client_conditions([row], reported, now)]

    for agent, now in ((first, 199.0), (ending, 201.0), (next_one, 203.0)):
        assert told(agent, now) == ["service.unreachable"]
    # One that is seen at its service, or is silent about it for long, is well.
    assert told(idle, 206.0) == ([] if proof == "roster" else ["service.unreachable"])
    assert told(idle, 300.0) == []
    # And one that meets with the same says so at once, and is given as long as the first was.
    sign = ClientSign(next_one.generation, "trouble", "cannot connect", quiet)
    reported = reported.trouble(next_one, sign, 207.0)
    assert told(next_one, 207.0) == ["service.unreachable"]
    assert not reported.lasting(next_one)
    reported = reported.well(next_one, reached=True)
    assert told(next_one, 208.0) == []
