"""Reserved GPUs from outside: a real manager and Engine, NVML's stub, reservations of some seconds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from mayfly.core.quantities import parse_time
from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import PLACE, NvidiaRuntime
from tests.fakes.nvml import Hardware, uuid
from tests.harness import until
from tests.hurried import BRISK, hurried

pytestmark = pytest.mark.engine

HELD_UP = ("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.05; done")
SHORT = hurried("core.reservations.SHORTEST=1", BRISK)
POOL = """
[[pool]]
name = "gpu"
gpus = 1
network = "none"
image = "mayfly/local:cpu"
reserve = { idle = 0, per_person = 3 }
"""


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=1) as made:
        yield made


@pytest.fixture
def manager(
    engine: PrivateEngine, runtime: NvidiaRuntime, hardware: Hardware
) -> Iterator[GpuManager]:
    with GpuManager(engine.url, hardware, POOL) as made:
        made.start(*SHORT)
        yield made


def reserved(manager: GpuManager, *words: str) -> str:
    done = manager.cli("reserve", *words)
    assert done.returncode == 0, done.stderr
    return str(done.stdout.split()[0])


def row(manager: GpuManager, name: str) -> dict[str, Any]:
    rows = manager.get("/v1/reservations")["reservations"]
    return next((one for one in rows if one["reservation"] == name), {"state": "over"})


def active(manager: GpuManager, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = row(manager, name)
        assert found["state"] != "over", manager.log.read_text()[-2000:]
        return found if found["state"] == "active" else None

    return until(look, f"reservation {name} begins")


def test_it_begins_after_the_running_job_ci_waits_and_it_ends_on_time_with_and_without_a_manager(
    manager: GpuManager,
) -> None:
    first = manager.on_gpu(*HELD_UP)
    manager.started(first)
    mine = reserved(manager, "--for", "6s")
    second = manager.on_gpu("true")
    assert row(manager, mine)["state"] == "waits"
    assert manager.job(mine)["state"] == "queued"
    manager.let_go(first)
    assert manager.ended(first)["state"] == "succeeded", "no job is ended for it"
    told = active(manager, mine)
    assert told["devices"] == [uuid(0)]
    manager.started(mine)
    assert manager.job(second)["state"] == "queued", "it was there before"
    seen = manager.cli("attach", mine, "--", f"{PLACE}/nvidia-smi", "-L")
    assert uuid(0) in seen.stdout, seen.stderr
    assert manager.slot("gpu-0")["note"].startswith("reserved for ")
    end = manager.ended(mine)
    assert (end["state"], end["cause"]) == ("cancelled", "cancelled")
    assert parse_time(end["finished"]) >= parse_time(told["until"])
    assert manager.ended(second)["state"] == "succeeded"
    assert parse_time(manager.job(second)["started"]) >= parse_time(told["until"])
    # The same, and nobody is there at its end.
    again = reserved(manager, "--for", "6s")
    promised = parse_time(active(manager, again)["until"])
    manager.started(again)
    third = manager.on_gpu("true")
    container = manager.slot("gpu-0")["container"]
    manager.kill()
    gone = ("ps", "--quiet", "--filter", f"id={container}")
    until(lambda: not manager.docker(*gone).strip(), "its job has ended by itself")
    manager.start(*SHORT, wait="answer")
    assert row(manager, again)["state"] == "over"
    assert manager.ended(third)["state"] == "succeeded"
    assert parse_time(manager.job(third)["started"]) >= promised
    assert manager.ended(again)["state"] in ("succeeded", "cancelled")


def test_gpus_outside_of_containers_are_nobody_else_s_until_the_end_and_who_is_there_is_told(
    manager: GpuManager, hardware: Hardware
) -> None:
    mine = reserved(manager, "--for", "1h", "--outside", "--wait")
    assert row(manager, mine)["devices"] == [uuid(0)]
    job = manager.on_gpu("true")
    own = hardware.process(0, os.getpid())
    until(lambda: row(manager, mine)["in_use"], "its owner computes there")
    assert not manager.told("reservation.stranger")
    assert not manager.told("gpu.foreign"), "who has reserved it is no stranger there"
    assert manager.slot("gpu-0")["phase"] != "held", "nor is what they do a leftover"
    hardware.unsay(own)
    other = subprocess.Popen(["sleep", "600"], user=12345, group=12345)
    try:
        line = hardware.process(0, other.pid)
        until(lambda: manager.told("reservation.stranger"), "somebody else's is told")
        (text,) = manager.told("reservation.stranger")
        assert f"process {other.pid} (sleep 600) computes on {uuid(0)}, which is reserved" in text
        hardware.unsay(line)
    finally:
        other.kill()
        other.wait()
    manager.kill()
    manager.start(*SHORT, wait="answer")
    assert row(manager, mine)["state"] == "active", "it outlives the manager"
    longer = manager.cli("reserve", "--extend", mine, "--for", "1h")
    assert longer.returncode == 1
    assert "a job waits in pool gpu" in longer.stderr
    assert manager.job(job)["state"] == "queued"
    assert manager.cli("release", mine).returncode == 0
    assert manager.ended(job)["state"] == "succeeded"


def test_a_shell_that_was_extended_learns_of_it_and_is_told_before_the_end(
    manager: GpuManager,
) -> None:
    mine = reserved(manager, "--for", "5s")
    active(manager, mine)
    manager.started(mine)
    done = manager.cli("reserve", "--extend", mine, "--for", "8s")
    assert done.returncode == 0, done.stderr
    until_ = parse_time(row(manager, mine)["until"])
    end = manager.ended(mine)
    assert parse_time(end["finished"]) >= until_
    assert "is over" in manager.output(mine) or end["state"] == "cancelled"
