"""A copy of what makes a wheel: two builds in one folder would write into each other's files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def source() -> Iterator[Path]:
    """The folder, which is gone afterwards."""
    copy = Path(tempfile.mkdtemp(prefix="mayfly-source-"))
    try:
        for name in ("manager", "agents", "dockerfiles", "systemd", "scripts"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile"):
            shutil.copy(ROOT / name, copy / name)
        yield copy
    finally:
        shutil.rmtree(copy)
