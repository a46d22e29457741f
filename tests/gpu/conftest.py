"""Tests on a real NVIDIA GPU: skipped, saying so, where there is none.

What changes a GPU for everybody on the host, locked clocks and a reset, is done only where the variable
``MAYFLY_GPU_SETTINGS`` is ``1``: no job of anybody's may be on it then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from mayfly.core.gpu_health import Reading
from mayfly.core.leases import Gpu
from mayfly.edge.faults import Fault
from mayfly.edge.gpus import read_once
from tests.engine.agents import HOST_ENGINE
from tests.harness import Manager

PROGRAM = Path(__file__).with_name("compute.py")
INSIDE = "/program/compute.py"


@pytest.fixture(scope="session")
def reading() -> Reading:
    """What the real NVML says."""
    try:
        found = read_once(30.0)
    except Fault as fault:
        pytest.skip(f"no GPU was used: {fault}")
    if not found.gpus:
        pytest.skip(f"no GPU was used: {found.problem or 'the driver answers and finds none'}")
    return found


@pytest.fixture(scope="session")
def gpu(reading: Reading) -> Gpu:
    """The first GPU that is not split."""
    whole = [one for one in reading.gpus or () if not one.split]
    if not whole:
        pytest.skip("no GPU was used: all of them are split by MIG")
    return whole[0]


@pytest.fixture(scope="session")
def settings() -> None:
    """What changes a GPU for everybody may be done."""
    if os.environ.get("MAYFLY_GPU_SETTINGS") != "1":
        pytest.skip("no GPU was changed: MAYFLY_GPU_SETTINGS is not 1")
    if os.geteuid() != 0:
        pytest.skip("no GPU was changed: that takes root")


def compute(gpu: Gpu, *words: str, timeout: float = 120) -> dict[str, Any]:
    """What the CUDA program says on that GPU, beside the agents."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *words],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu.uuid},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def pool(name: str, gpu: Gpu, more: str = "") -> str:
    """A pool of one slot with that GPU, whose jobs find the CUDA program."""
    return (
        f'[[pool]]\nname = "{name}"\ngpus = ["{gpu.uuid}"]\nimage = "mayfly/local:cpu"\n{more}\n'
        f'[[pool.dataset]]\nsource = "{PROGRAM.parent}"\ntarget = "/program"\n'
    )


@pytest.fixture
def manager(gpu: Gpu) -> Iterator[Manager]:
    """A manager with one slot on that GPU."""
    try:
        info = docker.APIClient(version="auto", timeout=20).info()
    except docker.errors.DockerException as error:
        pytest.skip(f"no agent was used: no Docker Engine answers ({error})")
    if "nvidia" not in info["Runtimes"]:
        pytest.skip("no agent was used: the Engine has no runtime nvidia")
    with Manager(HOST_ENGINE, pool("gpu", gpu)) as made:
        yield made


def inside(manager: Manager, *words: str, to: str = "gpu") -> dict[str, Any]:
    """What the CUDA program says in an agent."""
    job = manager.queue("python3", INSIDE, *words, pool=to)
    ended = manager.ended(job)
    printed = manager.cli("logs", job).stdout
    assert ended["exit_code"] == 0, printed
    return dict(json.loads(printed.splitlines()[-1]))
