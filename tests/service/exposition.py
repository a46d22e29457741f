"""The metrics of a manager that has made one pass over a pool of each kind, and done nothing else."""

from __future__ import annotations

from mayfly.core.gpu_checks import CheckSeverity, GpuFinding
from mayfly.core.leases import Gpu
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Config,
    Desired,
    HostSpec,
    PoolName,
    PoolSpec,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.service import status
from mayfly.service.gpu_check_metrics import GpuCheckCollector
from mayfly.service.metrics import Metrics, Outside

LOCAL = PoolSpec(PoolName("local"), slots=2)
GITHUB = PoolSpec(PoolName("forge"), provider="github", embedded=False, slots=1)
CONFIG = Config(HostSpec("box"), (LOCAL, GITHUB))
OUTSIDE = Outside(
    calls=lambda: {GITHUB.name: {("list the runners", "200"): 3}},
    remaining=lambda: {GITHUB.name: 4999.0},
    gpus=lambda: ((Gpu("GPU-1", 0, name="A100"),), "570.1"),
)
FOUND = (
    GpuFinding("gpu.thermal_slowdown", "GPU-1", "GPU-1 slows down", CheckSeverity.WARN),
    GpuFinding("gpu.xid", "GPU-1", "XID 79 on GPU-1"),
)


def begun() -> Metrics:
    """All that there is from the start."""
    made = Metrics(CONFIG)
    made.watch(OUTSIDE, GpuCheckCollector(lambda: FOUND))
    specs = tuple(
        SlotSpec(SlotName(f"{pool.name}-{index}"), index, pool, "", "")
        for pool in CONFIG.pools
        for index in range(pool.slots)
    )
    rows = status.statuses(Desired(specs), Memory(), 100.0)
    made.passed(rows, Memory(), World({}), 100.0, 1.0, 0.01, recorded=True)
    return made
