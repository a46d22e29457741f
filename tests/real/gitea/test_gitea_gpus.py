"""A workflow's job sees the GPUs of its slot and no other: NVML's stub and a stand-in of NVIDIA's runtime."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import PLACE, NvidiaRuntime
from tests.fakes.nvml import Hardware, uuid
from tests.real.gitea.real_pool import WAITS, GiteaPool, gitea_pool
from tests.real.gitea.real_server import GiteaServer

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture
def pool(engine: PrivateEngine, server: GiteaServer) -> Iterator[GiteaPool]:
    NvidiaRuntime(engine)
    with (
        Hardware(gpus=2) as hardware,
        gitea_pool(engine, server, "gpus", GpuManager(engine.url, hardware, "")) as one,
    ):
        one.configure(2, gpus=1)
        yield one


@pytest.mark.seen("gitea", "the lines of a job's log", with_="client")
@pytest.mark.seen("gitea", "the lines of a job's log", with_="server")
def test_two_jobs_at_once_see_their_own_gpu_each_and_their_logs_say_what_it_did(
    pool: GiteaPool,
) -> None:
    pool.manager.start()
    runs = [pool.dispatch(f"{PLACE}/nvidia-smi -L; {WAITS}; exit {code}") for code in (0, 3)]
    for run in runs:
        pool.began(run)
    for slot in ("g-0", "g-1"):
        pool.manager.in_phase("busy", slot)
        pool.go_on(slot)
    assert [pool.ended(run) for run in runs] == ["success", "failure"]
    seen = [{gpu for gpu in map(uuid, range(2)) if gpu in pool.log(run)} for run in runs]
    assert sorted(map(sorted, seen)) == [[uuid(0)], [uuid(1)]]
    for run, code in zip(runs, (0, 3), strict=True):
        (gpu,) = (gpu for gpu in map(uuid, range(2)) if gpu in pool.log(run))
        told = [line.partition("mayfly: ")[2] for line in pool.log(run).splitlines()]
        told = [line for line in told if line]
        slot, image, device, driver, *last = told
        assert slot.startswith("slot g-"), told
        assert image.startswith("image mayfly/gitea:real-"), told
        assert device.startswith(f"GPU {gpu}: "), told
        assert driver.startswith("driver "), told
        # Which step is the last nobody knows: after a short one that did well nothing is said.
        if code or last:
            memory, used, until = last
            assert memory.startswith("memory: "), told
            assert used.startswith(f"GPU {gpu}: "), told
            assert " at most" in used, told
            assert until.startswith("measured until "), told
