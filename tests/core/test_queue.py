"""The order of the queue, by its laws: nobody starves, equal shares end equal, who comes first is first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.core.apply import apply
from mayfly.core.facts import (
    AgentCreated,
    AgentOpened,
    ClockJumped,
    Fact,
    GateOpening,
    JobCancelling,
    JobEnded,
    JobRequeued,
    JobSubmitted,
)
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import Cause, Generation, JobId, JobState, PoolName, Priority, SlotName
from mayfly.core.queue import AHEAD, CLASSES, HALF_LIFE, PATIENCE, Queue, charged, forsaken
from mayfly.core.queue_estimate import likeness, starts

T = 1_800_000_000.0
POOL = PoolName("gpu")
ANN, BEN, CID = 1001, 1002, 1003


@dataclass
class Box:
    """A pool of some slots whose gates are opened in the queue's order, and nothing else of a host."""

    slots: int = 1
    half_life: float = HALF_LIFE
    now: float = T
    memory: Memory = field(default_factory=Memory)
    begun: list[JobId] = field(default_factory=list)
    serial: int = 0

    def record(self, *facts: Fact) -> None:
        """As the machine does."""
        self.memory = apply(self.memory, charged(facts, self.memory, self.half_life))

    def submit(
        self,
        person: int | None,
        priority: Priority = Priority.NORMAL,
        *,
        after: tuple[JobId, ...] = (),
        retry_lost: int = 0,
    ) -> JobId:
        """A job of that person."""
        self.serial += 1
        job = JobId(f"j{self.serial}")
        entry = Job(
            id=job,
            pool=POOL,
            serial=self.serial,
            submitted=self.now,
            uid=person,
            priority=priority,
            after=after,
            awaits=after,
            retry_lost=retry_lost,
        )
        self.record(JobSubmitted(self.now, entry))
        return job

    @property
    def running(self) -> list[Job]:
        """What has a slot."""
        return [job for job in self.memory.jobs.values() if job.agent is not None]

    def order(self) -> list[JobId]:
        """Of what waits."""
        return [job.id for job in Queue(self.memory, self.now, self.half_life).order(POOL)]

    def fill(self) -> list[Job]:
        """Give the free slots their jobs."""
        queue = Queue(self.memory, self.now, self.half_life)
        given: list[Job] = []
        while len(self.running) < self.slots and (job := queue.next(POOL)) is not None:
            queue.take(job)
            self.serial += 1
            generation = Generation(f"g{self.serial}")
            agent = Agent(generation, SlotName("gpu-0"), POOL, self.serial, "f", "i", (), self.now)
            self.record(
                AgentCreated(self.now, agent, "the slot has no agent"),
                GateOpening(self.now, generation, "run", job.id),
                AgentOpened(self.now, generation),
            )
            self.begun.append(job.id)
            given.append(job)
        return given

    def end(self, job: JobId, state: JobState = JobState.SUCCEEDED) -> None:
        """It is over."""
        self.record(JobEnded(self.now, job, state, None, 0))

    def work(self, seconds: float) -> None:
        """Each job in a slot runs so long, one after the other."""
        for job in self.fill():
            self.now += seconds
            self.end(job.id)


def test_who_has_one_job_is_next_before_the_hundred_of_another() -> None:
    box = Box()
    box.submit(ANN)
    box.fill()
    for _ in range(100):
        box.submit(ANN)
    box.now += 1
    one = box.submit(BEN)
    assert box.order()[0] == one
    box.end(box.begun[0])
    assert [job.id for job in box.fill()] == [one]


def test_slots_that_get_free_at_once_are_not_all_one_persons() -> None:
    box = Box(slots=4)
    for person in (ANN, BEN):
        for _ in range(10):
            box.submit(person)
    assert [job.uid for job in box.fill()] == [ANN, BEN, ANN, BEN]


def test_among_the_jobs_of_one_person_the_first_is_first() -> None:
    box = Box()
    jobs = [box.submit(ANN) for _ in range(5)]
    assert box.order() == jobs


def test_a_class_goes_before_every_share() -> None:
    box = Box()
    box.submit(ANN)
    box.fill()
    low, normal, high = (
        box.submit(BEN, one) for one in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    )
    own = box.submit(ANN, Priority.HIGH)
    assert box.order() == [high, own, normal, low]


def test_what_was_used_long_ago_counts_for_nothing() -> None:
    box = Box()
    box.submit(ANN)
    box.fill()
    box.now += 3600
    box.end(box.begun[0])
    box.now += 20 * HALF_LIFE
    first = box.submit(ANN)
    box.submit(BEN)
    box.submit(BEN)
    box.work(60.0)
    box.now += 1
    assert box.begun[1] != first, "a trace of it still decides between equals"
    assert box.order()[0] == first, "and a minute of today weighs more"


def test_jobs_of_an_earlier_mayfly_are_one_persons() -> None:
    box = Box()
    old = [box.submit(None) for _ in range(3)]
    new = box.submit(ANN)
    assert box.order() == [old[0], new, old[1], old[2]]


def test_whoever_has_a_slot_for_long_does_not_rise() -> None:
    box = Box()
    box.submit(ANN)
    box.fill()
    for _ in range(3):
        box.submit(ANN)
    box.now += 5 * PATIENCE
    one = box.submit(BEN)
    assert box.order()[0] == one, "while it runs"
    box.end(box.begun[0])
    assert box.order()[0] == one, "and when it has ended"


PEOPLE = st.sampled_from([ANN, BEN, CID])
RUNS = st.lists(st.floats(1, 7200), min_size=1, max_size=12)


@given(
    slots=st.integers(1, 4),
    runs=RUNS,
    people=st.lists(st.integers(1, 2000), min_size=2, max_size=5, unique=True),
)
def test_equal_shares_end_equal(slots: int, runs: list[float], people: list[int]) -> None:
    """Who always has something waiting gets what the others get, whatever their jobs take."""
    box = Box(slots=slots, half_life=1e15)  # so that all counts that was ever used
    left: dict[JobId, float] = {}
    for turn in range(60):
        for person in people:
            waiting = sum(1 for job in box.memory.jobs.values() if job.uid == person)
            for _ in range(slots + 1 - waiting):
                box.submit(person)
        for job in box.fill():
            left[job.id] = runs[(turn + int(job.uid or 0)) % len(runs)]
        ends = min(left, key=lambda job: left[job])
        passed = left.pop(ends)
        left = {job: seconds - passed for job, seconds in left.items()}
        box.now += passed
        box.end(ends)
    had = dict.fromkeys(people, 0.0)
    for (_, uid, _), share in box.memory.shares.items():
        assert uid is not None
        had[uid] += share.used
    for job in box.running:
        assert job.uid is not None
        assert job.started is not None
        had[job.uid] += box.now - job.started
    # Who is behind is next, so nobody is further ahead than what was begun while they were not.
    assert max(had.values()) - min(had.values()) <= (max(runs) + AHEAD) * (slots + 1)


@given(
    priorities=st.lists(st.sampled_from(CLASSES), min_size=1, max_size=6),
    mine=st.sampled_from(CLASSES),
    used=st.floats(0, 1e7),
    seconds=st.floats(1800, 14_400),
)
@settings(max_examples=25)
def test_no_job_starves(
    priorities: list[Priority], mine: Priority, used: float, seconds: float
) -> None:
    """Whatever others submit without end, of whatever class, and whatever was used before."""
    box = Box()
    if used:
        box.submit(ANN, mine)
        box.fill()
        box.now += used
        box.end(box.begun[0])
    job = box.submit(ANN, mine)
    began = box.now
    for turn in range(100):
        if job in box.begun:
            break
        for number, priority in enumerate(priorities):
            box.submit(5000 + turn * 10 + number, priority)  # somebody new, who used nothing yet
        box.work(seconds)
        others = [one for one in box.memory.jobs if one != job]
        box.record(*(_cancelled(one, box.now) for one in others))
    assert job in box.begun
    assert box.now - began <= (CLASSES.index(mine) + 1) * PATIENCE + 2 * seconds


def _cancelled(job: JobId, now: float) -> JobEnded:
    return JobEnded(now, job, JobState.CANCELLED, Cause.CANCELLED, None)


@given(
    steps=st.lists(
        st.tuples(PEOPLE, st.sampled_from(CLASSES), st.floats(0, 40_000)), min_size=1, max_size=25
    ),
    slots=st.integers(1, 3),
)
def test_what_is_shown_as_the_order_is_how_jobs_start(
    steps: list[tuple[int, Priority, float]], slots: int
) -> None:
    """Of slots that get free in one moment; and nobody is in it twice or missing."""
    box = Box(slots=slots)
    for person, priority, seconds in steps:
        box.submit(person, priority)
        if seconds > 20_000:
            box.work(seconds)
        box.now += seconds
    order = box.order()
    waiting = {job.id for job in box.memory.jobs.values() if job.agent is None}
    assert set(order) == waiting
    assert len(order) == len(waiting)
    box.slots = len(box.running) + len(order)
    assert [job.id for job in box.fill()] == order


@given(
    steps=st.lists(
        st.tuples(PEOPLE, st.sampled_from(CLASSES), st.integers(0, 40_000)), max_size=20
    ),
    jump=st.sampled_from([-86_400.0, 30.0, 1e6]),
)
def test_a_clock_that_is_set_changes_nothing_of_the_order(
    steps: list[tuple[int, Priority, int]], jump: float
) -> None:
    box = Box()
    for person, priority, seconds in steps:
        box.submit(person, priority)
        if seconds > 20_000:
            box.work(seconds)
        box.now += seconds
    before = box.order()
    box.now += jump
    box.record(ClockJumped(box.now, jump))
    assert box.order() == before


# -- what follows another job --------------------------------------------------------------------------


def test_what_follows_a_job_runs_when_that_ended_well() -> None:
    box = Box()
    first = box.submit(ANN)
    second = box.submit(ANN)
    box.submit(ANN, after=(first, second))
    assert box.order() == [first, second]
    box.fill()
    box.end(first)
    assert box.order() == [second]
    box.fill()
    box.end(second)
    assert box.order() == ["j3"]


@pytest.mark.parametrize(
    ("state", "how"),
    [
        (JobState.FAILED, "failed"),
        (JobState.CANCELLED, "was cancelled"),
        (JobState.LOST, "was lost"),
    ],
)
def test_what_follows_a_job_that_did_not_ends_with_all_that_follow_it(
    state: JobState, how: str
) -> None:
    box = Box()
    first = box.submit(ANN)
    second = box.submit(ANN, after=(first,))
    chain = [second]
    for _ in range(50):
        chain.append(box.submit(ANN, after=(chain[-1],)))
    both = box.submit(BEN, after=(chain[-1], chain[5]))
    other = box.submit(BEN)
    box.end(first, state)
    ends = forsaken(box.memory, box.now)
    assert {end.job for end in ends} == {*chain, both}
    assert {(end.state, end.cause) for end in ends} == {(JobState.CANCELLED, Cause.AFTER)}
    told = {end.job: end.detail for end in ends}
    assert told[second] == f"job {first}, which it was to run after, {how}"
    assert told[chain[1]] == f"job {second}, which it was to run after, was cancelled"
    box.record(*ends)
    assert list(box.memory.jobs) == [other]
    assert forsaken(box.memory, box.now) == []


def test_what_is_being_cancelled_is_in_no_order() -> None:
    box = Box()
    job = box.submit(ANN)
    box.record(JobCancelling(box.now, job, "ann"))
    assert box.order() == []


def test_a_job_that_was_lost_and_is_run_again_is_charged_for_nothing() -> None:
    box = Box()
    job = box.submit(ANN, retry_lost=1)
    box.fill()
    box.now += 4000
    assert box.running[0].agent is not None
    box.record(JobRequeued(box.now, job, box.running[0].agent, counted=False, lost=True))
    assert box.memory.jobs[job].lost == 1
    assert [share.used for share in box.memory.shares.values()] == [0.0]
    assert box.order() == [job]


# -- when a job starts ---------------------------------------------------------------------------------


def test_a_job_starts_when_those_before_it_have_ended() -> None:
    jobs = [Job(JobId(f"j{n}"), POOL, n, T) for n in range(5)]
    assert starts(jobs, [T, T + 50], lambda job: 100.0) == {
        "j0": T,
        "j1": T + 50,
        "j2": T + 100,
        "j3": T + 150,
        "j4": T + 200,
    }


def test_behind_a_job_that_may_take_any_time_nothing_is_known() -> None:
    jobs = [Job(JobId(f"j{n}"), POOL, n, T) for n in range(3)]
    known = starts(jobs, [T], lambda job: None if job.id == "j1" else 10.0)
    assert known == {"j0": T, "j1": T + 10, "j2": None}
    assert starts(jobs, [], lambda job: 1.0) == dict.fromkeys(known)


def test_jobs_are_alike_by_their_name_or_by_what_they_run() -> None:
    assert likeness("train", ["a"]) == likeness("train", ["b"])
    assert likeness(None, ["a", "b"]) != likeness(None, ["a b"])
    assert likeness(None, ["a", "b"]) == likeness(None, ("a", "b"))


def test_half_a_share_is_left_after_a_half_life() -> None:
    box = Box(half_life=3600.0)
    box.submit(ANN)
    box.fill()
    box.now += 60
    box.end(box.begun[0])
    used = next(iter(box.memory.shares.values())).used
    assert used == pytest.approx(60, rel=0.01)
    box.now += 3600
    box.submit(ANN)
    box.fill()
    box.end(box.begun[1])
    again = next(iter(box.memory.shares.values()))
    assert again.used == pytest.approx(used / 2)
    assert replace(again, used=0.0).at == box.now
