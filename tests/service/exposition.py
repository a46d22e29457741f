"""The metrics of a manager that has made one pass over a pool of each kind, and done nothing else."""

from __future__ import annotations

from dataclasses import replace

from mayfly.core.delivery import JobCounts
from mayfly.core.desire import ImageSeen, Survey
from mayfly.core.gpu_checks import CheckSeverity, GpuFinding
from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.gpus import Gpus
from mayfly.core.host_hours import Hours
from mayfly.core.leases import Gpu
from mayfly.core.memory import Job, Memory
from mayfly.core.model import (
    Config,
    Desired,
    HostId,
    HostSpec,
    JobId,
    PoolName,
    PoolSpec,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.reserve_rules import ReserveRules
from mayfly.core.state import State, begin
from mayfly.core.waiting import Queue, Queues, WaitingJob
from mayfly.edge.room import Room
from mayfly.service import status
from mayfly.service.gpu_check_metrics import GpuCheckCollector
from mayfly.service.idle_metrics import IdleCollector
from mayfly.service.metrics import Metrics, Outside
from mayfly.service.state_metrics import StateCollector

NOW = 100.0
LOCAL = PoolSpec(PoolName("local"), slots=2, reserve=ReserveRules())
GITHUB = PoolSpec(PoolName("forge"), provider="github", embedded=False, slots=1)
GPU = PoolSpec(PoolName("gpu"), slots=1, gpus=1)
CONFIG = Config(HostSpec("box"), (LOCAL, GITHUB, GPU))
DEVICE = Gpu("GPU-1", 0, name="A100", memory=80 * 1024**3)
OUTSIDE = Outside(
    calls=lambda: {GITHUB.name: {("list the runners", "200"): 3}},
    remaining=lambda: {GITHUB.name: 4999.0},
    gpus=lambda: ((DEVICE,), "570.1"),
)
FOUND = (
    GpuFinding("gpu.thermal_slowdown", "GPU-1", "GPU-1 slows down", CheckSeverity.WARN),
    GpuFinding("gpu.xid", "GPU-1", "XID 79 on GPU-1"),
)
READING = Reading(
    *(90.0, 90.1),
    gpus=(DEVICE,),
    vitals={"GPU-1": Vitals(1024**3, 80 * 1024**3, utilisation=42, temperature=61)},
)
ROOMS = (Room("/var/lib/mayfly", 40 * 1024**3, 100 * 1024**3, 900_000, 6_000_000),)


def specs() -> tuple[SlotSpec, ...]:
    """The slots of all pools."""
    return tuple(
        SlotSpec(
            *(SlotName(f"{pool.name}-{index}"), index, pool, "", ""),
            lease=("GPU-1",) if pool.gpus else (),
            reference=f"mayfly/{pool.provider}:cpu",
        )
        for pool in CONFIG.pools
        for index in range(pool.slots)
    )


def state(memory: Memory | None = None) -> State:
    """A state in which something is known of everything that has a metric."""
    seen = WaitingJob("7", "build", NOW - 50, "", fits=True)
    config = replace(CONFIG, host=replace(CONFIG.host, docs="https://docs.lab.example"))
    return replace(
        begin(HostId("abc"), "run", config, memory or Memory(), Gpus(reading=READING), 0),
        desired=Desired(specs()),
        survey=Survey({"mayfly/local:cpu": ImageSeen("sha256:1", "1", created=10.0)}),
        queues=Queues({GITHUB.name: Queue(NOW, jobs=(seen,), seen=NOW - 5)}),
    )


def begun(known: State | None = None) -> Metrics:
    """All that there is from the start."""
    shown = known or state()
    made = Metrics(CONFIG)
    made.watch(
        OUTSIDE,
        GpuCheckCollector(lambda: FOUND),
        IdleCollector(lambda: Hours(60.0, 30.0, 0.0)),
        StateCollector(lambda: shown, lambda _: {GITHUB.name: NOW + 86400}, lambda: NOW),
    )
    made.handed_out({GITHUB.name: JobCounts()})
    made.surveyed(ROOMS)
    rows = status.statuses(Desired(specs()), Memory(), NOW)
    made.passed(rows, Memory(), World({}), NOW, 1.0, 0.01, recorded=True)
    return made


def queued(number: int, pool: PoolName = LOCAL.name, **more: object) -> Job:
    """A job of the queue that waits."""
    job = Job(JobId(f"j{number}"), pool, number, NOW - 10 * number)
    return replace(job, **more)  # type: ignore[arg-type]
