"""Which devices a pool's selection fits: whole words of the name, memory, compute capability, MIG profile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.gpu_selection import (
    Device,
    GpuSelection,
    compute_problem,
    model_problem,
    profile_problem,
)

GIB = 1024**3
H100 = Device("NVIDIA H100 80GB HBM3", 81559 * 1024**2, (9, 0), None)
PART = Device("NVIDIA H100 80GB HBM3", 9728 * 1024**2, (9, 0), "1g.10gb")
UNKNOWN = Device("NVIDIA Graphics Device", 0, None, None)


@pytest.mark.parametrize(
    ("asked", "name", "fits"),
    [
        ("A100", "NVIDIA A100-SXM4-40GB", True),
        ("a100", "NVIDIA A100-SXM4-40GB", True),
        ("A100", "NVIDIA RTX A1000", False),
        ("A100", "NVIDIA A100X", False),
        ("A100-SXM4", "NVIDIA A100-SXM4-40GB", True),
        ("a100_sxm4", "NVIDIA A100-SXM4-40GB", True),
        ("A100 40GB", "NVIDIA A100-SXM4-40GB", True),
        ("A100 80GB", "NVIDIA A100-SXM4-40GB", False),
        ("40GB A100", "NVIDIA A100-SXM4-40GB", False),
        ("RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation", True),
        ("RTX 6000", "NVIDIA RTX 6000 Ada Generation", True),
        ("RTX 6000", "NVIDIA RTX A6000", False),
        ("L4", "NVIDIA L40S", False),
        ("L4", "NVIDIA L4", True),
        ("4090", "NVIDIA GeForce RTX 4090", True),
        ("409", "NVIDIA GeForce RTX 4090", False),
        ("H100", "", False),
    ],
)
def test_a_model_is_asked_for_by_whole_words(asked: str, name: str, fits: bool) -> None:
    assert GpuSelection(model=asked).fits(Device(name, GIB, (8, 0), None)) is fits


@pytest.mark.parametrize(
    ("selection", "device", "fits"),
    [
        (GpuSelection(min_memory=40 * GIB), H100, True),
        (GpuSelection(min_memory=80 * 10**9), H100, True),
        (GpuSelection(min_memory=80 * GIB), H100, False),
        (GpuSelection(min_memory=40 * GIB), PART, False),
        (GpuSelection(min_memory=9 * GIB), PART, True),
        (GpuSelection(compute=">=8.0"), H100, True),
        (GpuSelection(compute="==9.0"), H100, True),
        (GpuSelection(compute="<9.0"), H100, False),
        (GpuSelection(compute=">=8.0,<9.0"), H100, False),
        (GpuSelection(compute=" >= 8.0 , <= 9.0 "), H100, True),
        (GpuSelection(compute=">8.9"), H100, True),
        (GpuSelection(compute="<12.0"), UNKNOWN, False),
        (GpuSelection(min_memory=1), UNKNOWN, False),
        (GpuSelection(model="H100"), PART, True),
        (GpuSelection(mig="1g.10gb"), PART, True),
        (GpuSelection(mig="1G.10GB"), PART, True),
        (GpuSelection(mig="1g.10gb+me"), PART, False),
        (GpuSelection(mig="1g.10gb"), H100, False),
        (GpuSelection(mig="none"), PART, False),
        (GpuSelection(mig="none"), H100, True),
        (GpuSelection(model="H100", min_memory=40 * GIB, compute=">=8.0"), H100, True),
        (GpuSelection(model="A100", min_memory=40 * GIB, compute=">=8.0"), H100, False),
        (GpuSelection(), UNKNOWN, True),
    ],
)
def test_each_key_has_to_fit(selection: GpuSelection, device: Device, fits: bool) -> None:
    assert selection.fits(device) is fits


versions = st.tuples(st.integers(0, 99), st.integers(0, 9))


@given(versions, versions)
def test_versions_are_compared_as_numbers(low: tuple[int, int], device: tuple[int, int]) -> None:
    there = Device("", 0, device, None)
    asked = f"{low[0]}.{low[1]}"
    assert GpuSelection(compute=f">={asked}").fits(there) is (device >= low)
    assert GpuSelection(compute=f"<{asked}").fits(there) is (device < low)


@pytest.mark.parametrize("text", [">=8.0", "==12.1", ">=8.0,<9.0", "<= 9.0", ">7.5, <10.0"])
def test_compute_capabilities_that_are_some(text: str) -> None:
    assert compute_problem(text) is None


@pytest.mark.parametrize(
    "text",
    ["8.0", ">=8", "=>8.0", ">=9.0,<8.0", "==8.0,==9.0", "", ",", "!=8.0", ">=8.0,", "~=8.0"],
)
def test_compute_capabilities_that_are_none(text: str) -> None:
    assert compute_problem(text) is not None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("1g.10gb", True),
        ("1c.3g.40gb", True),
        ("1g.5gb+me", True),
        ("1g.24gb-me", True),
        ("2g.24gb+me.all", True),
        ("none", True),
        ("8g.10gb", False),
        ("1g", False),
        ("all", False),
        ("1g.10gb ", False),
    ],
)
def test_profiles(text: str, right: bool) -> None:
    assert (profile_problem(text) is None) is right


def test_a_model_has_a_word() -> None:
    assert model_problem("H100") is None
    assert model_problem(" - ") is not None
    assert model_problem("\x1b[31mH100") is not None


def test_what_is_asked_for_is_said_in_words() -> None:
    asked = GpuSelection("H100", 40 * GIB, ">=8.0", "1g.10gb")
    said = 'of model "H100" of MIG profile 1g.10gb with at least 40GiB of compute capability >=8.0'
    assert asked.words == said
    assert GpuSelection(mig="none").words == "that are no MIG devices"
