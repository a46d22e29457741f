"""How GPUs get into a container: what Engine and host offer, and what the pool wants."""

from __future__ import annotations

import pytest

from mayfly.core.injection import NO_RUNTIME, choose
from mayfly.core.leases import Gpu, Mig
from mayfly.core.model import Injection, PoolName, PoolSpec

A = Gpu("GPU-a", 0)
B = Gpu("GPU-b", 1, mig=(Mig("MIG-1"), Mig("MIG-2")), split=True)
BY_UUID = {"nvidia.com/gpu=GPU-a", "nvidia.com/gpu=all"}
BY_NUMBER = {"nvidia.com/gpu=0", "nvidia.com/gpu=1:1"}


@pytest.mark.parametrize(
    ("wanted", "runtimes", "cdi", "hook", "lease", "expected"),
    [
        ("auto", {"runc", "nvidia"}, BY_UUID, True, ("GPU-a",), Injection("runtime", ("GPU-a",))),
        ("auto", {"runc"}, BY_UUID, True, ("GPU-a",), Injection("cdi", ("nvidia.com/gpu=GPU-a",))),
        ("auto", {"runc"}, BY_NUMBER, False, ("GPU-a",), Injection("cdi", ("nvidia.com/gpu=0",))),
        ("auto", {"runc"}, BY_NUMBER, False, ("MIG-2",), Injection("cdi", ("nvidia.com/gpu=1:1",))),
        ("auto", {"runc"}, BY_UUID, True, ("MIG-1",), Injection("request", ("MIG-1",))),
        ("auto", {"runc"}, set(), True, ("GPU-a",), Injection("request", ("GPU-a",))),
        ("auto", {"runc"}, set(), False, ("GPU-a",), NO_RUNTIME),
        ("runtime", {"runc"}, BY_UUID, True, ("GPU-a",), NO_RUNTIME),
        ("request", {"nvidia"}, BY_UUID, False, ("GPU-a",), Injection("request", ("GPU-a",))),
        ("cdi", {"nvidia"}, BY_UUID, True, ("GPU-a",), Injection("cdi", ("nvidia.com/gpu=GPU-a",))),
    ],
)
def test_the_way_in_is_what_the_host_has_unless_the_pool_says(
    wanted: str,
    runtimes: set[str],
    cdi: set[str],
    hook: bool,
    lease: tuple[str, ...],
    expected: Injection | str,
) -> None:
    pool = PoolSpec(name=PoolName("p"), gpus=1, injection=wanted)  # type: ignore[arg-type]
    assert choose(pool, lease, runtimes=runtimes, cdi=cdi, hook=hook, gpus=(A, B)) == expected


@pytest.mark.parametrize(
    ("wanted", "cdi", "says"),
    [
        ("cdi", set(), "lists no CDI device"),
        ("cdi", {"vendor.example/nic=0"}, "lists no CDI device"),
        ("cdi", BY_UUID, "is stale"),
        ("auto", BY_UUID, "is stale"),
        ("auto", {"vendor.example/nic=0"}, "has no runtime nvidia"),
    ],
)
def test_cdi_that_is_not_there_is_told_from_cdi_that_is_stale(
    wanted: str, cdi: set[str], says: str
) -> None:
    pool = PoolSpec(name=PoolName("p"), gpus=1, injection=wanted)  # type: ignore[arg-type]
    found = choose(pool, ("MIG-1",), runtimes={"runc"}, cdi=cdi, hook=False, gpus=(A, B))
    assert isinstance(found, str)
    assert says in found
