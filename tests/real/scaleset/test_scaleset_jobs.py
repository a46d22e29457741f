"""Jobs of scale sets through an emulator that others wrote: a real manager, the provider, a stub runner."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.harness import until
from tests.real.scaleset.emulated_pool import EmulatedPool

pytestmark = [
    pytest.mark.real,
    pytest.mark.engine,
    pytest.mark.long,
    pytest.mark.seen("github", "scale sets", with_="emulator"),
]
FAULTS = (
    ("getMessage", 503),
    ("deleteMessage", 503),
    ("acquireJobs", 500),
    ("generateJitConfig", 503),
    ("runners", 502),
    ("sessions", 503),
)


def test_a_dozen_jobs_are_each_run_once_and_no_runner_is_registered_without_one(
    pool: EmulatedPool,
) -> None:
    pool.configure(3)
    number = pool.start()
    assert pool.emulator.state()["runners"] == []
    jobs = [pool.emulator.queue(number) for _ in range(12)]
    until(lambda: "wait at the service" in pool.manager.json("status")["headline"], "it is said")
    pool.done(jobs)
    cancelled = pool.emulator.queue(number)
    pool.emulator.cancel(cancelled)
    # A manager that stops leaves the session; jobs that come meanwhile are had by the next one.
    pool.manager.kill(signal.SIGTERM)
    assert pool.emulator.state()["sessions"] == []
    more = [pool.emulator.queue(number) for _ in range(2)]
    assert pool.start() == number
    pool.done(more)
    pool.nothing_is_left()


def test_tokens_and_sessions_that_end_and_calls_that_fail_cost_no_job(pool: EmulatedPool) -> None:
    pool.configure(3)
    number = pool.start()
    jobs = []
    for what in ("admin-tokens", f"queue-token/{number}", f"session/{number}"):
        jobs += [pool.emulator.queue(number) for _ in range(2)]
        pool.emulator.expire(what)
    for endpoint, status in FAULTS:
        pool.emulator.fail(endpoint, status)
        jobs.append(pool.emulator.queue(number))
    pool.done(jobs)
    pool.nothing_is_left()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_two_hundred_jobs_while_everything_fails_are_each_run_once(pool: EmulatedPool) -> None:
    chance = random.Random(21)
    pool.configure(4)
    number = pool.start()
    jobs: list[int] = []
    began = time.monotonic()

    def few() -> bool:
        states = [str(job["state"]) for job in pool.emulator.jobs().values()]
        return len(states) - states.count("completed") < 12

    while len(jobs) < 200:
        jobs += [pool.emulator.queue(number) for _ in range(chance.randrange(1, 7))]
        if chance.random() < 0.5:
            pool.emulator.fail(*chance.choice(FAULTS))
        else:
            ends = ("admin-tokens", f"queue-token/{number}", f"session/{number}")
            pool.emulator.expire(chance.choice(ends))
        until(few, "jobs are done")
    pool.done(jobs, 300)
    print(f"{len(jobs)} jobs in {time.monotonic() - began:.0f} s")
    pool.nothing_is_left()
