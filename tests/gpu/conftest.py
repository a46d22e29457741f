"""Tests on a real NVIDIA GPU: skipped, saying so, where there is none."""

from __future__ import annotations

import shutil

import pytest

from mayfly.core.gpu_health import Reading
from mayfly.edge.faults import Fault
from mayfly.edge.gpus import read_once


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
def nvcc() -> str:
    """CUDA's compiler on this host."""
    path = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if path is None:
        pytest.skip("no CUDA program was run: this host has no nvcc")
    return path
