"""CUDA versions side by side on one host: each pool its image, and what the driver does not run is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.gpu_manager import GpuManager
from tests.engine.private_engine import PrivateEngine, why_not
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.fakes.nvml import Hardware

pytestmark = pytest.mark.engine

GATED = "mayfly/local:cpu"


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    with PrivateEngine() as made:
        NvidiaRuntime(made)
        for cuda in ("12.4", "12.8"):
            labelled(made, f"mayfly/local:cuda{cuda}", cuda)
        yield made


@pytest.fixture
def hardware() -> Iterator[Hardware]:
    with Hardware(gpus=3) as made:
        yield made


def labelled(engine: PrivateEngine, tag: str, cuda: str) -> None:
    """An agent image that says it holds that CUDA, and says so to its jobs."""
    made = engine.docker("create", GATED)
    changes = (f"LABEL io.mayfly.cuda={cuda}", f"ENV CUDA_VERSION={cuda}")
    engine.docker(
        "commit", *[word for change in changes for word in ("--change", change)], made, tag
    )
    engine.docker("rm", made)


def pool(name: str, more: str) -> str:
    return f'[[pool]]\nname = "{name}"\ngpus = 1\nnetwork = "none"\n{more}\n'


def test_a_pool_a_cuda_version_runs_each_on_its_own_image_and_one_too_new_is_held(
    engine: PrivateEngine, hardware: Hardware
) -> None:
    pools = [
        pool("old", 'cuda = "12.4"'),
        pool("newest", ""),
        pool("future", 'cuda = "13.0"'),
    ]
    with GpuManager(engine.url, hardware, "".join(pools)) as manager:
        manager.start(wait="answer")
        for name, cuda in (("old", "12.4"), ("newest", "12.8")):
            job = manager.submit("printenv", "CUDA_VERSION", options=["--pool", name])
            assert manager.ended(job)["exit_code"] == 0
            assert manager.output(job) == f"{cuda}\n"
            assert manager.slot(f"{name}-0")["image"] == f"mayfly/local:cuda{cuda}"
        held = manager.in_phase("held", "future-0")["note"]
        assert "the driver runs CUDA up to 12.8; CUDA 13.0 wants driver 580.65.06 or newer" in held
        assert len({manager.slot(f"{name}-0")["gpus"][0] for name in ("old", "newest")}) == 2


def test_the_doctor_reads_the_cuda_of_an_image_of_one_s_own(
    engine: PrivateEngine, hardware: Hardware
) -> None:
    labelled(engine, "lab/agent:new", "13.0")
    with GpuManager(engine.url, hardware, pool("own", 'image = "lab/agent:new"')) as manager:
        checks = {row["code"]: row for row in manager.json("doctor")["checks"]}
        found = checks["image.cuda"]
        assert found["state"] == "fail"
        told = "pool own: lab/agent:new holds CUDA 13.0 and the driver runs up to 12.8"
        assert found["text"].startswith(told)
        assert found["fix"].startswith("mayfly images select")
        assert manager.cli("doctor").returncode == 1
        hardware.cuda = 13000
        hardware.write()
        checks = {row["code"]: row for row in manager.json("doctor")["checks"]}
        assert checks["image.cuda"]["state"] == "ok"
