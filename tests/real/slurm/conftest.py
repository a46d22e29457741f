"""The real Slurm of a module, and a manager on its node whose GPUs are Slurm's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.private_engine import PrivateEngine
from tests.fakes.nvidia_runtime import NvidiaRuntime
from tests.real.slurm.real_slurm import NODE, RealSlurm, SlurmManager, programs


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSlurm]:
    """One node with two GPUs; each test leaves its queue empty and its node well."""
    place = programs()
    if place is None:
        pytest.skip("Slurm's programs are not here: scripts/slurm fetches them")
    with RealSlurm(tmp_path_factory.mktemp("slurm"), place) as one:
        yield one


@pytest.fixture(scope="session")
def runtime(engine: PrivateEngine) -> NvidiaRuntime:
    """The stand-in of NVIDIA's runtime on the worker's Engine."""
    return NvidiaRuntime(engine)


@pytest.fixture
def manager(
    engine: PrivateEngine, runtime: NvidiaRuntime, slurm: RealSlurm
) -> Iterator[SlurmManager]:
    """One that has not been started; when it ends nothing of it may be in Slurm's queue."""
    del runtime
    with SlurmManager(engine.url, slurm) as made:
        yield made
    if "idle" not in slurm.state():
        slurm.command("scontrol", "update", f"nodename={NODE}", "state=resume")
    for name, _, _ in slurm.queue():
        slurm.command("scancel", name)
    slurm.until(lambda: not slurm.queue(), "the queue is empty")
