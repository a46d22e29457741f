"""On a Kubernetes of one node: the gap between two jobs of a slot, and what a manager asks of its API server.

The gap is from a job's last instruction to the next one's first, by the node's clock, which is this host's;
it stands beside the same between two Jobs of the cluster's own, the next made as soon as one has ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass

from tests.bench.figures import Figure, Goal, median, p95
from tests.bench.idle import _resident
from tests.harness import until
from tests.real.kubernetes.cluster import Cluster
from tests.real.kubernetes.cluster_manager import IMAGE, ClusterManager, pool
from tests.real.kubernetes.lab_parts import built, why_not
from tests.real.kubernetes.lab_settings import RESOURCE
from tests.real.kubernetes.namespace import Namespace

ROUNDS = 10
SLOTS = 64
WINDOW = 60.0
NOW = "date +%s.%N"
LONG_ENOUGH = 6  # seconds in which a slot gets its standby, where it may have one
MEMORY = 64 + 30  # MiB


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
    """The gaps, with a device and without, then the calls of 64 slots; nothing where there is no cluster."""
    if (why := why_not()) is not None:
        print(f"  skipped: {why}", file=sys.stderr)
        return []
    parts = built()
    if parts is None:
        print("  skipped: no registry gave the parts of a Kubernetes", file=sys.stderr)
        return []
    with Cluster(parts) as cluster:
        figures = []
        for kind in KINDS:
            with cluster.namespace("gap") as space:
                figures += _gap(space, kind)
        with cluster.namespace("calls") as space:
            figures += _calls(space)
    return figures


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
    times = []
    for half in ("a", "b"):
        name = f"loop-{number}-{half}"
        _job(space, name, device)
        words = ("wait", "--for=condition=complete", f"job/{name}", "--timeout=120s")
        space.cluster.kubectl("-n", space.name, *words)
        (pod,) = space.cluster.api.get(f"{space.path}/pods", labelSelector=f"job-name={name}")[
            "items"
        ]
        times.append(float(space.log(pod["metadata"]["name"]).split()[-1]))
    for half in ("a", "b"):
        space.cluster.kubectl("-n", space.name, "delete", "job", f"loop-{number}-{half}")
    return times[1] - times[0]


def _job(space: Namespace, name: str, device: dict[str, str]) -> None:
    container = {
        "name": "one",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", NOW],
        "resources": {"limits": device},
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    document = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template},
    }
    subprocess.run(
        [*space.cluster.kubectl_words(), "-n", space.name, "create", "-f", "-"],
        input=json.dumps(document),
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )


# -- the calls -------------------------------------------------------------------------------------


def _calls(space: Namespace) -> list[Figure]:
    with ClusterManager(space, pool(SLOTS, "standby = false\n")) as manager:
        began = time.monotonic()
        manager.start(wait="answer")
        until(manager.rests, f"{SLOTS} slots are idle", 600)
        filled = time.monotonic() - began
        figures = [_window(manager, "idle", {"seconds_to_fill": round(filled, 1)})]
        for _ in range(SLOTS):
            manager.queue("sleep", "900", timeout=900)
        until(lambda: _busy(manager) == SLOTS, f"{SLOTS} slots are busy", 300)
        figures.append(_window(manager, "busy", {}))
        assert manager.process is not None
        figures.append(
            Figure(
                name=f"kubernetes_manager_rss_{SLOTS}",
                what=f"manager, {SLOTS} busy slots on a cluster: resident",
                value=_resident(manager.process.pid),
                unit="MiB",
                goal=Goal(MEMORY),
            )
        )
    return figures


def _busy(manager: ClusterManager) -> int:
    return sum(row["phase"] == "busy" for row in manager.get("/v1/status")["slots"])


def _window(manager: ClusterManager, state: str, more: dict[str, object]) -> Figure:
    """How many calls there are in a minute in which nothing happens."""
    time.sleep(15)
    before = len(manager.space.cluster.calls())
    time.sleep(WINDOW)
    calls = Counter(manager.space.cluster.calls()[before:])
    return Figure(
        name=f"kubernetes_calls_{SLOTS}_{state}",
        what=f"calls of the API server a minute, {SLOTS} {state} slots",
        value=60 * calls.total() / WINDOW,
        unit="calls",
        more={**more, "calls": dict(calls.most_common())},
    )
