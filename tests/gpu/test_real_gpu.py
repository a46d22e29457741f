"""The path of the stub, on a real GPU: facts, the image that fits, a lease, the gate, a CUDA program in an
agent and beside it, its hand-over, turns, energy, clocks and a reset.

    make test-gpu

Where an Engine with the runtime `nvidia` answers, agents are used too. What is done only where it was allowed
stands in ``conftest.py``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mayfly.core.gpu_gate import judge
from mayfly.core.gpu_health import Ours, Reading, Record, Tenant, recorded
from mayfly.core.images import select
from mayfly.core.leases import Gpu, assign
from mayfly.core.model import PoolName, PoolSpec
from mayfly.edge.catalogue import architecture, catalogue
from mayfly.edge.gpus import GpuWatch, Session, load
from tests.gpu.conftest import INSIDE, PROGRAM, compute, inside, pool
from tests.harness import Manager, until

pytestmark = pytest.mark.gpu

SUM = sum(2 * (index % 1000) for index in range(1 << 20))
AS_FAST = 0.99  # of the GPU's throughput beside the agents is to be had inside one


def test_the_facts_are_those_of_nvidia_smi(reading: Reading) -> None:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    assert reading.gpus is not None
    assert [gpu.uuid for gpu in reading.gpus] == re.findall(r"UUID: (GPU-[0-9a-f-]+)", listed)
    for gpu in reading.gpus:
        assert gpu.capability is not None
        assert gpu.memory > 2**30
    assert reading.cuda is not None
    assert reading.cuda >= (11, 0)


def test_an_image_of_the_catalogue_fits_and_every_gpu_can_be_leased(reading: Reading) -> None:
    assert reading.gpus is not None
    assert reading.cuda is not None
    capabilities = [gpu.capability for gpu in reading.gpus if gpu.capability is not None]
    choice = select(catalogue(), reading.cuda, capabilities, architecture())
    assert choice.image is not None, choice.reason
    pool = PoolSpec(name=PoolName("p"), gpus="all")
    lease = assign([pool], reading.gpus)
    assert not lease.obstacles


def test_a_gpu_that_nobody_uses_passes_the_gate(reading: Reading) -> None:
    assert reading.gpus is not None
    records: dict[str, Record] = recorded({}, reading)
    again = Session().read()
    lease = tuple(gpu.uuid for gpu in reading.gpus if not gpu.split)
    word = judge(Tenant(lease, reading.began), again, records, reading.gpus, Ours())
    assert word.fit, word


def test_nvml_answers_within_a_second_once_it_is_open(reading: Reading) -> None:
    session = Session()
    session.read()
    second = session.read()
    session.close()
    assert second.ended - second.began < 1.0


def test_a_watch_sees_what_a_program_uses(reading: Reading) -> None:
    found: list[Reading] = []
    watch = GpuWatch(found.append, every=0.2)
    watch.start()
    subprocess.run(["nvidia-smi", "-q"], capture_output=True, check=True)
    watch.stop()
    assert all(seen.problem is None for seen in found)


def test_nvml_has_what_the_health_gate_asks_of_a_gpu_of_today(reading: Reading, gpu: Gpu) -> None:
    vitals = reading.vitals[gpu.uuid]
    assert vitals.problem is None
    assert not vitals.lost
    assert vitals.total
    assert vitals.used is not None
    assert vitals.used <= vitals.total
    assert vitals.utilisation is not None


def test_a_process_on_a_gpu_is_seen_with_its_pid_and_its_memory_and_gone_when_it_has_ended(
    gpu: Gpu,
) -> None:
    words = [sys.executable, str(PROGRAM), "hold", "1024", "20"]
    surroundings = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu.uuid}
    session = Session()

    def held() -> dict[int, int | None]:
        return {one.pid: one.memory for one in session.read().vitals[gpu.uuid].processes}

    with subprocess.Popen(words, env=surroundings, stdout=subprocess.DEVNULL) as process:
        # (In a PID namespace of the tests' own NVML tells the host's number.)
        until(lambda: any((memory or 0) >= 1024 << 20 for memory in held().values()), "it is seen")
        process.kill()
    until(lambda: all((memory or 0) < 1024 << 20 for memory in held().values()), "it is gone")
    session.close()


def test_a_cuda_program_runs_beside_the_agents(gpu: Gpu) -> None:
    found = compute(gpu, "add")
    assert found["sum"] == SUM
    assert tuple(found["capability"]) == gpu.capability
    assert found["gpus"] == 1


def test_the_same_program_runs_inside_an_agent_which_sees_its_gpu_alone(
    manager: Manager, gpu: Gpu
) -> None:
    manager.start()
    found = inside(manager, "add")
    assert found["sum"] == SUM
    assert found["gpus"] == 1
    job = manager.queue("nvidia-smi", "-L", pool="gpu")
    assert manager.ended(job)["exit_code"] == 0
    assert re.findall(r"UUID: (GPU-[0-9a-f-]+)", manager.cli("logs", job).stdout) == [gpu.uuid]


def test_inside_an_agent_a_gpu_is_as_fast_as_beside_it(manager: Manager, gpu: Gpu) -> None:
    """Copies within its memory and computing, measured by turns: before, inside, and after."""
    manager.start()
    before, within, after = (
        compute(gpu, "measure"),
        inside(manager, "measure"),
        compute(gpu, "measure"),
    )
    for what in ("bytes_per_second", "operations_per_second"):
        beside = (before[what] + after[what]) / 2
        print(
            f"{what}: inside {within[what]:.4g}, beside {beside:.4g}, {within[what] / beside:.4f}"
        )
        assert within[what] >= AS_FAST * beside


def test_the_next_gate_opens_on_a_gpu_whose_memory_was_returned(manager: Manager, gpu: Gpu) -> None:
    manager.start()
    most = gpu.memory // 4 >> 20
    first = manager.queue("python3", INSIDE, "hold", str(most), "0", pool="gpu")
    second = manager.queue("python3", INSIDE, "hold", "1", "0", pool="gpu")
    assert manager.ended(first)["exit_code"] == 0
    assert manager.ended(second)["exit_code"] == 0
    found = json.loads(manager.cli("logs", second).stdout.splitlines()[-1])
    assert found["total"] - found["free_before"] < most << 20, "what the first had is returned"
    lives = {one["job"]: one for one in manager.json("history")["agents"] if one["job"]}
    print(f"from {lives[first]['exited']} to {lives[second]['opened']}")


def test_pools_in_turn_have_one_gpu_one_after_the_other_as_nvml_sees_it(
    manager: Manager, gpu: Gpu
) -> None:
    names = ("one", "two", "three")
    manager.configure("".join(pool(name, gpu, 'exclusive = "in turn"') for name in names))
    manager.start()
    most: list[int] = []

    def look(seen: Reading) -> None:
        most.append(len(seen.vitals[gpu.uuid].processes) if gpu.uuid in seen.vitals else 0)

    before = len(Session().read().vitals[gpu.uuid].processes)
    watch = GpuWatch(look, every=0.05)
    watch.start()
    jobs = [manager.queue("python3", INSIDE, "burn", "3", pool=name) for name in names]
    assert [manager.ended(job)["exit_code"] for job in jobs] == [0, 0, 0]
    watch.stop()
    assert max(most) == before + 1, "it was seen at work, and never two at once"


def test_the_counter_of_energy_grows_with_the_work_and_is_the_job_s(
    manager: Manager, reading: Reading, gpu: Gpu
) -> None:
    if reading.vitals[gpu.uuid].energy is None:
        pytest.skip("no energy was read: this GPU has no counter")
    session = Session()

    def joules() -> float:
        return (session.read().vitals[gpu.uuid].energy or 0) / 1000

    before = joules()
    compute(gpu, "burn", "5")
    used = joules() - before
    assert used > 5 * 10, "more than 10 W for as long"
    manager.start()
    job = manager.queue("python3", INSIDE, "burn", "10", pool="gpu")
    before = joules()
    assert manager.ended(job)["exit_code"] == 0
    beside = joules() - before
    session.close()
    (life,) = [one for one in manager.json("history")["agents"] if one["job"] == job]
    (use,) = life["gpus"]
    print(f"a job of 10 s: {use['energy']} J by its account, {beside:.0f} J by the counter")
    assert 0 < use["energy"] <= 1.05 * beside


def test_clocks_are_locked_and_unlocked_again(settings: None, gpu: Gpu) -> None:
    nvml = load()
    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    memory = max(nvml.nvmlDeviceGetSupportedMemoryClocks(handle))
    clocks = sorted(nvml.nvmlDeviceGetSupportedGraphicsClocks(handle, memory))
    wanted = clocks[len(clocks) // 2]
    try:
        nvml.nvmlDeviceSetGpuLockedClocks(handle, wanted, wanted)
        with _burning(gpu):
            until(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu > 50, "it works")
            seen = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS)
        assert abs(seen - wanted) <= 30
    finally:
        nvml.nvmlDeviceResetGpuLockedClocks(handle)
    with _burning(gpu):
        until(
            lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS) > wanted + 30,
            "it is as fast as it can again",
        )
    nvml.nvmlShutdown()


def test_a_measured_job_has_its_clocks_locked_and_the_next_manager_unlocks_them_after_it(
    settings: None, manager: Manager, gpu: Gpu
) -> None:
    nvml = load()
    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    memory = max(nvml.nvmlDeviceGetSupportedMemoryClocks(handle))
    clocks = sorted(nvml.nvmlDeviceGetSupportedGraphicsClocks(handle, memory))
    wanted = clocks[len(clocks) // 2]

    def clock() -> int:
        return int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS))

    manager.configure(pool("gpu", gpu, f"bench = {{ clock = {wanted} }}"))
    manager.start()
    try:
        job = manager.queue("python3", INSIDE, "burn", "30", pool="gpu")
        manager.started(job)
        until(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu > 50, "it works")
        assert abs(clock() - wanted) <= 30
        manager.kill()
        assert manager.cli("gpus", "unlock").returncode == 1, "its job runs"
        assert abs(clock() - wanted) <= 30
        manager.start(wait="answer")
        assert manager.ended(job)["exit_code"] == 0
        with _burning(gpu):
            until(lambda: clock() > wanted + 30, "it is as fast as it can again")
    finally:
        nvml.nvmlDeviceResetGpuLockedClocks(handle)
        nvml.nvmlShutdown()
    (life,) = [one for one in manager.json("history")["agents"] if one["job"] == job]
    print(f"a measured job at {wanted} MHz: {life['bench']}")
    assert (life["bench"]["clock"], life["bench"]["held"]) == (wanted, True)
    assert [one["uuid"] for one in life["bench"]["gpus"]] == [gpu.uuid]


def test_a_gpu_is_reset_by_hand_and_takes_jobs_again(
    settings: None, manager: Manager, gpu: Gpu
) -> None:
    manager.start()
    assert inside(manager, "add")["sum"] == SUM
    healed = manager.cli("gpus", "heal", gpu.uuid, "--yes", timeout=600)
    if healed.returncode != 0:
        pytest.skip(f"no GPU was reset: {(healed.stdout + healed.stderr).strip()}")
    assert f"{gpu.uuid} is back in service" in healed.stdout
    assert inside(manager, "add")["sum"] == SUM


@contextmanager
def _burning(gpu: Gpu) -> Iterator[None]:
    """It has work to do meanwhile."""
    surroundings = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu.uuid}
    words = [sys.executable, str(PROGRAM), "burn", "30"]
    with subprocess.Popen(words, env=surroundings, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()
