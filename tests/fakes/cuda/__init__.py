"""CUDA's driver library without a GPU, for a program that calls it by ctypes: see ``libcuda.c``."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("libcuda.c")


def library(place: Path) -> Path:
    """The folder ``place`` with the compiled library in it."""
    words = ("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror")
    named = ("-Wl,-soname,libcuda.so.1", "-o", str(place / "libcuda.so.1"), str(SOURCE))
    subprocess.run([*words, *named], check=True)
    return place
