"""What services are told of a slot's GPUs: by kind, in characters that each takes, so many at most."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.gpu_labels import (
    LONGEST,
    MOST,
    branches_of,
    labels,
    memory_class,
    short_model,
)
from mayfly.core.leases import Gpu, Mig
from mayfly.core.model import GpuLabel
from mayfly.edge.catalogue import catalogue

KINDS: tuple[GpuLabel, ...] = get_args(GpuLabel)
MIB = 2**20
H100 = Gpu("GPU-0", 0, "NVIDIA H100 80GB HBM3", 81559 * MIB, capability=(9, 0))
L4 = Gpu("GPU-1", 1, "NVIDIA L4", 23034 * MIB, capability=(8, 9))
CUT = Gpu(
    "GPU-2",
    2,
    "NVIDIA A100-SXM4-40GB",
    40960 * MIB,
    mig=(Mig("MIG-1", "1g.5gb", 4864 * MIB), Mig("MIG-2", "1g.5gb+me", 4864 * MIB)),
    split=True,
    capability=(8, 0),
)
GPUS = (H100, L4, CUT)


def told(
    *lease: str,
    kinds: tuple[GpuLabel, ...] = KINDS,
    driver: str = "570.86.15",
    branches: tuple[str, ...] = ("535", "570", "580"),
) -> tuple[str, ...]:
    image = "mayfly/github:cuda12.8"
    return labels(kinds, lease, GPUS, image=image, driver=driver, branches=branches)


@pytest.mark.parametrize(
    ("lease", "expected"),
    [
        ((), ()),
        (
            ("GPU-0",),
            (
                *("nvidia-h100-80gb-hbm3", "cuda-12.8", "gpu-h100", "gpu-memory-80gb", "sm-90"),
                *("gpus-1", "driver-570", "driver-570.86.15"),
            ),
        ),
        # Of two models both, and the memory that each has at least.
        (
            ("GPU-0", "GPU-1"),
            (
                *("nvidia-h100-80gb-hbm3", "nvidia-l4", "cuda-12.8", "gpu-h100", "gpu-l4"),
                *("gpu-memory-24gb", "sm-90", "sm-89", "gpus-2", "driver-570", "driver-570.86.15"),
            ),
        ),
        # A job that asks for the model gets no part of one.
        (
            ("MIG-2",),
            (
                *("nvidia-a100-sxm4-40gb", "cuda-12.8", "gpu-a100-mig", "mig-1g.5gb-me"),
                *("gpu-memory-5gb", "sm-80", "gpus-1", "driver-570", "driver-570.86.15"),
            ),
        ),
    ],
)
def test_labels_say_what_the_lease_is(lease: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert told(*lease) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_says_which_kinds_it_wants(kind: GpuLabel) -> None:
    one = told("GPU-0", kinds=(kind,))
    assert one
    rest = tuple(other for other in KINDS if other != kind)
    assert not set(one) & set(told("GPU-0", kinds=rest))
    assert told("GPU-0", kinds=()) == ()


@pytest.mark.parametrize(
    ("driver", "branches", "expected"),
    [
        ("580.65.06", ("535", "580"), ("driver-580", "driver-580.65.06", "driver-latest")),
        ("590.44.01", ("535", "580"), ("driver-590", "driver-590.44.01", "driver-latest")),
        ("535.54.03", ("580", "535"), ("driver-535", "driver-535.54.03", "driver-earliest")),
        ("470.10", ("535", "580"), ("driver-470", "driver-470.10", "driver-earliest")),
        ("570.86.15", ("535", "580"), ("driver-570", "driver-570.86.15")),
        ("580.1", ("580",), ("driver-580", "driver-580.1", "driver-latest", "driver-earliest")),
        ("580", (), ("driver-580",)),
        ("", ("535", "580"), ()),
        ("R580 beta", ("535", "580"), ()),
    ],
)
def test_the_driver_is_the_latest_or_earliest_of_a_lab_s(
    driver: str, branches: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert told("GPU-0", kinds=("driver",), driver=driver, branches=branches) == expected


def test_the_catalogue_has_branches_to_compare_with() -> None:
    branches = branches_of(catalogue())
    assert "570" in branches
    assert all(branch.isdigit() for branch in branches)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA H100 PCIe", "h100"),
        ("NVIDIA H100 NVL", "h100"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA", "nvidia"),
        ("", ""),
    ],
)
def test_a_model_in_short(name: str, short: str) -> None:
    assert short_model(name) == short


@pytest.mark.parametrize(
    ("mib", "gb"),
    [
        (81559, 80),
        (40960, 40),
        (40536, 40),
        (23028, 24),
        (15360, 16),
        (9728, 10),
        (11264, 11),
        (10240, 10),
        (0, None),
    ],
)
def test_memory_is_told_as_its_maker_counts_it(mib: int, gb: int | None) -> None:
    assert memory_class(mib * MIB) == gb


@given(
    st.lists(st.tuples(st.text(max_size=80), st.text(max_size=20)), min_size=1, max_size=16),
    st.text(max_size=30),
)
def test_each_service_takes_every_label(names: list[tuple[str, str]], driver: str) -> None:
    gpus = [
        Gpu(f"GPU-{index}", index, name, index * MIB, mig=(Mig(f"MIG-{index}", part),), split=True)
        for index, (name, part) in enumerate(names)
    ]
    lease = tuple(f"MIG-{index}" for index in range(len(names)))
    found = labels(KINDS, lease, gpus, image=None, driver=driver, branches=("580",))
    assert len(found) == len(set(found)) <= MOST
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", label) for label in found)
    assert all(len(label) <= LONGEST for label in found)
