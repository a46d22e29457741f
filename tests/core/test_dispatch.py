"""A service that hands its jobs out: an agent for each of its jobs, and none beside them, whatever fails."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mayfly.core import machine
from mayfly.core.actions import AcquireJobs, Enrol
from mayfly.core.delivery import Delivery, JobCounts, Offer
from mayfly.core.dispatch import (
    BREATH,
    GRACE,
    MOST_AT_ONCE,
    MOST_OFFERS,
    MOST_OVER,
    SETTLED,
    SURPLUS,
    UNANSWERED,
    Dispatch,
    asked,
    conditions,
)
from mayfly.core.events import EVENTS
from mayfly.core.model import DoomReason, PoolName, SlotName
from mayfly.core.requests import Leave, Listen, Note
from mayfly.core.stimuli import Failure, Family, JobsTold, JobsUntold
from tests.core.handed_out import FAILED, POOL, Dispatched, Service, slots
from tests.core.simulator import Fate, Host

FATES = st.sampled_from([Fate.DONE, Fate.DONE, Fate.FAILED, Fate.LOST])
ANY = st.integers(0, 50)


def manager(count: int = 2, *, unasked: bool = False) -> Dispatched:
    """A manager whose slots stand ready."""
    host = Host()
    found = Dispatched(host, slots(count), service=Service(host, unasked))
    found.settle()
    return found


def working(one: Dispatched) -> list[str]:
    return sorted(str(box.slot) for box in one.host.boxes.values() if box.working)


def without_a_job_given(one: Dispatched) -> None:
    """One pass in which the service gives no agent a job."""
    one.turned()
    for subject in list(one.flight):
        one.finish(subject)
    one.host.progress()
    one.ask_service()
    one.answers()
    one.host.now += 0.5


def test_a_pool_that_is_configured_anew_is_replaced_while_there_is_no_job() -> None:
    one = manager(3)
    anew = tuple(replace(spec, fingerprint="another") for spec in one.desired.slots)
    one.desired = replace(one.desired, slots=anew)
    one.settle()
    agents = [agent for agent in one.memory.agents.values() if not agent.settled]
    assert {agent.fingerprint for agent in agents} == {"another"}
    assert [one.phases(f"service-{index}")[0] for index in range(3)] == ["idle"] * 3


def finish_one(one: Dispatched) -> None:
    one.service.finish(next(name for name, box in one.host.boxes.items() if box.working))


@pytest.mark.parametrize("unasked", [False, True])
def test_no_agent_is_registered_before_there_is_a_job_for_it(unasked: bool) -> None:
    one = manager(2, unasked=unasked)
    assert one.host.entries == {}
    assert one.phases("service-0") == ["idle"]
    one.service.queue()
    one.settle()
    assert working(one) == ["service-0"]
    assert one.idle == []
    finish_one(one)
    one.settle()
    assert one.host.entries == {}
    assert [job.state for job in one.service.jobs] == ["over"]


@pytest.mark.parametrize("unasked", [False, True])
def test_no_more_jobs_are_taken_on_than_there_are_slots_and_the_rest_waits_at_the_service(
    unasked: bool,
) -> None:
    one = manager(2, unasked=unasked)
    for _ in range(7):
        one.service.queue()
    one.settle()
    assert [job.state for job in one.service.jobs] == ["running"] * 2 + ["offered"] * 5
    for _ in range(7):
        finish_one(one)
        one.settle()
    assert [job.state for job in one.service.jobs] == ["over"] * 7
    assert all(len(job.by) == 1 for job in one.service.jobs)
    assert one.host.entries == {}
    assert one.service.messages == {}, "all was acknowledged"


def test_a_message_is_acknowledged_once_it_is_on_disk_and_all_that_it_offers_is_settled() -> None:
    one = manager(1)
    for _ in range(2):
        one.service.queue()
    one.settle()
    (message,) = [n for n, told in one.service.messages.items() if told[0][0] == "offered"]
    assert [job.state for job in one.service.jobs] == ["running", "offered"]
    finish_one(one)
    one.settle()
    assert message not in one.service.messages


def test_what_the_disk_does_not_take_is_not_acknowledged() -> None:
    one = manager(1)
    one.service.queue()
    one.host.now += 2.0
    one.turned()
    one.answers()
    (number,) = one.service.messages
    one.cordon(SlotName("service-0"))  # something that is to be recorded
    one.turned(recorded=False)
    assert one.word is None
    assert one.service.messages.keys() == {number}
    assert one.known.offers == {1: ("1", number)}


def test_a_job_that_ends_stands_for_itself_until_the_service_says_that_it_is_over() -> None:
    one = manager(2)
    one.service.queue()
    one.settle()
    (name,) = [entry.name for entry in one.host.entries.values()]
    told, one.service.pending = one.service.pending, []
    finish_one(one)
    one.service.pending.clear()  # the service is late with that
    one.settle()
    assert one.known.counts.assigned == 1
    assert set(one.known.ended) == {name}
    assert one.host.entries == {}, "no agent for a job that is over"
    one.inbox.append(JobsTold(POOL, Delivery(None, None, over=(name,))))
    one.settle()
    assert one.known.ended == {}
    del told


@pytest.mark.parametrize("unasked", [False, True])
def test_an_agent_that_ends_well_without_a_job_costs_the_job_no_more_than_a_minute(
    unasked: bool,
) -> None:
    one = manager(1, unasked=unasked)
    job = one.service.queue()
    while not any(box.running for box in one.host.boxes.values()):
        without_a_job_given(one)
    one.host.ends(next(name for name, box in one.host.boxes.items() if box.running), 0)
    while not one.known.ended:
        without_a_job_given(one)
    one.settle()
    assert job.state == "assigned"
    one.host.now += SETTLED
    one.settle()
    assert working(one) == ["service-0"], "nobody has said anything new, and the job is had"


def test_where_no_slot_is_left_nobody_is_asked_however_long_an_answer_is_away() -> None:
    one = manager(2)
    while one.word is None:
        one.turned()
        one.host.now += 0.5
    known, need = one.known, {POOL: 0}
    nothing = replace(one.state.desired, slots=())
    left, (request,), _ = asked({POOL: known}, nothing, one.memory, need, one.now)
    assert isinstance(request, Leave)
    assert left[POOL].asked is not None
    late = one.now + UNANSWERED + 1
    assert asked(left, nothing, one.memory, need, late)[1:] == ((), None)


def test_a_job_that_is_said_to_be_ours_before_its_acquisition_is_counts_once() -> None:
    known = Dispatch(0.0).told(Delivery(1, JobCounts(1), (Offer(7, "a"),)), (), 1.0)
    assert known.acquisition((7,), (7,), 2.0).wanted == 1
    told = known.told(Delivery(2, JobCounts(assigned=1), assigned=frozenset({7})), (), 1.5)
    assert told.acquisition((7,), (7,), 2.0).wanted == 1


def test_an_end_that_the_service_knows_first_makes_room_at_once() -> None:
    known = Dispatch(0.0).told(
        Delivery(1, JobCounts(assigned=1), over=("box-service-0-x",)), (), 5.0
    )
    assert known.ends("box-service-0-x", 6.0).ended == {}


@pytest.mark.parametrize("how", ["cordon", "drain", "pause"])
def test_what_a_person_takes_out_of_service_takes_no_job_on_and_leaves(how: str) -> None:
    one = manager(1)
    if how == "pause":
        one.pause()
    else:
        one.cordon(SlotName("service-0"), drain=how == "drain")
    one.settle()
    assert not one.service.session
    one.service.queue()
    one.settle()
    assert [job.state for job in one.service.jobs] == ["offered"]
    assert one.host.entries == {}
    if how == "pause":
        one.resume()
    else:
        one.uncordon(SlotName("service-0"))
    one.settle()
    assert working(one) == ["service-0"]


def test_a_slot_less_is_said_at_once_and_no_running_job_is_touched() -> None:
    one = manager(2)
    one.service.queue()
    one.settle()
    (busy,) = working(one)
    one.cordon(SlotName(busy))
    one.settle()
    assert one.service.session
    assert one.service.room == 2  # one that runs, and one slot
    assert working(one) == [busy]


def test_an_agent_whose_job_was_cancelled_goes_after_a_minute_unless_it_got_another() -> None:
    one = manager(2)
    job = one.service.queue()
    while job.state == "offered":
        one.turned()
        for subject in list(one.flight):
            one.finish(subject)
        one.host.progress()
        one.answers()
        one.host.now += 0.5
    one.service.cancel(job)
    one.settle(20)
    assert len(one.idle) == 1
    one.host.now += SURPLUS
    one.settle()
    assert one.host.entries == {}
    assert any(getattr(fact, "reason", None) is DoomReason.SURPLUS for fact in one.journal)


def test_an_enrolment_of_a_manager_that_died_goes_with_it() -> None:
    one = manager(1)
    one.service.queue()
    while not any(isinstance(action, Enrol) for action in one.flight.values()):
        one.turned()
        for subject in list(one.flight):
            if not isinstance(one.flight[subject], Enrol):
                one.finish(subject)
        one.host.progress()
        one.answers()
        one.host.now += 0.5
    one.finish(next(iter(one.flight)))
    one.turn()  # its enrolment is on disk, its gate is being opened, and nothing was written
    one.crash(())
    one.service.cancel(one.service.jobs[0])
    one.host.now += 10
    one.settle()
    assert one.host.entries == {}


def test_a_manager_that_dies_between_acquiring_and_knowing_it_loses_no_job() -> None:
    one = manager(1)
    job = one.service.queue()
    while not any(isinstance(action, AcquireJobs) for action in one.flight.values()):
        one.turned()
        one.answers()
        one.host.now += 0.5
    one.crash(tuple(one.flight))
    assert job.state == "assigned"
    one.settle()
    assert working(one) == ["service-0"]
    finish_one(one)
    one.settle()
    assert (job.state, len(job.by)) == ("over", 1)


def test_a_pool_that_is_told_of_nothing_is_a_condition_after_a_while_and_at_once_for_good() -> None:
    known = Dispatch(0.0).untold(FAILED, 100.0)
    assert conditions({POOL: known}, 100.0 + GRACE - 1) == []
    (told,) = conditions({POOL: known}, 100.0 + GRACE)
    assert (told.code, told.pool) == ("dispatch.down", POOL)
    lasting = Dispatch(0.0).untold(Failure(Family.REFUSED, "no such group"), 100.0)
    assert [one.code for one in conditions({POOL: lasting}, 100.0)] == ["dispatch.down"]
    assert conditions({POOL: known.told(Delivery(), (), 200.0)}, 300.0) == []


def test_who_does_not_answer_is_asked_less_and_less_often_and_at_once_again_after_an_answer() -> (
    None
):
    known, at, asked_at = Dispatch(0.0), 100.0, []
    while at < 400:
        asked_at.append(at)
        known = known.untold(FAILED, at)
        at = known.due
    rests = [later - one for one, later in pairwise(asked_at)]
    assert rests[:5] == [5, 5, 10, 20, 30]
    assert set(rests[5:]) == {30}
    patient = Failure(Family.PASSING, "its limit is reached", retry_after=90.0)
    assert known.untold(patient, 500.0).due == 590.0
    assert known.told(Delivery(counts=JobCounts()), (), 500.0).untold(FAILED, 501.0).due == 506.0


def test_a_service_that_hands_nothing_out_has_an_agent_enrolled_in_each_slot() -> None:
    one = manager(2)
    one.inbox.append(JobsTold(POOL, Delivery(unsupported="it has no such thing")))
    one.settle()
    assert len(one.idle) == 2
    assert [found.code for found in conditions({POOL: one.known}, one.now)] == ["dispatch.fallback"]


def test_what_comes_and_goes_is_told_the_log_by_names_that_it_knows() -> None:
    one = manager(1)
    found: list[str] = []
    for told in (
        JobsUntold(POOL, FAILED),
        JobsUntold(POOL, FAILED),
        JobsTold(POOL, Delivery()),
        JobsTold(POOL, Delivery(unsupported="it has no such thing")),
    ):
        step = machine.step(one.state, [told], one.now, one.judge)
        one.state = step.state
        found += [note.event for note in step.requests if isinstance(note, Note)]
    assert found == ["dispatch.failed", "dispatch.back", "dispatch.fallback"]
    assert set(found) <= EVENTS.keys()


def test_a_session_that_begins_makes_void_what_was_said_in_the_last_one() -> None:
    known = Dispatch(0.0).told(Delivery(4, JobCounts(2), (Offer(1, "a"),)), (), 1.0)
    assert (known.offers, known.unacknowledged, known.acknowledgeable) == ({1: ("a", 4)}, (4,), ())
    again = known.told(Delivery(counts=JobCounts(1), begins=True), (), 2.0)
    assert (again.offers, again.unacknowledged, again.counts.available) == ({}, (), 1)


def test_a_service_that_tells_without_end_fills_nothing_and_is_asked_with_a_pause() -> None:
    known = Dispatch(0.0)
    for number in range(1, 41):
        known = replace(known, asked=known.due)
        offers = tuple(Offer(number * 1_000 + one, f"{number}-{one}") for one in range(1_000))
        over = tuple(f"{number}-{one}" for one in range(1_000))
        known = known.told(Delivery(number, JobCounts(1), offers, over=over), (), known.due)
        assert known.due == pytest.approx(number * BREATH)
    assert len(known.offers) == MOST_OFFERS
    assert known.unacknowledged == (1, 2), "what has no room is left to the service"
    assert len(known.over) == MOST_OVER
    assert list(known.over)[-1] == "40-999", "the last are kept"


def test_messages_without_offers_are_acknowledged_some_at_a_time_the_oldest_first() -> None:
    known = Dispatch(0.0)
    for number in range(3 * MOST_AT_ONCE):
        known = known.told(Delivery(number), (), float(number))
    assert known.acknowledgeable == tuple(range(MOST_AT_ONCE))


def test_what_had_no_room_is_told_again_in_the_next_session_once_there_is() -> None:
    one = manager(1)
    half = MOST_OFFERS // 2

    def told(number: int) -> Dispatch:
        offers = tuple(Offer(number * half + each, f"{number}-{each}") for each in range(half))
        return known.told(Delivery(number, JobCounts(3 * half), offers), (), one.now)

    def said() -> tuple[Listen | Leave, ...]:
        at = known.due
        return asked({POOL: replace(known, asked=None)}, one.desired, one.memory, {POOL: 0}, at)[1]

    known = one.known
    for number in (1, 2, 3):
        known = told(number)
    assert known.overfull
    assert [type(word) for word in said()] == [Listen]
    gone = frozenset(f"1-{each}" for each in range(half))
    known = known.told(Delivery(4, gone=gone), (), one.now)
    assert said() == (Leave(POOL, known.turn),)
    left, _, _ = asked({POOL: known}, one.desired, one.memory, {POOL: 0}, known.due)
    assert (left[POOL].offers, left[POOL].overfull) == ({}, False)
    assert left[POOL].turn == known.turn + 1


def test_what_a_pool_that_is_gone_is_told_is_nothing() -> None:
    one = manager(1)
    one.inbox += [
        JobsTold(PoolName("other"), Delivery(1, JobCounts(assigned=9))),
        JobsUntold(PoolName("other"), FAILED),
    ]
    one.settle(5)
    assert one.host.entries == {}


class Chaos(RuleBasedStateMachine):
    """A day on which jobs come and go at the worst moments, and everything may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.one = manager(3)

    @initialize(unasked=st.booleans(), slow=st.booleans())
    def begin(self, unasked: bool, slow: bool) -> None:
        self.one.service.unasked = unasked
        self.one.host.slow = slow

    @rule(jobs=st.integers(1, 4))
    def jobs_come(self, jobs: int) -> None:
        for _ in range(jobs):
            self.one.service.queue()

    @rule(at=ANY)
    @precondition(lambda self: self.one.service.jobs)
    def a_job_is_cancelled(self, at: int) -> None:
        jobs = self.one.service.jobs
        self.one.service.cancel(jobs[at % len(jobs)])

    @rule(recorded=st.sampled_from([True, True, True, False]))
    def turns(self, recorded: bool) -> None:
        self.one.turned(recorded=recorded)

    @rule(lost=st.sampled_from([False, False, True]))
    def the_service_answers(self, lost: bool) -> None:
        self.one.answers(lost=lost)

    @rule()
    def the_session_is_lost(self) -> None:
        self.one.service.session = False

    @rule(at=ANY, fate=FATES)
    @precondition(lambda self: self.one.flight)
    def an_action_ends(self, at: int, fate: Fate) -> None:
        subjects = list(self.one.flight)
        self.one.finish(subjects[at % len(subjects)], fate)

    @rule(done=st.lists(ANY, max_size=4))
    def the_manager_dies(self, done: list[int]) -> None:
        subjects = list(self.one.flight)
        self.one.crash({subjects[at % len(subjects)] for at in done} if subjects else set())

    @rule()
    def agents_get_on(self) -> None:
        self.one.host.progress()
        self.one.service.progress()
        self.one.ask_service()

    @rule(at=ANY)
    def a_job_ends(self, at: int) -> None:
        busy = [name for name, box in self.one.host.boxes.items() if box.working]
        if busy:
            self.one.service.finish(busy[at % len(busy)])

    @rule(at=ANY, drain=st.booleans())
    def a_slot_is_cordoned(self, at: int, drain: bool) -> None:
        self.one.cordon(SlotName(f"service-{at % 3}"), drain=drain)

    @rule(at=ANY)
    def a_slot_is_uncordoned(self, at: int) -> None:
        self.one.uncordon(SlotName(f"service-{at % 3}"))

    @rule(seconds=st.sampled_from([0.5, 5.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.one.host.now += seconds

    @rule()
    def a_good_while(self) -> None:
        self.one.settle(4)

    def teardown(self) -> None:
        """Everything works again: each job has run once, or was cancelled before, and nothing is left."""
        one = self.one
        one.host.slow = False
        for number in range(3):
            one.uncordon(SlotName(f"service-{number}"))
        for _ in range(60):
            one.settle(8)
            for generation, box in list(one.host.boxes.items()):
                if box.working:
                    one.service.finish(generation)
            if all(job.state == "over" for job in one.service.jobs):
                break
            one.host.now += 20.0
        assert [job.state for job in one.service.jobs] == ["over"] * len(one.service.jobs)
        for job in one.service.jobs:
            assert len(job.by) == (0 if job.cancelled else 1), job
        for _ in range(12):
            one.settle(8)
            one.host.now += 30.0
        assert one.host.entries == {}, "a registration is left"


Chaos.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestChaos = pytest.mark.long(Chaos.TestCase)
