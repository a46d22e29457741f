"""What a person is told of a queued job: its place, why it waits, about when it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import Caller, Payload, SubmitJob
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Cordon, Job, Memory, Pause, Share, ShareKey, SlotMemory
from mayfly.core.model import (
    Config,
    Desired,
    Generation,
    HostId,
    HostSpec,
    JobId,
    Limits,
    PoolName,
    Priority,
    SlotName,
)
from mayfly.core.queue import PATIENCE
from mayfly.core.queue_estimate import likeness
from mayfly.core.state import State, begin
from mayfly.service.queue_view import LiveQueue
from tests.core.simulator import pool, specs, with_images
from tests.core.turn_days import BOX, box, turning

T = 1_800_000_000.0
POOL = replace(pool("a", slots=2, job_images=("lab/x",)), limits=Limits(job_timeout=3600.0))
A0, A1 = SlotName("a-0"), SlotName("a-1")
CORDONED = SlotMemory(cordon=Cordon(T, "ann"))


class Lasted:
    """Jobs called fast ran ten seconds, all together a hundred; of other names nothing is known."""

    def __init__(self, *, known: bool = True) -> None:
        self.known = known

    def likenesses(self, pool: str) -> dict[JobId, str]:
        assert pool == "a"
        return {JobId(f"fast{n}"): likeness("fast", ()) for n in range(9)}

    def lasted(self, pool: str, alike: str | None = None) -> list[float]:
        assert pool == "a"
        if not self.known:
            return []
        return [9.0, 30.0, 10.0] if alike is not None else [100.0]


def job(name: str, serial: int, slot: SlotName | None = None, ran: float = 0.0) -> Job:
    """Queued, or running in that slot."""
    agent = Generation(f"g-{slot}") if slot is not None else None
    started = T - ran if slot is not None else None
    return Job(JobId(name), POOL.name, serial, T - 60, agent=agent, slot=slot, started=started)


def queue(
    *jobs: Job,
    slots: dict[SlotName, SlotMemory] | None = None,
    paused: bool = False,
    known: bool = True,
) -> LiveQueue:
    """Of a manager that remembers that."""
    pause = Pause(T, "ann") if paused else None
    known_jobs = {one.id: one for one in jobs}
    memory = Memory(slots=slots or {}, jobs=known_jobs, pause=pause, serial=10)
    config = Config(HostSpec("box"), (POOL,))
    state: State = replace(
        begin(HostId("h"), "run", config, memory, Gpus(), 0),
        desired=with_images(Desired(tuple(specs(POOL))), ("lab/x",)),
    )
    return LiveQueue(lambda: state, lambda: T, Lasted(known=known))


ANN = Caller(1, 1000, 1000, "ann", operator=False)
ROOT = Caller(1, 0, 0, "root", operator=True)


def asks(by: Caller = ANN, **other: Any) -> SubmitJob:
    """A submission of nothing in particular."""
    return SubmitJob(by, Payload(("true",), {}), **{"pool": None, "timeout": None, **other})


BUSY = (job("r1", 1, A0, ran=40.0), job("fast8", 2, A1, ran=4.0))
WAITS, WAITS2 = job("w", 9), job("w2", 10)


@pytest.mark.parametrize(
    ("view", "position", "starts_at", "why"),
    [
        (queue(WAITS), 1, T, "it is next, and a slot of pool a is made ready"),
        (queue(*BUSY, WAITS), 1, T + 6, "it is next, and 2 of 2 slots of pool a are busy"),
        (
            queue(*BUSY, job("fast1", 3), job("fast2", 4), WAITS),
            3,
            T + 26,
            "2 jobs are before it, and 2 of 2 slots of pool a are busy",
        ),
        (
            queue(*BUSY, job("fast1", 3), WAITS, known=False),
            2,
            None,
            "1 job is before it, and 2 of 2 slots of pool a are busy",
        ),
        (
            queue(BUSY[0], WAITS, slots={A1: CORDONED}),
            1,
            T + 60,
            "it is next, and 1 of 1 slot of pool a is busy",
        ),
        (
            queue(WAITS, slots={A0: CORDONED, A1: SlotMemory(held="sick")}),
            1,
            None,
            "no slot of pool a takes jobs now: mayfly status",
        ),
        (queue(replace(WAITS, pool=PoolName("a")), paused=True), 1, None, "the manager is paused"),
        (
            queue(WAITS, job("j0", 1), replace(job("w", 9), awaits=(JobId("j0"),))),
            None,
            None,
            "it runs once job j0 has ended well",
        ),
        (
            queue(replace(WAITS, awaits=tuple(JobId(f"j{n}") for n in range(5)))),
            None,
            None,
            "it runs once 5 jobs (j0, j1, j2, …) have ended well",
        ),
    ],
)
def test_a_queued_job_has_a_place_a_reason_and_an_estimate(
    view: LiveQueue, position: int | None, starts_at: float | None, why: str
) -> None:
    told = view.standing("w")
    assert (told["position"], told["why"]) == (position, why)
    assert told["starts_at"] == starts_at


COOLS = SlotMemory(cooling_until=T + 30.0, failures=1)
HELD = SlotMemory(held="sick")


@pytest.mark.parametrize(
    ("jobs", "slots", "why"),
    [
        ((), {}, "it is next, and a slot of pool a is made ready"),
        ((), {A0: COOLS}, "it is next, and a slot of pool a is made ready"),
        (
            (),
            {A0: COOLS, A1: HELD},
            "no slot of pool a can be made ready for image lab/x now; of a-0: the slot cools",
        ),
        (
            (job("r1", 1, A0, ran=40.0),),
            {A1: COOLS},
            "it is next, and 1 of 1 slot of pool a is busy",
        ),
    ],
)
def test_a_job_that_asks_for_an_image_hears_what_is_in_the_way_of_a_slot_for_it(
    jobs: tuple[Job, ...], slots: dict[SlotName, SlotMemory], why: str
) -> None:
    view = queue(*jobs, replace(WAITS, image="lab/x"), slots=slots)
    assert view.standing("w")["why"] == why


def test_of_what_runs_or_is_not_there_nothing_is_told() -> None:
    assert queue(*BUSY).standing("r1") == {}
    assert queue(*BUSY).standing("nope") == {}


class Compared(str):
    """An id that counts how often one is compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)


def test_of_those_that_wait_each_is_looked_at_once_for_a_place() -> None:
    jobs = [replace(job("", n), id=JobId(Compared(f"j{n:03}"))) for n in range(1, 101)]
    view = queue(*jobs)
    assert view.positions()["j100"] == 100
    Compared.times = 0
    assert view.standing("j100")["position"] == 100
    assert Compared.times < 150


def test_places_are_counted_in_each_pool() -> None:
    other = replace(job("o", 5), pool=PoolName("b"))
    first = replace(job("h", 8), priority=Priority.HIGH)
    assert queue(*BUSY, WAITS, other, first).positions() == {"h": 1, "w": 2, "o": 1}


def test_a_job_may_run_until_its_own_limit_or_its_pool_s() -> None:
    view = queue(*BUSY)
    assert view.seconds_left("a", None, T - 600) == 3000
    assert view.seconds_left("a", 900.0, T - 600) == 300
    assert view.seconds_left("a", 900.0, T - 1000) == 0
    assert view.seconds_left("gone", None, T - 600) is None


def test_an_order_is_kept_for_as_long_as_nothing_happens_and_a_second_at_most() -> None:
    """The order hangs on the time too: who waited long enough is before who has the smaller share."""
    late = job("late", 1)
    soon = replace(job("soon", 2), uid=1, submitted=late.submitted + PATIENCE)
    jobs = {one.id: one for one in (late, soon)}
    shares: dict[ShareKey, Share] = {
        (POOL.name, None, Priority.NORMAL): Share(used=1e6, at=late.submitted)
    }
    config = Config(HostSpec("box"), (POOL,))
    states = [begin(HostId("h"), "run", config, Memory(jobs=jobs, shares=shares), Gpus(), 0)]
    times = [late.submitted + PATIENCE - 0.5]
    view = LiveQueue(lambda: states[-1], lambda: times[-1], Lasted())
    before = {"soon": 1, "late": 2}
    assert view.positions() == before
    times.append(times[0] + 0.9)
    assert view.positions() == before, "kept"
    times.append(times[0] + 1.1)
    assert view.positions() == {"late": 1, "soon": 2}
    states.append(replace(states[0], memory=replace(states[0].memory, jobs={soon.id: soon})))
    assert view.positions() == {"soon": 1}, "something happened"


class NothingRan(Lasted):
    """Of any pool."""

    def likenesses(self, pool: str) -> dict[JobId, str]:
        return {}

    def lasted(self, pool: str, alike: str | None = None) -> list[float]:
        return []


def test_a_job_of_a_pool_in_turn_is_told_who_has_its_gpu_and_who_is_next() -> None:
    pools = (turning("a", 1, 1), turning("b", 1, 1), turning("c", 1, 1))
    manager = box(*pools, gpus=BOX[:1])
    jobs = [manager.submit(name) for name in ("a", "b", "c", "c")]
    manager.run()
    view = LiveQueue(lambda: manager.state, lambda: manager.now, NothingRan())
    has = "pool a has its GPU, and next in turn is pool b"
    assert [view.standing(one) for one in jobs] == [
        {},
        {"position": 1, "starts_at": None, "why": f"it is next in pool b; {has}"},
        {"position": 1, "starts_at": None, "why": f"it is next in pool c; {has}"},
        {"position": 2, "starts_at": None, "why": f"1 job is before it in pool c; {has}"},
    ]


def test_of_many_jobs_it_is_asked_once_how_long_those_of_their_pool_run() -> None:
    asked: list[str] = []

    class Counted(Lasted):
        def likenesses(self, pool: str) -> dict[JobId, str]:
            asked.append(pool)
            return super().likenesses(pool)

    waiting = [job(f"w{n}", 10 + n) for n in range(5)]
    view = replace(queue(*BUSY, *waiting), runs=Counted())
    found = view.standings([one.id for one in waiting])
    assert asked == ["a"]
    assert found == {one.id: view.standing(one.id) for one in waiting}
    assert [row["position"] for row in found.values()] == [1, 2, 3, 4, 5]


# -- where a submission would stand ------------------------------------------------------------------


def test_a_job_that_is_not_submitted_would_start_now_where_a_slot_is_free() -> None:
    view = queue(BUSY[0])
    found = view.estimate(asks())
    assert not isinstance(found, Refusal)
    assert (found["starts_in"], found["ahead"], found["slots"], found["busy"]) == (0.0, 0, 2, 1)
    assert (found["jobs"], found["pools"]) == (1, ["a"])
    assert view.positions() == {}, "nothing is changed by it"


def test_it_would_start_behind_its_owner_s_and_where_its_owner_s_turn_comes() -> None:
    mine = [replace(one, uid=ANN.uid) for one in (WAITS, WAITS2)]
    found = queue(*BUSY, *mine).estimate(asks())
    assert not isinstance(found, Refusal)
    # After 6 s and 60 s the slots are free, and those before it run a hundred seconds.
    assert (found["starts_in"], found["ahead"]) == (106.0, 2)
    assert "2 jobs are before it" in str(found["why"])
    # Of somebody who had nothing yet it goes before those of who had both slots.
    other = queue(*BUSY, WAITS, WAITS2).estimate(asks())
    assert not isinstance(other, Refusal)
    assert (other["starts_in"], other["ahead"]) == (6.0, 0)


def test_of_a_group_the_last_one_s_start_is_told() -> None:
    found = queue(BUSY[0]).estimate(asks(matrix={"SEED": ("1", "2", "3")}))
    assert not isinstance(found, Refusal)
    assert (found["jobs"], found["starts_in"], found["ahead"]) == (3, 100.0, 2)


def test_what_is_not_known_is_not_told() -> None:
    found = queue(*BUSY, known=False).estimate(asks())
    assert not isinstance(found, Refusal)
    assert (found["starts_in"], found["slots"], found["busy"]) == (None, 2, 2)


@pytest.mark.parametrize("shut", [{"slots": {A0: CORDONED, A1: CORDONED}}, {"paused": True}])
def test_where_no_slot_takes_jobs_none_is_counted(shut: dict[str, Any]) -> None:
    found = queue(**shut).estimate(asks())
    assert not isinstance(found, Refusal)
    assert (found["starts_in"], found["slots"]) == (None, 0)


def test_what_would_not_be_taken_is_refused_as_if_it_were_submitted() -> None:
    for command, kind in (
        (asks(pool=PoolName("b")), "no_such_pool"),
        (asks(gpus=8), "no_such_pool"),
        (asks(priority=Priority.HIGH), "forbidden"),
        (asks(image="other:1"), "refused"),
    ):
        found = queue().estimate(command)
        assert isinstance(found, Refusal)
        assert found.kind == kind
    assert not isinstance(queue().estimate(asks(ROOT, priority=Priority.HIGH)), Refusal)
