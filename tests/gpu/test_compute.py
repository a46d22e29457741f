"""The CUDA program of the tests on a real GPU calls the driver as cuda.h declares it: no GPU is used here,
and nothing is said of the PTX.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import cuda
from tests.gpu.conftest import PROGRAM


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cuda.library(tmp_path_factory.mktemp("cuda"))


def run(library: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *words],
        env={**os.environ, "LD_LIBRARY_PATH": str(library), **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_it_adds_is_where_the_kernel_looks_for_it(library: Path) -> None:
    found = json.loads(run(library, "add").stdout)
    expected = sum(2 * (index % 1000) for index in range(1 << 20))
    assert found == {"sum": expected, "capability": [9, 0], "cuda": 13000, "gpus": 1}


def test_what_it_holds_is_the_driver_s_to_return(library: Path) -> None:
    found = json.loads(run(library, "hold", "64", "0").stdout)
    assert found == {"free_before": 8 << 30, "total": 8 << 30, "held": 64 << 20}


def test_what_it_measures_is_by_the_gpu_s_own_clock(library: Path) -> None:
    found = json.loads(run(library, "measure", "0").stdout)
    assert found["bytes_per_second"] == pytest.approx(8 * (256 << 20) / 0.002, rel=1e-3)
    assert found["count"] == 3


def test_a_call_that_fails_is_named_with_the_driver_s_word(library: Path) -> None:
    done = run(library, "add", CUDA_STUB_FAILS="cuMemAlloc_v2")
    assert done.returncode == 1
    assert "cuMemAlloc_v2 answers 2 (CUDA_ERROR_OUT_OF_MEMORY)" in done.stderr
