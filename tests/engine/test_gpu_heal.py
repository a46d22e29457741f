"""A sick GPU that is reset: a real manager and Engine, NVML's stub, a stand-in ``nvidia-smi``."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mayfly.core.model import ContainerId
from mayfly.edge.leftover_processes import end_leftover
from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.engine.test_gpu_slots import pool
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvidia_smi import NvidiaSmi
from tests.fakes.nvml import Hardware, uuid
from tests.harness import until

pytestmark = pytest.mark.engine

HEALS = 'heal = "reset"'


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=2) as made:
        yield made


@pytest.fixture
def smi(hardware: Hardware) -> NvidiaSmi:
    return NvidiaSmi(hardware)


@pytest.fixture
def manager(
    engine: PrivateEngine, runtime: NvidiaRuntime, hardware: Hardware, smi: NvidiaSmi
) -> Iterator[GpuManager]:
    with GpuManager(engine.url, hardware, pool(1, more=HEALS), path=smi.folder) as made:
        yield made


def healed(manager: GpuManager) -> list[dict[str, object]]:
    events = manager.json("events", "--limit", "1000")["events"]
    return [event for event in events if event["event"] == "gpu.healed"]


@contextmanager
def left_of(container: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has outlived that container, as its control group says."""
    root = Path("/sys/fs/cgroup")
    group = (root if (root / "cgroup.procs").exists() else root / "pids") / container
    group.mkdir()
    try:
        with sleeping() as process:
            (group / "cgroup.procs").write_text(str(process.pid))
            yield process
    finally:
        group.rmdir()


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_gpu_whose_rows_wait_for_a_reset_is_reset_once_and_takes_jobs_again(
    manager: GpuManager, hardware: Hardware, smi: NvidiaSmi
) -> None:
    manager.start()
    hardware.gpu(0, remap="0,0,1,0")
    (told,) = until(lambda: healed(manager), "the GPU is healed")
    assert (told["gpu"], told.get("failure")) == (uuid(0), None)
    assert "broken rows of memory" in str(told["reason"])
    assert smi.resets == [f"--gpu-reset -i {uuid(0)}"]
    short = manager.in_phase("idle", "gpu-0")["container"]
    container = manager.docker("inspect", "--format", "{{.Id}}", short).strip()
    assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0
    with sleeping() as stranger, left_of(container) as left:
        lines = [hardware.process(0, one.pid) for one in (stranger, left)]
        assert left.wait() == -signal.SIGKILL
        assert stranger.poll() is None
        hardware.unsay(*lines)
    logged = [json.loads(line) for line in manager.log.read_text().splitlines()]
    ended = [one for one in logged if one["event"] == "gpu.leftover"]
    assert [(one["pid"], one["ended"]) for one in ended] == [(left.pid, True)]
    hardware.gpu(0, remap="0,0,1,0")  # again within the hour
    (waits,) = until(lambda: manager.told("gpu.heal_waits"), "it waits for its hour")
    assert "is not again for" in waits
    assert len(smi.resets) == 1
    told = manager.cli("gpus", "heal", "--plan").stderr
    assert f"{uuid(0)} is to be reset: {uuid(0)} has broken rows of memory" in told
    plan = manager.cli("gpus", "heal", uuid(0), "--yes")
    assert plan.returncode == 1
    assert "is not again for" in plan.stderr


def test_a_reset_that_the_driver_refuses_holds_the_slot_and_a_person_has_it_made_later(
    manager: GpuManager, hardware: Hardware, smi: NvidiaSmi
) -> None:
    smi.faults("in-use")
    manager.start()
    hardware.gpu(0, remap="0,0,1,0")
    until(lambda: healed(manager), "the reset is refused")
    note = manager.in_phase("held", "gpu-0")["note"]
    assert "the driver says that another client uses it" in note
    smi.faults()
    asked = manager.cli("gpus", "heal", uuid(0))
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert len(smi.resets) == 1
    done = manager.cli("gpus", "heal", uuid(0), "--yes")
    assert done.returncode == 0, done.stderr
    assert f"{uuid(0)} is back in service" in done.stdout + done.stderr
    manager.in_phase("idle", "gpu-0")
    assert len(smi.resets) == 2


def test_a_manager_that_is_killed_in_a_reset_makes_no_second_one(
    manager: GpuManager, hardware: Hardware, smi: NvidiaSmi
) -> None:
    smi.faults("hang")
    manager.start()
    hardware.gpu(0, remap="0,0,1,0")
    until(lambda: smi.hanging, "the reset hangs")
    manager.kill(signal.SIGKILL)
    manager.start(wait="answer")
    note = manager.in_phase("held", "gpu-0")["note"]
    assert "does not know whether the reset was made" in note
    assert len(smi.resets) == 1


def test_a_split_gpu_is_reset_as_a_whole_and_its_slots_get_what_is_made_again(
    manager: GpuManager, hardware: Hardware, smi: NvidiaSmi
) -> None:
    hardware.mig(0, 2)
    hardware.gpus = 1
    hardware.write()
    manager.configure(pool(2, more=HEALS))
    manager.start()
    hardware.gpu(0, remap="0,0,1,0", mig=1)
    (told,) = until(lambda: healed(manager), "the GPU is healed")
    assert told.get("failure") is None, told
    again = [f"MIG-again-0-{number}" for number in range(2)]
    assert str(told["detail"]).endswith(f"its MIG devices have new UUIDs: {', '.join(again)}")
    assert len(smi.resets) == 1
    for number in range(2):
        manager.in_phase("idle", f"gpu-{number}")
    assert [row["gpus"] for row in manager.json("gpus")["slots"]] == [[one] for one in again]
    assert manager.ended(manager.on_gpu("true"))["exit_code"] == 0


def test_a_process_of_a_container_is_ended_as_that_container_s_and_as_no_other_s(
    engine: PrivateEngine,
) -> None:
    container = ContainerId(
        engine.docker("run", "-d", "--entrypoint", "sleep", "mayfly/local:cpu", "600")
    )
    try:
        pid = int(engine.docker("inspect", "--format", "{{.State.Pid}}", container))
        assert not end_leftover(pid, ContainerId("c" * 64), None)
        assert end_leftover(pid, container, None)
        assert engine.docker("wait", container) == "137"
    finally:
        engine.docker("rm", "-f", container)
