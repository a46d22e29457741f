"""A whole manager whose slots are pods: jobs of the embedded queue, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import copies
from tests.fakes.kubernetes import NAMESPACE, FakeCluster, FakePod
from tests.harness import Manager, until

POOL = """
[[pool]]
name = "local"
slots = 2
limits = { memory = "64MiB", cpus = 0.5 }
"""


class ClusterManager(Manager):
    """A manager beside a cluster; nothing of it is on any Engine of this host."""

    def __init__(self, fake: FakeCluster, home: Path) -> None:
        file = home / "kubeconfig"
        file.write_text(fake.kubeconfig())
        where = f'[host.kubernetes]\nnamespace = "{NAMESPACE}"\nkubeconfig = "{file}"\n'
        super().__init__("unix:///none", where + POOL, 'engine = "kubernetes"')

    def _swept(self) -> bool:
        return True


@pytest.fixture
def manager(fake: FakeCluster, tmp_path: Path) -> Iterator[ClusterManager]:
    with ClusterManager(fake, tmp_path) as one:
        yield one


def sleeper(fake: FakeCluster, seconds: str) -> FakePod:
    """The pod whose job sleeps for so long."""

    def look() -> FakePod | None:
        for pod in tuple(fake.pods.values()):
            job = pod.job
            if job is not None and job.args == ["sleep", seconds]:
                return pod
        return None

    return until(look, f"somebody sleeps for {seconds} s")


def is_another(fake: FakeCluster) -> None:
    """At its address is another cluster from now on, on which no Mayfly has been."""
    fake.uid = "another's"
    fake.pods.clear()


def test_jobs_run_in_pods_and_each_has_one_of_its_own(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    manager.start()
    made = [manager.queue("sh", "-c", f"echo job {number}; exit {number}") for number in range(4)]
    for number, job in enumerate(made):
        row = manager.ended(job)
        assert row["state"] == ("succeeded" if number == 0 else "failed")
        assert row["exit_code"] == number
        assert manager.output(job) == f"job {number}\n"
    pods = {row["agent"] for row in map(manager.job, made)}
    assert len(pods) == 4
    until(lambda: len(fake.pods) <= 4, "ended pods are removed")


def test_a_manager_that_was_killed_goes_on_with_its_pods(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    manager.start()
    one, other = manager.queue("sleep", "600"), manager.queue("sleep", "601")
    agents = {manager.started(job)["agent"] for job in (one, other)}
    manager.kill()
    sleeper(fake, "601").end(5)
    manager.start(wait="answer")
    assert manager.ended(other)["exit_code"] == 5
    assert manager.job(one)["state"] == "running"
    assert {manager.job(job)["agent"] for job in (one, other)} == agents
    sleeper(fake, "600").end(0)
    assert manager.ended(one)["state"] == "succeeded"


def test_a_pod_that_somebody_deletes_is_told_as_what_its_job_was_lost_by(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    manager.start()
    job = manager.queue("sleep", "600")
    manager.started(job)
    fake.delete(sleeper(fake, "600").name)
    row = manager.ended(job)
    assert (row["state"], row["cause"]) == ("lost", "killed")
    assert "its pod was deleted" in row["detail"]


def test_a_job_whose_node_is_taken_for_gone_is_lost_so_and_its_slot_waits_for_its_processes(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    manager.start()
    job = manager.queue("sleep", "600")
    slot = manager.started(job)["slot"]
    sleeper(fake, "600")
    fake.collect_pods()
    row = manager.ended(job)
    assert (row["state"], row["cause"]) == ("lost", "killed")
    assert "PodGC: node no longer exists" in row["detail"]
    said = "nobody has said that the last agent's processes have ended"
    until(lambda: said in str(manager.slot(slot)["note"]), "its slot waits for them")


def test_a_quota_that_is_used_up_is_a_condition_in_the_clusters_words(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    for _ in range(2):
        fake.fails("POST", "/pods$", 403, "exceeded quota: q, used: 2, limited: 2", "Forbidden")
    manager.start(wait="answer")
    until(
        lambda: (
            manager.slot("local-0")["phase"] == "cooling"
            and "exceeded quota: q" in str(manager.slot("local-0")["note"])
        ),
        "the slot says what the cluster says",
    )
    assert not [call for call in fake.calls if "attach" in call]


def test_a_cluster_that_is_away_ends_nobody(fake: FakeCluster, manager: ClusterManager) -> None:
    manager.start()
    job = manager.queue("sleep", "600")
    agent = manager.started(job)["agent"]
    for _ in range(4):
        fake.fails("GET", "/pods$|/version$", 503, "etcdserver: no leader")
    manager.passed()
    assert manager.job(job)["state"] == "running"
    assert manager.job(job)["agent"] == agent
    sleeper(fake, "600").end(0)
    assert manager.ended(job)["state"] == "succeeded"


def test_agents_that_are_on_another_cluster_are_not_taken_for_gone(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    manager.start()
    job = manager.queue("sleep", "600")
    manager.started(job)
    manager.kill()
    pod, pods, here = sleeper(fake, "600"), dict(fake.pods), fake.uid
    is_another(fake)
    manager.start(wait=None)
    assert manager.process is not None
    assert manager.process.wait(60) == 1
    assert "on which this Mayfly has agents (local-0, local-1)" in manager.log.read_text()
    fake.uid = here
    fake.pods.update(pods)
    manager.start(wait="answer")
    until(lambda: manager.json("jobs")["jobs"][0]["state"] == "running", "it runs")
    pod.end(0)
    assert manager.ended(job)["state"] == "succeeded"


def test_a_cluster_that_may_not_be_looked_at_yet_is_no_other_one_s_stand_in(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    """Whoever points the configuration at a new cluster gives the rights there after the manager has come."""
    manager.start()
    manager.started(manager.queue("sleep", "600"))
    sleeper(fake, "600")
    manager.kill()
    fake.denied = {("get", "namespaces")}
    is_another(fake)
    manager.start(wait=None)
    until(
        lambda: "does not say which it is" in manager.log.read_text(), "it says what it waits for"
    )
    assert manager.process is not None
    assert manager.process.poll() is None
    fake.denied = set()
    assert manager.process.wait(60) == 1
    assert "on which this Mayfly has agents (local-0, local-1)" in manager.log.read_text()


def test_a_cluster_that_is_gone_for_good_is_taken_for_gone_where_a_person_says_so(
    fake: FakeCluster, manager: ClusterManager
) -> None:
    manager.start()
    job = manager.queue("sleep", "600")
    manager.started(job)
    manager.kill()
    is_another(fake)
    manager.start(*copies.MAYFLY, "run", "--take-over", wait="answer")
    assert manager.ended(job)["state"] == "lost"
