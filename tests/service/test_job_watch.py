"""The thread that listens to a service which hands its jobs out: what it hears, and what fails it."""

from __future__ import annotations

import threading

from mayfly.core.delivery import Delivery
from mayfly.core.model import PoolName
from mayfly.core.requests import Listen
from mayfly.core.stimuli import Failure, Family, JobsTold, JobsUntold
from mayfly.edge.faults import Refused
from mayfly.service.bugs import Bug
from mayfly.service.job_watch import JobWatch
from tests.harness import until

POOL = PoolName("gpu")
WORD = Listen(POOL, 2, (5,), ())


class Service:
    """What answers by turns: a delivery, or an error."""

    def __init__(self, *answers: Delivery | Exception) -> None:
        self.answers = list(answers)
        self.left: list[int] = []
        self.leaving: Exception | None = None

    def listen(self, word: Listen) -> Delivery:
        assert word is WORD
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def acquire(self, jobs: tuple[int, ...]) -> tuple[int, ...]:
        return jobs

    def leave(self, turn: int) -> None:
        self.left.append(turn)
        if self.leaving is not None:
            raise self.leaving


def heard(service: Service, times: int) -> list[object]:
    """What a watch sends that is asked so often, and how it is with its thread after that."""
    sent: list[object] = []
    watch = JobWatch(POOL, service, sent.append)
    for _ in range(times):
        watch.listen(WORD)
    until(lambda: sum(not isinstance(one, Bug) for one in sent) == times, "all was answered")
    watch.stop().join(10)
    names = [thread.name for thread in threading.enumerate()]
    until(lambda: f"jobs-{POOL}" not in {one.name for one in threading.enumerate()}, str(names))
    return sent


def test_what_it_is_told_comes_with_what_was_acknowledged_and_faults_come_as_they_are() -> None:
    sent = heard(Service(Delivery(7), Refused("no such group")), 2)
    assert sent == [
        JobsTold(POOL, Delivery(7), (5,)),
        JobsUntold(POOL, Failure(Family.REFUSED, "no such group")),
    ]


def test_a_bug_is_told_and_the_pool_goes_on_being_listened_to() -> None:
    sent = heard(Service(KeyError("x"), Delivery(8)), 2)
    assert isinstance(sent[0], Bug)
    assert isinstance(sent[1], JobsUntold)
    assert sent[2] == JobsTold(POOL, Delivery(8), (5,))


def test_leaving_tells_the_turn_and_a_bug_in_it_is_told() -> None:
    service = Service()
    service.leaving = KeyError("x")
    sent: list[object] = []
    watch = JobWatch(POOL, service, sent.append)
    watch.leave(3).join(10)
    assert service.left == [3]
    assert [type(one) for one in sent] == [Bug]
    watch.stop().join(10)
    assert len(service.left) == 2


class Late(Service):
    """What answers once it is left."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.gone = threading.Event()

    def listen(self, word: Listen) -> Delivery:
        self.asked.set()
        assert self.gone.wait(10)
        return Delivery()

    def leave(self, turn: int) -> None:
        super().leave(turn)
        self.gone.set()


class Reluctant(Service):
    """What is not left before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def leave(self, turn: int) -> None:
        assert self.let.wait(10)
        super().leave(turn)


class Asked(Service):
    """What tells when it was asked, and what was left by then."""

    def __init__(self, before: Service) -> None:
        super().__init__(Delivery(7))
        self.before = before
        self.asked = threading.Event()
        self.left_by_then: list[int] = []

    def listen(self, word: Listen) -> Delivery:
        self.left_by_then = list(self.before.left)
        self.asked.set()
        return super().listen(word)


def test_whoever_listens_next_waits_until_the_one_before_has_left() -> None:
    before = Reluctant()
    first = JobWatch(POOL, before, lambda _: None)
    first.stop()
    service, sent = Asked(before), list[object]()
    watch = JobWatch(POOL, service, sent.append, first)
    watch.listen(WORD)
    assert not service.asked.wait(0.3)
    before.let.set()
    until(lambda: sent == [JobsTold(POOL, Delivery(7), (5,))], "it is heard")
    assert len(service.left_by_then) == 1
    watch.stop().join(10)


def test_whoever_listens_next_is_told_of_nothing_that_came_of_the_question_before() -> None:
    service, sent = Late(), list[object]()
    watch = JobWatch(POOL, service, sent.append)
    watch.listen(WORD)
    watch.listen(WORD)
    assert service.asked.wait(10)
    watch.stop().join(10)
    until(lambda: f"jobs-{POOL}" not in {one.name for one in threading.enumerate()}, "it ends")
    assert sent == []
