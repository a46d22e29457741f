"""Containers of jobs' own in a slot with a GPU: the lease and nothing else, and the next gate on a free GPU.

NVML and the NVIDIA runtime are stand-ins: see `docs/reference/gpu.md`.
"""

from __future__ import annotations

import json

import pytest

from tests.engine.gateway.conftest import programs
from tests.engine.gateway.served import Gateway
from tests.engine.private_engine import PrivateEngine, why_not
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvml import Hardware
from tests.harness import Manager, until
from tests.pool.test_containers import IMAGE, Box

pytestmark = [pytest.mark.long, pytest.mark.soak]

POOL = f"""
[[pool]]
name = "local"
gpus = 1
image = "{IMAGE}"
containers = true
"""


class WithGpu(Manager):
    """A manager on a host with two GPUs, one of which is its slot's."""

    hardware: Hardware

    def environment(self) -> dict[str, str]:
        return super().environment() | self.hardware.environment()


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_who_asks_for_gpus_gets_the_lease_and_the_next_job_a_gpu_that_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = programs()
    if found is None:
        pytest.skip("directories of volumes want an Engine of 26 or newer: scripts/engine-at 28")
    monkeypatch.setenv("MAYFLY_TEST_ENGINE", found)
    with (
        PrivateEngine(images=(IMAGE,)) as engine,
        Hardware(gpus=2) as hardware,
        WithGpu(engine.url, POOL) as manager,
    ):
        NvidiaRuntime(engine)
        manager.hardware = hardware
        manager.state.mkdir(mode=0o700)
        with Gateway(manager.state, engine.url.removeprefix("unix://"), ()) as gateway:
            manager.start()
            box = Box(engine, manager, gateway)
            (lease,) = manager.json("gpus")["slots"][0]["gpus"]
            job = box.queue("""
                every = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]
                begin("all", "/bin/sleep", "600", DeviceRequests=every)
                begin("none", "/bin/sleep", "600")
                import time; time.sleep(2)
            """)
            until(lambda: len(box.said(job)) == 4 or None, "both run")
            ids = engine.docker("ps", "-q", "--filter", "label=io.mayfly.belongs").split()
            seen = {
                one["Name"].rpartition("-")[2]: one["Config"]["Env"]
                for one in json.loads(engine.docker("inspect", *ids))
            }
            assert f"NVIDIA_VISIBLE_DEVICES={lease}" in seen["all"]
            assert "NVIDIA_VISIBLE_DEVICES=void" in seen["none"]
            second = box.queue("print('here')")
            assert manager.ended(job)["state"] == "succeeded"
            assert manager.ended(second)["state"] == "succeeded"
            names = [one["event"] for one in box.events("agent.cleared", "gate.opening")]
            assert names == ["gate.opening", "agent.cleared", "gate.opening"]
            assert box.belongings() == []
            manager.kill()
