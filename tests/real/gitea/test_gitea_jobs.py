"""Jobs at Gitea's own server, run by its own runner in Mayfly's slots: what comes of them, what is left."""

from __future__ import annotations

import pytest

from mayfly.cli.canary_job import Patience, try_at_service
from mayfly.cli.setup_questions import Questions
from mayfly.cli.trouble import Trouble
from mayfly.providers.configuration import load
from mayfly.providers.gitea.canary import make
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


@pytest.mark.seen("gitea", "a job that init runs", with_="server")
def test_init_has_a_workflow_run_and_says_which_slot_had_its_job(
    pool: GiteaPool, capsys: pytest.CaptureFixture[str]
) -> None:
    hello = (
        "on: workflow_dispatch\njobs:\n  hello:\n    runs-on: [gpu]\n    steps:\n      - run: {}\n"
    )
    pool.server.add_workflow(pool.repository, "hello.yml", hello.format("echo hello"))
    pool.server.add_workflow(pool.repository, "wrong.yml", hello.format("exit 3"))
    pushed = hello.format("true").replace("workflow_dispatch", "push")
    pool.server.add_workflow(pool.repository, "pushed.yml", pushed)
    pool.configure(1)
    pool.manager.start()
    config = load(pool.manager.config, environ={}).config
    (spec,) = config.pools
    there = {one.name: one.asks_for_us for one in make(spec).runnable()}
    assert there[f"{pool.repository}/hello.yml"]
    assert f"{pool.repository}/pushed.yml" not in there

    def tried(file: str) -> None:
        asked = f"{pool.repository}/{file}"
        try_at_service(spec, config.host, Questions(False), asked, Patience(120.0, 1.0))

    tried("hello.yml")
    told = " ".join(capsys.readouterr().err.split())
    assert "job hello ran on g-0 in" in told, told
    assert f"ended as success: {pool.server.url}/{pool.repository}/actions/runs/" in told, told
    with pytest.raises(Trouble, match=r"ran on g-0 .*and ended as failure; its log is at http"):
        tried("wrong.yml")
    with pytest.raises(Trouble, match="no job was tried: Gitea does not run"):
        tried("nobody.yml")
