"""On a Kubernetes of one node: the gap between two jobs of a slot.

It is from a job's last instruction to the next one's first, by the node's clock, which is this host's, and
stands beside the same between two Jobs of the cluster's own. These are watched and made over the API by a
program that runs: the next in the moment in which one is told as complete, and nothing is started or read in
between.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.bench.figures import Figure, Goal, median, p95
from tests.real.kubernetes.cluster import Cluster
from tests.real.kubernetes.cluster_manager import IMAGE, ClusterManager, pool
from tests.real.kubernetes.lab_parts import LabParts, built, why_not
from tests.real.kubernetes.lab_settings import RESOURCE
from tests.real.kubernetes.namespace import Namespace

Of = TypeVar("Of")

ROUNDS = 10
JOBS = "/apis/batch/v1/namespaces"
NOW = "date +%s.%N"
LONG_ENOUGH = 6  # seconds in which a slot gets its standby, where it may have one


@dataclass(frozen=True)
class Kind:
    """What a slot has."""

    name: str
    what: str
    gpus: bool
    claimed: bool
    goal: float  # seconds


KINDS = (
    Kind("", "no GPU", gpus=False, claimed=False, goal=0.5),
    Kind("_claim", "a GPU by a shared claim", gpus=True, claimed=True, goal=0.5),
    Kind("_gpu", "a GPU", gpus=True, claimed=False, goal=3.0),
)


def measure() -> list[Figure]:
    """The gaps, with a device and without; nothing where there is no cluster."""
    return of_each(KINDS, "gap", _gap)


def of_each(
    kinds: Iterable[Of], name: str, measured: Callable[[Namespace, Of], list[Figure]]
) -> list[Figure]:
    """The figures of each kind, in a namespace of its own on one cluster; nothing where there is none."""
    parts = parts_there()
    if parts is None:
        return []
    figures = []
    with Cluster(parts) as cluster:
        for kind in kinds:
            with cluster.namespace(name) as space:
                figures += measured(space, kind)
    return figures


def parts_there() -> LabParts | None:
    """What a Kubernetes is made of; ``None``: there is none here, which is said."""
    if (why := why_not()) is not None:
        print(f"  skipped: {why}", file=sys.stderr)
        return None
    parts = built()
    if parts is None:
        print("  skipped: no registry gave the parts of a Kubernetes", file=sys.stderr)
    return parts


# -- the gap ---------------------------------------------------------------------------------------


def _gap(space: Namespace, kind: Kind) -> list[Figure]:
    gaps, loop = [], []
    device = {RESOURCE: "1"} if kind.gpus else {}
    pools = pool(1, "gpus = 1\n" if kind.gpus else "")
    with ClusterManager(space, pools) as manager:
        if kind.claimed:
            claimed = f'device_class = "{space.cluster.device_class()}"\n'
            manager.configure(pools, cluster=claimed)
        manager.start()
        for number in range(ROUNDS + 1):
            gap, beside = _hand_over(manager), _jobs(space, device, number)
            if number:  # the first of each finds cold caches
                gaps.append(gap)
                loop.append(beside)
            if device:
                manager.in_phase("idle")
    return [
        Figure(
            name=f"kubernetes_gap{kind.name}",
            what=f"gap between two jobs on a cluster, {kind.what}",
            value=median(gaps),
            unit="s",
            goal=Goal(kind.goal),
            beside="two Jobs",
            beside_value=median(loop),
            p95=p95(gaps),
            n=len(gaps),
            more={"beside_p95": p95(loop)},
        )
    ]


def _hand_over(manager: ClusterManager) -> float:
    manager.in_phase("idle")
    old = manager.queue("sh", "-c", f"sleep {LONG_ENOUGH}; exec {NOW}")
    new = manager.queue("sh", "-c", f"exec {NOW}")
    for job in (old, new):
        row = manager.ended(job)
        assert row["state"] == "succeeded", row
    last, first = (float(manager.output(job).strip()) for job in (old, new))
    return first - last


def _jobs(space: Namespace, device: dict[str, str], number: int) -> float:
    """The same between two Jobs."""
    names = [f"loop-{number}-{half}" for half in ("a", "b")]
    for name in names:
        space.cluster.api.post(f"{JOBS}/{space.name}/jobs", _job(name, device))
        _complete(space, name)
    times = [_printed(space, name) for name in names]
    for name in names:
        space.cluster.kubectl("-n", space.name, "delete", "job", name)
    return times[1] - times[0]


def _complete(space: Namespace, name: str) -> None:
    """Return in the moment in which the cluster tells that the Job is complete."""
    asked = {"fieldSelector": f"metadata.name={name}", "timeoutSeconds": "120"}
    for event in space.cluster.api.watch(f"{JOBS}/{space.name}/jobs", **asked):
        for condition in event["object"].get("status", {}).get("conditions") or ():
            if condition["type"] == "Complete" and condition["status"] == "True":
                return
    raise AssertionError(f"{name} did not end")


def _printed(space: Namespace, name: str) -> float:
    found = space.cluster.api.get(f"{space.path}/pods", labelSelector=f"job-name={name}")
    (pod,) = found["items"]
    return float(space.log(pod["metadata"]["name"]).split()[-1])


def _job(name: str, device: dict[str, str]) -> dict[str, Any]:
    container = {
        "name": "one",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", NOW],
        "resources": {"limits": device},
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template},
    }
