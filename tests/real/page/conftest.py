"""A real manager with a page, on an Engine of its own and on GPUs that NVML's stub plays; a real browser."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvml import Hardware
from tests.real.page.chromium import PROGRAM, Chromium
from tests.real.page.lab import HEADER, LabPage

POOLS = """
[[pool]]
name = "gpu"
slots = 2
gpus = 1
image = "mayfly/local:cpu"
network = "none"
reserve = true
[[pool]]
name = "cpu"
slots = 1
network = "none"
"""


@pytest.fixture
def browser() -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with Chromium() as one:
        yield one


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def lab(engine: PrivateEngine, runtime: NvidiaRuntime) -> Iterator[LabPage]:
    port = free_port()
    host = f'web = "127.0.0.1:{port}"\nweb_user_header = "{HEADER}"\nweb_trusted_proxies = ["root"]'
    with Hardware(gpus=2) as hardware, GpuManager(engine.url, hardware, POOLS, host) as manager:
        manager.start()
        yield LabPage(manager, hardware, f"http://127.0.0.1:{port}")
