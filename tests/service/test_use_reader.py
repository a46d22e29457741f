"""What jobs use is read once a second at the most, whoever asks, and shown a row a job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mayfly.core.gpu_health import Process, Reading, Vitals
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Job, Memory
from mayfly.core.model import (
    Config,
    ContainerId,
    Generation,
    HostId,
    HostSpec,
    JobId,
    PoolName,
    SlotName,
)
from mayfly.core.state import State, begin
from mayfly.core.use import Use
from mayfly.edge.catalogue import catalogue
from mayfly.edge.faults import Passing
from mayfly.service.use_reader import UseReader
from tests.core.simulator import pool

T = 1_800_000_000.0
BOX = ContainerId("b" * 64)
RUNS = Agent(
    *(Generation("g1"), SlotName("a-0"), PoolName("a"), 1, "f", "image", ("GPU-1",), T - 60),
    container=BOX,
    committed=T - 40,
    opened=T - 39,
    job=JobId("j1"),
    memory=8 << 30,
)
JOB = Job(JobId("j1"), PoolName("a"), 1, T - 50, agent=RUNS.generation, owner="ann", name="train")
WAITS = replace(RUNS, generation=Generation("g0"), slot=SlotName("a-1"), opened=None, job=None)


def state(vitals: Vitals | None = None) -> State:
    memory = Memory({one.generation: one for one in (WAITS, RUNS)}, jobs={JOB.id: JOB})
    config = Config(HostSpec(name="lab1"), (pool("a", slots=2),))
    made = begin(HostId("h"), "run", config, memory, Gpus(catalogue(), "amd64"), 1)
    gpu = Gpu(uuid="GPU-1", index=3, name="H100", memory=80, capability=(9, 0))
    reading = Reading(T, T, vitals={"GPU-1": vitals} if vitals else {}, gpus=(gpu,))
    return replace(made, gpus=replace(made.gpus, known=(gpu,), reading=reading))


class Host:
    """An engine and a kernel that count what they are asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.read = 0
        self.away = False

    def first_process(self, container: ContainerId) -> int | None:
        self.asked += 1
        if self.away:
            raise Passing("nobody answers")
        return 7

    def use(self, process: int, container: ContainerId) -> Use | None:
        self.read += 1
        assert (process, container) == (7, BOX)
        return Use(2.5, 700, 4)


def made(host: Host, clock: list[float], vitals: Vitals | None = None) -> UseReader:
    return UseReader(host, host, lambda: state(vitals), lambda: T, lambda: clock[0])


def row(reader: UseReader) -> dict[str, Any]:
    rows: Any = reader.document()["rows"]
    (found,) = rows
    assert isinstance(found, dict)
    return found


def test_a_job_s_row_says_whose_it_is_and_what_it_uses() -> None:
    used = Vitals(used=40, total=80, utilisation=71)
    document = made(Host(), [100.0], used).document()
    assert document == {
        "schema": "mayfly.top/1",
        "at": "2027-01-15T08:00:00.000Z",
        "rows": [
            {
                "slot": "a-0",
                "pool": "a",
                "agent": "g1",
                "job": "j1",
                "name": "train",
                "owner": "ann",
                "since": "2027-01-15T07:59:21.000Z",
                "cpu_seconds": 2.5,
                "memory": 700,
                "memory_limit": 8 << 30,
                "processes": 4,
                "gpus": [
                    {"uuid": "GPU-1", "index": 3, "utilisation": 71, "used": 40, "memory": 80}
                ],
            }
        ],
    }


def test_of_a_gpu_s_memory_the_agent_s_own_processes_count_where_nvml_names_them() -> None:
    others = (Process(1, 30, ContainerId("c" * 64)), Process(2, 5, BOX), Process(3, None, BOX))
    found = row(made(Host(), [100.0], Vitals(used=40, processes=others)))
    assert found["gpus"][0]["used"] == 5
    # And those in containers that it has made.
    inner = Process(4, 7, ContainerId("d" * 64), agent=RUNS.generation)
    found = row(made(Host(), [100.0], Vitals(used=47, processes=(*others, inner))))
    assert found["gpus"][0]["used"] == 12


def test_many_who_watch_cost_one_reading_a_second() -> None:
    host, clock = Host(), [100.0]
    reader = made(host, clock)
    for _ in range(50):
        reader.document()
    assert (host.asked, host.read) == (1, 1)
    clock[0] += 1.0
    reader.document()
    assert (host.asked, host.read) == (1, 2), "the engine is asked once in a container's life"


def test_an_engine_that_does_not_answer_is_asked_once_a_reading_and_the_rest_is_told() -> None:
    host, clock = Host(), [100.0]
    host.away = True
    reader = made(host, clock)
    assert row(reader)["memory"] is None
    assert host.asked == 1
    host.away, clock[0] = False, 101.0
    assert row(reader)["memory"] == 700
