"""A pool with a scale set, whole: a real manager, a real Engine, the fake service and the stub runner."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.providers.scaleset_pool import ScaleSetPool, scaleset_pool

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("github", "scale sets", with_="fake"),
]


@pytest.fixture
def pool(engine: PrivateEngine) -> Iterator[ScaleSetPool]:
    with scaleset_pool(engine) as one:
        yield one


def stand_ready(pool: ScaleSetPool) -> None:
    """Each slot's agent stands at its gate, and a session is open."""

    until(pool.manager.answers, "the manager answers")

    def ready() -> bool:
        rows = pool.manager.get("/v1/status")["slots"]
        one = pool.fake.the_set("box-gh")
        at_gate = all(row["phase"] == "idle" for row in rows)
        return at_gate and one is not None and one.session is not None

    until(ready, "all slots stand ready")


def test_each_job_gets_an_agent_and_no_agent_is_registered_without_one(pool: ScaleSetPool) -> None:
    pool.manager.start(wait=None)
    stand_ready(pool)
    assert pool.fake.runners == {}
    jobs = [pool.fake.queue_job("echo done") for _ in range(5)]
    until(lambda: all(job.state == "completed" for job in jobs), "all jobs are done")
    assert [(job.conclusion, job.acquired, job.completed) for job in jobs] == [
        ("succeeded", 1, 1)
    ] * 5
    assert pool.fake.most_registered <= 0
    assert pool.fake.minted == 5
    one = pool.fake.the_set("box-gh")
    assert one is not None
    until(lambda: not one.messages and not one.pending, "all messages are acknowledged")
    assert pool.fake.runners == {}
    # A manager that stops leaves its session, and the next one is let in at once.
    pool.manager.kill(signal.SIGTERM)
    assert one.session is None
    job = pool.fake.queue_job("echo again")
    pool.manager.start(wait=None)
    until(lambda: job.state == "completed", "a job that came meanwhile is done")
    # What is cordoned takes no more on, and says so to the service.
    assert pool.manager.cli("cordon", "--all").returncode == 0
    until(lambda: one.session is None, "the session is left")
    waits = pool.fake.queue_job("echo later")
    assert pool.manager.cli("uncordon", "--all").returncode == 0
    until(lambda: waits.state == "completed", "a job that waited is done")
    assert (waits.acquired, waits.completed) == (1, 1)


def test_a_manager_that_is_killed_with_a_session_and_a_job_loses_neither(
    pool: ScaleSetPool,
) -> None:
    pool.manager.start(wait=None)
    stand_ready(pool)
    runs = pool.fake.queue_job("sleep 2; echo done")
    until(lambda: runs.state == "running", "a job runs")
    pool.manager.kill(signal.SIGKILL)
    other = pool.fake.queue_job("echo other")
    pool.manager.start(wait=None)
    until(lambda: runs.state == other.state == "completed", "both are done")
    assert [(job.conclusion, job.acquired) for job in (runs, other)] == [("succeeded", 1)] * 2
    until(lambda: not pool.fake.runners, "no registration is left")
