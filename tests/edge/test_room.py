"""A disk is full when it takes no more bytes, or no more files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mayfly.edge.room import FEW, LITTLE, Room, room

GIB = 1024**3
BYTES, NODES = "look at what is in it", "df -i '/a b'"


@pytest.mark.parametrize(
    ("free", "total", "files_free", "files", "fix"),
    [
        (LITTLE, 500 * GIB, 0, 0, None),
        (LITTLE - 1, 500 * GIB, 0, 0, BYTES),
        (1 * GIB, 10 * GIB, 0, 0, None),
        (500 * GIB, 500 * GIB, FEW, 30_000_000, None),
        (500 * GIB, 500 * GIB, FEW - 1, 30_000_000, NODES),
        (500 * GIB, 500 * GIB, 500, 5_000, None),
        (500 * GIB, 500 * GIB, 200, 5_000, NODES),
        (0, 500 * GIB, 0, 30_000_000, NODES),
    ],
)
def test_it_is_low_by_either(
    free: int, total: int, files_free: int, files: int, fix: str | None
) -> None:
    one = Room("/a b", free, total, files_free, files)
    assert one.low == (fix is not None)
    if fix is not None:
        assert one.fix(BYTES) == fix
        assert ("files" in one.text) == (fix == NODES)


def test_files_without_content_fill_a_disk(tmp_path: Path) -> None:
    options = "size=64m,nr_inodes=1000"
    mount = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path))
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("takes a mount of its own")
    try:
        before = room(tmp_path / "not/there")
        for number in range(970):
            (tmp_path / str(number)).touch()
        after = room(tmp_path / "not/there")
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
    assert before is not None
    assert after is not None
    assert (before.low, after.low) == (False, True)
    assert after.free == before.free
