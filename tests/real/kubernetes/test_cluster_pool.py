"""A pool on Kubernetes, whole: a real manager, a real cluster, jobs of the queue, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness import until
from tests.real.kubernetes.cluster import PLUGIN_GPUS, Cluster
from tests.real.kubernetes.cluster_manager import ClusterManager, pool

pytestmark = [pytest.mark.real, pytest.mark.kubernetes, pytest.mark.timeout(400)]

WAITS = "until [ -e /tmp/go ]; do sleep 0.1; done"
FLOOD = 100_000_000  # bytes: a minute of what a slot may print for long, and more
DEVICE = "printenv NVIDIA_VISIBLE_DEVICES"


def waiting(manager: ClusterManager, script: str = "true") -> str:
    """A job that runs, and ends once it may."""
    job = manager.queue("sh", "-c", f"{WAITS}; {script}")
    manager.started(job)
    return job


def account(row: dict[str, Any]) -> tuple[object, ...]:
    """What a job's account says of its end."""
    return row["state"], row["cause"], row["exit_code"]


def test_four_jobs_at_once_have_four_gpus_and_those_after_them_too(manager: ClusterManager) -> None:
    manager.configure(pool(4, "gpus = 1\n"))
    manager.start()
    at_once = [manager.queue("sh", "-c", f"{DEVICE}; {WAITS}") for _ in range(4)]
    after = [manager.queue("sh", "-c", DEVICE) for _ in range(4)]
    for job in at_once:
        manager.started(job)
    for job in at_once:
        manager.let_go(job)
    for job in (*at_once, *after):
        assert account(manager.ended(job)) == ("succeeded", None, 0)
    given = [manager.output(job).strip() for job in at_once]
    assert sorted(given) == sorted(PLUGIN_GPUS)
    assert {manager.output(job).strip() for job in after} <= set(PLUGIN_GPUS)


def test_jobs_end_as_they_end_and_each_agent_had_one(manager: ClusterManager) -> None:
    manager.start()
    fails = manager.queue("sh", "-c", "echo out; echo err >&2; exit 7")
    late = manager.queue("sleep", "600", timeout=2)
    cancelled = manager.queue("sleep", "600")
    manager.started(cancelled)
    assert manager.cli("cancel", cancelled).returncode == 0
    assert account(manager.ended(fails)) == ("failed", "exit", 7)
    assert manager.output(fails) == "out\nerr\n"
    assert account(manager.ended(late))[:2] == ("failed", "timeout")
    assert account(manager.ended(cancelled))[:2] == ("cancelled", "cancelled")
    until(manager.rests, "every slot is idle again")
    rows = [row for row in manager.json("history")["agents"] if row["opened"] is not None]
    assert len(rows) == 3
    assert len({row["agent"] for row in rows}) == 3


@pytest.mark.parametrize("part", ["kubelet", "apiserver"])
def test_a_job_outlives_the_parts_of_its_cluster(
    manager: ClusterManager, cluster: Cluster, part: str
) -> None:
    manager.start()
    job = waiting(manager, "echo still here")
    ways: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "kubelet": (cluster.kill_kubelet, cluster.start_kubelet),
        "apiserver": (cluster.kill_apiserver, cluster.start_apiserver),
    }
    kill, start = ways[part]
    kill()
    start()
    manager.let_go(job)
    assert account(manager.ended(job)) == ("succeeded", None, 0)
    assert manager.output(job) == "still here\n"
    until(manager.rests, "every slot is idle again")


def test_a_job_that_floods_its_log_is_read_to_its_end_and_keeps_nobody_else_from_working(
    manager: ClusterManager,
) -> None:
    manager.start()
    line = 'yes "$(printf %0999d 0)"'
    flood = manager.queue("sh", "-c", f"{line} | head -c {FLOOD}; echo; echo the end")
    manager.started(flood)
    for _ in range(2):
        assert account(manager.ended(manager.queue("true"))) == ("succeeded", None, 0)
    assert account(manager.ended(flood)) == ("succeeded", None, 0)
    printed = manager.logs(flood).stdout
    assert printed.endswith("\nthe end\n")
    assert len(printed) < FLOOD


def test_a_variable_reaches_a_job_as_it_was_written(manager: ClusterManager) -> None:
    manager.configure(pool(1, "env = { SAID = 'a$$b $(HOME) $c' }\n"))
    manager.start()
    job = manager.queue("sh", "-c", 'printf "%s\\n" "$SAID"')
    assert account(manager.ended(job)) == ("succeeded", None, 0)
    assert manager.output(job) == "a$$b $(HOME) $c\n"


def test_a_job_whose_pod_is_deleted_is_lost_and_says_so(manager: ClusterManager) -> None:
    manager.start()
    job = waiting(manager)
    space = manager.space
    pod = manager.pod_of(manager.job(job)["slot"])
    space.cluster.api.delete(f"{space.path}/pods/{pod}", grace=1)
    row = manager.ended(job)
    assert account(row)[:2] == ("lost", "killed")
    assert "deleted" in str(row["detail"])
    until(manager.rests, "every slot is idle again")


def test_a_job_whose_pod_somebody_deletes_is_told_and_has_time_to_end(
    manager: ClusterManager,
) -> None:
    manager.start()
    script = "trap 'echo saved; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    job = manager.queue("sh", "-c", script)
    manager.started(job)
    until(lambda: "ready" in manager.output(job), "it waits for a TERM")
    pod = manager.pod_of(manager.job(job)["slot"])
    manager.space.cluster.api.delete(f"{manager.space.path}/pods/{pod}")
    assert account(manager.ended(job))[:2] == ("lost", "killed")
    assert "saved" in manager.output(job).splitlines()


def test_a_pod_at_its_gate_that_somebody_deletes_ends_by_the_first_signal(
    manager: ClusterManager,
) -> None:
    manager.start()
    api, pod = manager.space.cluster.api, manager.pod_of("local-0")
    place = f"{manager.space.path}/pods/{pod}"
    api.patch(place, {"metadata": {"finalizers": ["mayfly.test/looked-at"]}})
    try:
        api.delete(place)

        def ended() -> dict[str, Any] | None:
            (state,) = [row["state"] for row in api.get(place)["status"]["containerStatuses"]]
            found: dict[str, Any] | None = state.get("terminated")
            return found

        assert until(ended, "it has ended")["exitCode"] == 143, "not 137: nobody killed it"
    finally:
        api.patch(place, {"metadata": {"finalizers": None}})
    until(manager.rests, "every slot is idle again")


def test_a_drain_waits_for_a_job_and_for_nothing_else(
    manager: ClusterManager, cluster: Cluster
) -> None:
    manager.start()
    job = waiting(manager)
    try:
        refused = cluster.drain("--timeout=5s")
        assert refused.returncode != 0
        assert "disruption budget" in refused.stderr
        assert manager.job(job)["state"] == "running"
        manager.let_go(job)
        assert account(manager.ended(job)) == ("succeeded", None, 0)
        done = cluster.drain("--grace-period=1")
        assert done.returncode == 0, done.stderr
    finally:
        cluster.uncordon()
    until(manager.rests, "every slot is idle again")
    assert account(manager.ended(manager.queue("true"))) == ("succeeded", None, 0)


def test_a_manager_that_is_killed_finds_its_job_again(manager: ClusterManager) -> None:
    manager.start()
    runs = waiting(manager, "echo of two lives; exit 3")
    ends = waiting(manager, "echo unseen")
    pods = {job: manager.pod_of(manager.job(job)["slot"]) for job in (runs, ends)}
    manager.let_go(ends)
    manager.kill()
    until(lambda: manager.space.phase(pods[ends]) == "Succeeded", "one ends meanwhile")
    manager.start(wait="answer")
    assert account(manager.ended(ends)) == ("succeeded", None, 0)
    assert manager.output(ends) == "unseen\n"
    assert manager.pod_of(manager.job(runs)["slot"]) == pods[runs]
    manager.let_go(runs)
    assert account(manager.ended(runs)) == ("failed", "exit", 3)
    assert manager.output(runs) == "of two lives\n"


def test_nothing_is_left_of_a_pool_that_is_drained(manager: ClusterManager) -> None:
    manager.start()
    assert account(manager.ended(manager.queue("true"))) == ("succeeded", None, 0)
    done = manager.cli("drain", "--all", "--wait", "--timeout", "100")
    assert done.returncode == 0, done.stderr
    assert manager.containers() == []
