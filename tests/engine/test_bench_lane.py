"""The bench lane from outside: a manager and an Engine, and the journal of what was done to the clocks."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvml import Hardware, uuid
from tests.harness import until

pytestmark = pytest.mark.engine

HELD_UP = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done")
LOCKED = [f"persistence {uuid(0)} 1", f"lock {uuid(0)} 1410 1410"]
UNLOCKED = f"unlock {uuid(0)}"


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=1, cuda=13000) as made:
        made.say("clocks gpu=0 temperature=41 cpus=1 node=1")
        yield made


@pytest.fixture
def manager(
    engine: PrivateEngine, runtime: NvidiaRuntime, hardware: Hardware
) -> Iterator[GpuManager]:
    runtime.witness(uuid(0))
    pathlib.Path(hardware.home).chmod(0o777)
    hardware.clocks_journal.touch()
    hardware.clocks_journal.chmod(0o666)
    pools = f"""
[[pool]]
name = "gpu"
gpus = 1
network = "none"
image = "mayfly/local:cpu"
[pool.bench]
others_idle = true
[[pool.caches]]
source = "{hardware.home}"
target = "/hardware"

[[pool]]
name = "cpu"
network = "none"
standby = false
"""
    with GpuManager(engine.url, hardware, pools) as made:
        yield made


def test_clocks_are_locked_before_the_gate_and_unlocked_by_the_next_manager_once_the_job_has_ended(
    manager: GpuManager, hardware: Hardware
) -> None:
    manager.start()
    script = "echo job begins $MAYFLY_BENCH $MAYFLY_BENCH_CLOCK_MHZ >>/hardware/driver.clocks; "
    script += f"{HELD_UP[2]}; echo job ends >>/hardware/driver.clocks"
    job = manager.on_gpu("sh", "-c", script)
    manager.started(job)
    began = [*LOCKED, "job begins 1 1410"]
    until(lambda: hardware.done_to_clocks() == began, "locked, then the job")
    inspected = json.loads(manager.docker("inspect", manager.slot("gpu-0")["container"]))[0]
    assert inspected["HostConfig"]["CpusetCpus"] == "0"
    assert inspected["HostConfig"]["CpusetMems"] == "0"
    # Nobody else's gate opens meanwhile, and none unlocks them: not the next manager either.
    other = manager.queue("true", pool="cpu")
    manager.kill()
    manager.start(wait="answer")
    until(lambda: manager.slot("gpu-0")["phase"] == "busy", "the next manager knows the job")
    assert manager.job(other)["state"] == "queued"
    assert hardware.done_to_clocks() == began
    manager.let_go(job)
    assert manager.ended(job)["exit_code"] == 0
    until(lambda: UNLOCKED in hardware.done_to_clocks(), "unlocked")
    assert hardware.done_to_clocks() == [*began, "job ends", UNLOCKED]
    assert manager.ended(other)["exit_code"] == 0
    life = next(row for row in manager.json("history")["agents"] if row["job"] == job)
    told = life["bench"]
    assert (told["clock"], told["held"]) == (1410, True)
    (gpu,) = told["gpus"]
    assert (gpu["uuid"], gpu["began"], gpu["ended"]) == (uuid(0), 41, 41)
    # Locked for the next, and not for longer than it takes.
    hardware.note_among_clocks("next")
    second = manager.on_gpu(*HELD_UP)
    manager.started(second)
    hardware.note_among_clocks("reload")
    manager.let_go(second)
    manager.ended(second)
    until(lambda: hardware.done_to_clocks()[-1] == UNLOCKED, "unlocked again")
    life = next(row for row in manager.json("history")["agents"] if row["job"] == second)
    assert life["bench"]["unheld"].startswith(f"persistence mode of {uuid(0)} is off")


def bench_of(manager: GpuManager, job: str) -> Any:
    """What the history says of how it was measured."""
    return next(row["bench"] for row in manager.json("history")["agents"] if row["job"] == job)


def test_no_gate_opens_where_the_clocks_cannot_be_locked_and_it_says_why(
    manager: GpuManager, hardware: Hardware
) -> None:
    hardware.say("error nvmlDeviceSetGpuLockedClocks 4")
    manager.start()
    job = manager.on_gpu("true")
    until(lambda: manager.told("bench.refused"), "it is told")
    (text,) = manager.told("bench.refused")
    assert f"the manager may not lock the clocks of {uuid(0)}" in text
    assert manager.job(job)["state"] == "queued"
    assert manager.ended(manager.queue("true", pool="cpu"))["exit_code"] == 0
    # Nor is anybody told that they are, whose clocks nobody locks.
    surroundings = {**manager.environment(), "MAYFLY_CONFIG": str(manager.config)}
    words = (sys.executable, "-m", "mayfly.cli.app", "shell", "gpu-0", "--", "env")
    seen = subprocess.run(words, env=surroundings, capture_output=True, text=True, check=True)
    assert "MAYFLY_SLOT=gpu-0" in seen.stdout
    assert "MAYFLY_BENCH" not in seen.stdout


def test_without_a_manager_the_clocks_of_a_job_that_has_ended_are_unlocked_and_no_other_s(
    manager: GpuManager, hardware: Hardware
) -> None:
    manager.start()
    job = manager.on_gpu(*HELD_UP)
    manager.started(job)
    container = manager.slot("gpu-0")["container"]
    for more in ((), ("--force",)):
        beside = manager.cli("gpus", "unlock", *more)
        assert beside.returncode == 1
        assert "manager runs and unlocks" in beside.stdout + beside.stderr
    manager.kill()
    told = manager.cli("gpus", "unlock")
    assert told.returncode == 1
    assert told.stdout == f"gpu-0: its job runs, so the clocks of {uuid(0)} stay locked\n"
    assert UNLOCKED not in hardware.done_to_clocks()
    assert manager.cli("gpus", "unlock", "--force").returncode == 0
    assert hardware.done_to_clocks()[-1] == UNLOCKED
    hardware.note_among_clocks("forced")
    manager.let_go_in(container)
    line = f"gpu-0: the clocks of {uuid(0)} are unlocked\n"
    until(lambda: manager.cli("gpus", "unlock").stdout == line, "unlocked once it has ended")
    assert hardware.done_to_clocks()[-1] == UNLOCKED
    manager.start()
    assert manager.ended(job)["state"] == "succeeded"
    until(lambda: bench_of(manager, job), "its record is whole")
    assert bench_of(manager, job)["unheld"].startswith("a person unlocked them")
    until(
        lambda: manager.cli("gpus", "unlock").stdout == "no clocks are locked\n",
        "the next manager has recorded it",
    )
