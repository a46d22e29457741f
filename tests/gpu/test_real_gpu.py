"""The path of the stub, on a real GPU: facts, the image that fits, a lease, the gate, a CUDA program.

    python -m pytest tests/gpu -rs

Where an Engine with the runtime `nvidia` answers, the program runs inside an agent too, with the same answer.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import docker
import pytest

from mayfly.core.gpu_gate import judge
from mayfly.core.gpu_health import Ours, Reading, Record, Tenant, recorded
from mayfly.core.images import select
from mayfly.core.leases import assign
from mayfly.core.model import PoolName, PoolSpec
from mayfly.edge.catalogue import architecture, catalogue
from mayfly.edge.gpus import GpuWatch, Session
from tests.engine.agents import HOST_ENGINE
from tests.harness import Manager

pytestmark = pytest.mark.gpu

PROGRAM = r"""
#include <cstdio>
__global__ void add(const float *a, const float *b, float *c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i] + b[i];
}
int main() {
    const int n = 1 << 20;
    float *a, *b, *c, *h = new float[n];
    if (cudaMalloc(&a, n * 4) || cudaMalloc(&b, n * 4) || cudaMalloc(&c, n * 4)) return 2;
    for (int i = 0; i < n; i++) h[i] = i % 1000;
    cudaMemcpy(a, h, n * 4, cudaMemcpyHostToDevice);
    cudaMemcpy(b, h, n * 4, cudaMemcpyHostToDevice);
    add<<<(n + 255) / 256, 256>>>(a, b, c, n);
    cudaMemcpy(h, c, n * 4, cudaMemcpyDeviceToHost);
    if (cudaGetLastError()) return 3;
    double sum = 0;
    for (int i = 0; i < n; i++) sum += h[i];
    printf("%.0f\n", sum);
}
"""


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


@pytest.fixture(scope="session")
def program(nvcc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CUDA program, compiled on this host with its runtime inside."""
    place = tmp_path_factory.mktemp("cuda")
    (place / "add.cu").write_text(PROGRAM)
    place.chmod(0o755)
    subprocess.run([nvcc, "-cudart", "static", "-o", place / "add", place / "add.cu"], check=True)
    return place


def test_a_cuda_program_runs_beside_the_agents(reading: Reading, program: Path) -> None:
    done = subprocess.run([program / "add"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(_expected())


def _expected() -> int:
    return sum(2 * (i % 1000) for i in range(1 << 20))


def test_the_same_program_runs_inside_an_agent(reading: Reading, program: Path) -> None:
    try:
        info = docker.APIClient(version="auto", timeout=20).info()
    except docker.errors.DockerException as error:
        pytest.skip(f"no agent was used: no Docker Engine answers ({error})")
    if "nvidia" not in info["Runtimes"]:
        pytest.skip("no agent was used: the Engine has no runtime nvidia")
    pool = (
        '[[pool]]\nname = "gpu"\ngpus = 1\nimage = "mayfly/local:cpu"\n'
        f'[[pool.dataset]]\nsource = "{program}"\ntarget = "/program"\n'
    )
    with Manager(HOST_ENGINE, pool) as manager:
        manager.start()
        job = manager.submit("sh", "-c", "nvidia-smi -L && /program/add")
        assert manager.ended(job)["exit_code"] == 0
        printed = manager.cli("logs", job).stdout.split()
        assert printed[-1] == str(_expected())
        assert reading.gpus is not None
        assert any(gpu.uuid in " ".join(printed) for gpu in reading.gpus)
