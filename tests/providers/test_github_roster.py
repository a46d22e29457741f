"""A pool at GitHub whose lists and runners disagree: a job that never begins, a runner that is not listed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.harness import until
from tests.hurried import hurried
from tests.providers.github_pool import GitHubPool, github_pool

pytestmark = pytest.mark.engine
LISTS = "providers.github.provider.LIST_EVERY=1"


@pytest.fixture
def pool(engine: PrivateEngine) -> Iterator[GitHubPool]:
    with github_pool(engine) as one:
        yield one


def start(pool: GitHubPool, *limits: str) -> None:
    """Start a manager with such limits, and wait until all slots are idle."""
    pool.manager.start(*hurried(LISTS, *limits), wait="idle")


def events(pool: GitHubPool, name: str) -> list[dict[str, str]]:
    """What the log tells by that name."""
    lines = map(json.loads, pool.manager.log.read_text().splitlines())
    return [line for line in lines if line.get("event") == name]


def test_a_runner_that_is_listed_as_busy_and_begins_no_job_is_told_and_left_alone(
    pool: GitHubPool,
) -> None:
    pool.configure(1)
    start(pool, "core.rosters.BUSY_WITHOUT_JOB=3")
    agent = pool.manager.slot("gh-0")["agent"]
    (runner,) = pool.fake.runners.values()
    job = pool.fake.give(runner.name)
    told = until(lambda: pool.manager.health().get("agent.unbegun"), "it is told")
    assert "slot gh-0: its service has listed its agent as busy" in told
    row = pool.manager.slot("gh-0")
    assert (row["phase"], row["agent"]) == ("busy", agent)
    assert row["note"].endswith("and told of no job")
    shown = pool.manager.cli("status")
    assert "told of no job" in shown.stdout
    lists = pool.fake.count("GET", "/api/v3/orgs/acme/actions/runners")
    until(
        lambda: pool.fake.count("GET", "/api/v3/orgs/acme/actions/runners") > lists + 5,
        "five more lists",
    )
    assert pool.manager.slot("gh-0")["agent"] == agent
    assert pool.fake.runners == {runner.id: runner}
    assert pool.fake.count("DELETE", "/api/v3/") == 0
    assert [event["generation"] for event in events(pool, "agent.unbegun")] == [agent]
    pool.fake.finish(job)  # a person has cancelled it: the service lets go of the runner
    until(lambda: pool.manager.slot("gh-0")["agent"] != agent, "another agent")
    until(lambda: "agent.unbegun" not in pool.manager.health(), "all is well again")


def test_one_that_has_told_of_its_job_is_not_and_stays_so_after_a_restart(
    pool: GitHubPool,
) -> None:
    pool.configure(1)
    start(pool, "core.rosters.BUSY_WITHOUT_JOB=3")
    job = pool.fake.queue("while [ ! -e /tmp/go ]; do sleep 0.05; done")
    pool.manager.in_phase("busy", "gh-0")
    busy = time.monotonic()
    pool.manager.kill()
    pool.manager.start(*hurried(LISTS, "core.rosters.BUSY_WITHOUT_JOB=3"), wait="answer")
    until(lambda: time.monotonic() - busy > 6, "twice the limit is over")
    assert pool.manager.slot("gh-0")["phase"] == "busy"
    assert "agent.unbegun" not in pool.manager.health()
    pool.manager.let_go_in("gh-0")
    until(lambda: job.state == "completed", "the job is done")
    assert events(pool, "agent.unbegun") == []


def test_a_runner_that_listens_and_is_in_no_list_is_replaced(pool: GitHubPool) -> None:
    pool.configure(2)
    start(pool, "core.rosters.ABSENCE=4")
    agents = {name: pool.manager.slot(name)["agent"] for name in ("gh-0", "gh-1")}
    ghost = next(r.name for r in pool.fake.runners.values() if r.name.endswith(agents["gh-0"]))
    pool.fake.forget(ghost)
    until(lambda: pool.manager.slot("gh-0")["agent"] != agents["gh-0"], "another agent")
    pool.manager.in_phase("idle", "gh-0")
    assert pool.manager.slot("gh-1")["agent"] == agents["gh-1"]
    (doomed,) = events(pool, "agent.stopping")
    assert (doomed["generation"], doomed["reason"]) == (agents["gh-0"], "missed")
    assert doomed["detail"] == "its service does not show it online any more"
    job = pool.fake.queue("true")
    until(lambda: job.conclusion == "succeeded", "a job is done")


def test_a_healthy_runner_outlives_lists_that_are_old(pool: GitHubPool) -> None:
    """A list may be a minute old where a runner is missed after two and a half."""
    pool.configure(1)
    start(pool, "core.rosters.ABSENCE=10")
    agent = pool.manager.slot("gh-0")["agent"]
    listing = ("GET", "/api/v3/orgs/acme/actions/runners")
    lists = pool.fake.count(*listing)
    pool.fake.show_old_lists(4.0)
    until(lambda: pool.fake.count(*listing) > lists + 12, "a dozen lists, one a second")
    assert pool.manager.slot("gh-0")["agent"] == agent
    job = pool.fake.queue("true")
    until(lambda: job.conclusion == "succeeded", "a job is done")
    assert job.runner is not None
    assert job.runner.endswith(agent)
    assert events(pool, "agent.stopping") == []
