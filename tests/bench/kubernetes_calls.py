"""On a Kubernetes of one node: what a manager of 64 slots asks of its API server, and how much memory it has.

Three states of a pool, without standbys and with them: all slots idle, all busy, and slots that turn over,
each job a minute long.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from tests.bench.figures import Figure, Goal
from tests.bench.idle import MAYFLY, resident
from tests.bench.kubernetes_gap import of_each
from tests.harness import until
from tests.real.kubernetes.cluster_manager import ClusterManager, pool
from tests.real.kubernetes.namespace import Namespace

SLOTS = 64
WINDOW = 60.0
SETTLES = 15.0  # seconds after which nothing is left of how a state was come to
JOB = 60  # seconds of a job where slots turn over
MEMORY = 64 + 30  # MiB
KINDS = (("", "standby = false\n"), ("_standby", ""))


def measure() -> list[Figure]:
    """The calls of 64 slots; nothing where there is no cluster."""
    return of_each(KINDS, "calls", _calls)


def _calls(space: Namespace, standbys: tuple[str, str]) -> list[Figure]:
    kind, keys = standbys
    figures = []
    with ClusterManager(space, pool(SLOTS, keys)) as manager:
        began = time.monotonic()
        manager.start(MAYFLY, "run", wait="answer")
        until(manager.rests, f"{SLOTS} slots are idle", 600)
        filled = round(time.monotonic() - began, 1)
        figures += _state(manager, f"idle{kind}", lambda: {"seconds_to_fill": filled})
        busy = [manager.queue("sleep", "1800", timeout=1800) for _ in range(SLOTS)]
        until(lambda: _busy(manager) == SLOTS, f"{SLOTS} slots are busy", 300)
        if kind:
            until(lambda: len(manager.pods()) == 2 * SLOTS, "each has its standby", 600)
        figures += _state(manager, f"busy{kind}", lambda: {"pods": len(manager.pods())})
        for _ in range(4 * SLOTS):
            manager.queue("sleep", str(JOB), timeout=1800)
        for job in busy:  # one after the other, so that what follows does not end in one moment
            manager.cli("cancel", job)
        ended = _succeeded(manager)
        until(lambda: _succeeded(manager) - ended >= SLOTS, "each has turned over once", 900)
        before = _succeeded(manager)
        figures += _state(manager, f"turning{kind}", lambda: {"jobs": _succeeded(manager) - before})
    return figures


def _busy(manager: ClusterManager) -> int:
    return sum(row["phase"] == "busy" for row in manager.get("/v1/status")["slots"])


def _succeeded(manager: ClusterManager) -> int:
    return len(manager.get("/v1/jobs?state=succeeded&limit=5000")["jobs"])


def _state(
    manager: ClusterManager, state: str, more: Callable[[], dict[str, object]]
) -> list[Figure]:
    """The calls of a minute, and what the manager has in memory then."""
    time.sleep(SETTLES)
    before, began = len(manager.space.cluster.calls()), time.monotonic()
    time.sleep(WINDOW)
    calls = Counter(manager.space.cluster.calls()[before:])
    minutes = (time.monotonic() - began) / 60
    assert manager.process is not None
    what = f"{SLOTS} slots, {state.replace('_', ', with a ')}"
    return [
        Figure(
            name=f"kubernetes_calls_{SLOTS}_{state}",
            what=f"calls of the API server a minute, {what}",
            value=calls.total() / minutes,
            unit="calls",
            more={**more(), "calls": dict(calls.most_common())},
        ),
        Figure(
            name=f"kubernetes_manager_rss_{SLOTS}_{state}",
            what=f"manager on a cluster, {what}: resident",
            value=resident(manager.process.pid),
            unit="MiB",
            goal=Goal(MEMORY),
        ),
    ]
