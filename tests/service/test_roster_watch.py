"""The thread that asks a pool's service: lists, and an enrolment that is tried and given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.requests import Trial
from mayfly.core.stimuli import (
    EnrolmentTried,
    Failure,
    Family,
    RosterFailed,
    RosterSeen,
    ServiceAnswered,
    WaitingAnswered,
    WaitingSeen,
    WaitingUnseen,
)
from mayfly.service.roster_watch import RosterWatch
from tests.fakes.github import FakeGitHub
from tests.fakes.http import Fault
from tests.harness import until
from tests.providers.contract import POOL, agent
from tests.providers.test_github_contract import GitHubBench

TRIAL = Trial(agent(), ("big",))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[GitHubBench]:
    with FakeGitHub() as fake:
        yield GitHubBench(fake, tmp_path)


class Watched:
    """A watch and what it has sent."""

    def __init__(self, bench: GitHubBench) -> None:
        self.sent: list[object] = []
        self.watch = RosterWatch(POOL, bench.provider(), self.sent.append)

    def seen(self, kind: type, number: int = 1) -> list[object]:
        """What it has sent of that kind, once there is so much."""

        def look() -> list[object] | None:
            found = [sight for sight in self.sent if isinstance(sight, kind)]
            return found if len(found) >= number else None

        return until(look, f"{number} {kind.__name__}")


@pytest.fixture
def watched(bench: GitHubBench) -> Iterator[Watched]:
    made = Watched(bench)
    yield made
    made.watch.stop()


def test_a_trial_that_is_given_an_enrolment_gives_it_back(
    bench: GitHubBench, watched: Watched
) -> None:
    watched.watch.ask()
    watched.seen(RosterSeen)
    watched.watch.try_enrolment(TRIAL)
    assert watched.seen(EnrolmentTried) == [EnrolmentTried(POOL, None)]
    assert bench.fake.registered == 1
    assert bench.fake.runners == {}
    watched.watch.ask()
    watched.seen(RosterSeen, 2)


def test_a_service_that_is_asked_for_something_small_answers_or_fails(
    bench: GitHubBench, watched: Watched
) -> None:
    watched.watch.knock()
    assert watched.seen(ServiceAnswered) == [ServiceAnswered(POOL)]
    bench.fake.fail("", "", Fault(status=503))
    watched.watch.knock()
    (failed,) = watched.seen(RosterFailed)
    assert isinstance(failed, RosterFailed)
    assert "503" in failed.failure.text
    assert not any(isinstance(sight, RosterSeen) for sight in watched.sent)


def test_a_trial_that_is_refused_says_why(bench: GitHubBench, watched: Watched) -> None:
    bench.fake.tokens["ghp_good"].runners = "read"
    watched.watch.try_enrolment(TRIAL)
    (told,) = watched.seen(EnrolmentTried)
    assert isinstance(told, EnrolmentTried)
    assert isinstance(told.failure, Failure)
    assert told.failure.family is Family.REFUSED
    assert "lacks a permission" in told.failure.text
    assert bench.fake.count(*bench.listing()) == 0  # nobody wanted to know who is there


def test_what_a_trial_could_not_give_back_does_not_count_against_it(
    bench: GitHubBench, watched: Watched
) -> None:
    bench.fake.fail("DELETE", "/api/v3/", Fault(status=502))
    watched.watch.try_enrolment(TRIAL)
    assert watched.seen(EnrolmentTried) == [EnrolmentTried(POOL, None)]
    assert len(bench.fake.runners) == 1


def test_the_jobs_that_wait_are_asked_for_and_cancelled_beside_the_list(
    bench: GitHubBench, watched: Watched
) -> None:
    job = bench.fake.queue("true", ("self-hosted", str(POOL)))
    watched.watch.ask_waiting(((),))
    (seen,) = watched.seen(WaitingSeen)
    assert isinstance(seen, WaitingSeen)
    (waiting,) = seen.jobs
    watched.watch.cancel_waiting(waiting.id)
    assert watched.seen(WaitingAnswered) == [WaitingAnswered(POOL, waiting.id, None)]
    assert job.conclusion == "cancelled"
    bench.fake.tokens["ghp_good"].actions = "none"
    watched.watch.ask_waiting(((),))
    (unseen,) = watched.seen(WaitingUnseen)
    assert isinstance(unseen, WaitingUnseen)
    assert unseen.failure.lasting
    watched.watch.cancel_waiting(waiting.id)
    refused = watched.seen(WaitingAnswered, 2)[1]
    assert isinstance(refused, WaitingAnswered)
    assert refused.failure is not None
    watched.watch.ask()  # and the list is had all the same
    watched.seen(RosterSeen)
