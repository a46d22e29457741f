"""A pool of Azure Pipelines on a real Engine: the life of a slot, what is wrong, what a job can take away."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.fakes.azure import Job
from tests.harness import until
from tests.hurried import SOON, hurried
from tests.providers.azure_pool import AzurePool, azure_pool

pytestmark = [
    pytest.mark.engine,
    pytest.mark.seen("azure", "a job from start to end", with_="fake"),
]
FIRST, SECOND = "box-az-0", "box-az-1"


@pytest.fixture
def pool(engine: PrivateEngine) -> Iterator[AzurePool]:
    with azure_pool(engine) as ready:
        yield ready


@pytest.fixture
def single(pool: AzurePool) -> AzurePool:
    """One slot with an idle agent, and a service to be changed."""
    pool.configure(1)
    pool.manager.start()
    return pool


def done(job: Job) -> Job:
    """The job once the service has its result."""
    until(lambda: job.result, f"job {job.name} ends")
    return job


def begun(job: Job) -> str:
    """The slot of the agent that runs the job, once Mayfly knows it too."""
    until(lambda: job.begun_by, "a job begins")
    assert job.agent is not None
    return job.agent.removeprefix("box-")


def history(pool: AzurePool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.manager.get("/v1/history")["agents"]
    return rows


def ended(pool: AzurePool, outcome: str) -> dict[str, Any]:
    """The first agent in the history that came to that."""

    def look() -> dict[str, Any] | None:
        return next((row for row in history(pool) if row["outcome"] == outcome), None)

    return until(look, f"an agent ends as {outcome}")


# -- the life of a slot ------------------------------------------------------------------------------


def test_a_killed_agents_slot_comes_back_by_taking_its_entry_anew(single: AzurePool) -> None:
    fake = single.fake
    fake.lapse = 1000.0  # its session outlives its job
    fake.renewal = 5.0
    job = fake.queue("sleep 1000")
    slot = begun(job)
    before = fake.entry(f"box-{slot}").id
    single.engine.docker("kill", slot)
    assert done(job).result == "abandoned"
    name = f"box-{slot}"  # which is nobody's for a moment
    taken = lambda: name in fake.names() and fake.entry(name).id != before  # noqa: E731
    until(taken, "the entry is taken anew")
    single.manager.in_phase("idle", slot)
    assert fake.names() == [FIRST]
    assert ended(single, "unknown")["cause"] == "killed"


# -- what is wrong --------------------------------------------------------------------------------------


def test_a_wrong_token_holds_the_pool_and_a_right_one_frees_it_without_a_restart(
    pool: AzurePool,
) -> None:
    pool.configure(1)
    token = pool.manager.home / "token"
    token.write_text("pat-bad")
    pool.manager.start(*hurried(*SOON), wait="answer")
    row = pool.manager.in_phase("held", "az-0")
    assert "the token is wrong or has expired" in row["note"]
    assert "pat-bad" not in pool.manager.log.read_text()
    calls = len(pool.fake.calls)
    token.write_text("pat-good")
    pool.manager.in_phase("idle", "az-0", 90)
    assert calls < 60


def test_an_image_that_is_too_old_holds_its_slot_and_says_so(pool: AzurePool) -> None:
    pool.manager.start()
    pool.fake.refresh(FIRST)

    def held() -> bool:
        told = pool.manager.health().get("slot.held", "")
        return "slot az-0 is held" in told and "mayfly images refresh --newest" in told

    until(held, "the slot is held", 60)
    pool.manager.in_phase("idle", "az-1")


def test_a_foreign_agent_of_a_slots_name_holds_that_slot(pool: AzurePool) -> None:
    pool.fake.configure(FIRST, {"MAYFLY_ID": "somebody/else"})
    pool.fake.lapse = 1000
    pool.fake.connect(FIRST)
    pool.manager.start(wait="answer")
    row = pool.manager.in_phase("held", "az-0")
    assert "is not ours is online" in row["note"]
    pool.manager.in_phase("idle", "az-1")


@pytest.mark.soak  # that rests grow is the core's, and tried there
def test_a_failing_registration_is_tried_less_and_less_often(pool: AzurePool) -> None:
    pool.fake.tokens["pat-good"] = "read"
    pool.manager.start(wait="answer")

    def tries() -> list[float]:
        with pool.fake.lock:
            return [
                call.when
                for call in pool.fake.calls
                if call.method == "POST"
                and call.path.endswith("/agents")
                and call.json["name"] == FIRST
            ]

    until(lambda: len(tries()) >= 4, "four tries", 120)
    times = tries()
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [gap >= wait for gap, wait in zip(gaps, (1.0, 2.0, 4.0), strict=False)] == [True] * 3
