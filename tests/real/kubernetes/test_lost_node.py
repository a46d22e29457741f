"""A node that is lost: nothing that ran there is taken for ended before the node, or a person, says so."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mayfly.core.model import STOP_GRACE
from mayfly.core.slots import UNSEEN_MARGIN
from tests.harness import until
from tests.real.kubernetes.cluster import CLAIMED_GPUS, Cluster
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.lab_settings import NODE
from tests.real.kubernetes.test_claims import by_uuid, claiming, ran, running
from tests.real.kubernetes.test_cluster_pool import account, waiting

pytestmark = [
    pytest.mark.real,
    pytest.mark.kubernetes,
    pytest.mark.soak,
    pytest.mark.long,
    pytest.mark.timeout(900),
]

GIVEN = (
    STOP_GRACE + UNSEEN_MARGIN
)  # seconds for processes of which nobody says that they have ended


def is_lost(cluster: Cluster) -> bool:
    """Whether the cluster says that its node does not answer."""
    conditions = {row["type"]: row["status"] for row in cluster.node()["status"]["conditions"]}
    return bool(conditions["Ready"] == "Unknown")


@contextmanager
def lost(cluster: Cluster) -> Iterator[None]:
    """Nobody hears of the node, on which all goes on; then it is back."""
    cluster.kill_kubelet()
    try:
        until(lambda: is_lost(cluster), "the cluster says that its node is lost")
        yield
    finally:
        cluster.start_kubelet()


def test_jobs_on_a_node_that_is_lost_go_on_and_end_when_it_is_back(
    manager: ClusterManager, cluster: Cluster
) -> None:
    manager.start()
    goes_on = waiting(manager, "echo still here")
    deleted = waiting(manager)
    pods = {job: manager.pod_of(manager.job(job)["slot"]) for job in (goes_on, deleted)}
    with lost(cluster):
        cluster.api.delete(f"{manager.space.path}/pods/{pods[deleted]}", grace=1)
        after = manager.queue("true")
        manager.passed()
        assert {manager.job(job)["state"] for job in pods} == {"running"}
        assert {job: manager.pod_of(manager.job(job)["slot"]) for job in pods} == pods
        assert manager.job(after)["state"] == "queued"
    row = manager.ended(deleted)
    assert account(row)[:2] == ("lost", "killed")
    assert "deleted" in str(row["detail"])
    manager.let_go(goes_on)
    assert account(manager.ended(goes_on)) == ("succeeded", None, 0)
    assert manager.output(goes_on) == "still here\n"
    assert account(manager.ended(after)) == ("succeeded", None, 0)
    opened = [row for row in manager.json("history")["agents"] if row["opened"] is not None]
    assert len(opened) == 3
    until(manager.rests, "every slot is idle again")


def test_a_gpu_of_a_node_that_was_removed_is_nobody_s_before_its_processes_are_gone(
    manager: ClusterManager, cluster: Cluster
) -> None:
    one_gpu = claiming(cluster, by_uuid(CLAIMED_GPUS[3]))
    manager.configure(pool(2, "gpus = 1\nstandby = false\n"), cluster=one_gpu)
    manager.start(wait="answer")
    # Its name is its shell's, which the host sees.
    mark = f"works-on-{secrets.token_hex(8)}"
    first = manager.queue("sh", "-c", "trap '' TERM; while :; do sleep 0.2; done", mark)
    slot = str(manager.started(first)["slot"])
    until(lambda: manager.slot(slot)["gpus"], "it is known which GPU it has")
    with lost(cluster):
        assert manager.job(first)["state"] == "running"
        cluster.kubectl("delete", "node", NODE)
        row = manager.ended(first, 300)
        assert account(row)[:2] == ("lost", "killed")
        assert "PodGC: node no longer exists" in str(row["detail"])
        assert running(mark), "nobody has ended it"
        # For longer than processes are given on a node that answers.
        late = time.time() + GIVEN
        until(lambda: time.time() > late, "that time is over")
        assert running(mark)
        back = time.time()
    # What could not be made meanwhile is tried at once, and not after its rest.
    manager.kill()
    manager.start(wait="answer")
    later = manager.queue("date", "+%s.%N")
    seen = 0.0

    def over() -> bool:
        nonlocal seen
        if running(mark):
            seen = time.time()
        return manager.job(later)["state"] not in ("queued", "running")

    until(over, "the next job has ended", 240)
    began = float(ran(manager, later))
    assert seen < began
    assert began - back > GIVEN, (
        "whoever stood ready on it first waited for its host to have had its time"
    )
