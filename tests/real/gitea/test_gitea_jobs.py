"""Jobs at Gitea's own server, run by its own runner in Mayfly's slots: what comes of them, what is left."""

from __future__ import annotations

import pytest

from tests.harness import until
from tests.real.gitea.real_pool import GiteaPool

pytestmark = [
    pytest.mark.real,
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.seen("gitea", "a job from start to end", with_="client"),
    pytest.mark.seen(
        "gitea",
        "registration",
        "list of agents",
        "a job from start to end",
        "removal",
        with_="server",
    ),
]


def test_fifty_jobs_go_through_two_slots_and_nothing_is_left_registered(pool: GiteaPool) -> None:
    pool.configure(2, tables='[pool.limits]\njob_timeout = "10m"')
    pool.manager.start()
    # Every fifth fails, by a code of its own.
    wanted = {pool.dispatch(f"echo job {n}; exit {(n % 5 == 0 and 3) or 0}"): n for n in range(50)}
    results = {run: pool.ended(run, 480) for run in wanted}
    assert results == {run: "failure" if n % 5 == 0 else "success" for run, n in wanted.items()}
    rows = pool.history(50)
    assert [row["outcome"] for row in rows] == ["job_done"] * 50
    assert len({row["agent"] for row in rows}) == 50
    # The service's book and Mayfly's name the same agents.
    runners = {pool.job(run)["runner_id"] for run in wanted}
    assert len(runners) == 50
    for run, number in wanted.items():
        log = pool.log(run)
        assert f"job {number}\n" in log
        assert ("exit code 3" in log) == (number % 5 == 0)
    until(lambda: len(pool.runners()) == 2, "the two that wait are all that is registered")
    assert {runner["status"] for runner in pool.runners()} == {"online"}
