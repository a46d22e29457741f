"""Where the Engine's disk keeps a size it is said, and nowhere else: a create would fail."""

from __future__ import annotations

from typing import Any

import pytest

from mayfly.edge.mountinfo import mounts
from mayfly.engines.docker.quotas import BEYOND_LEAST, keeps_sizes, wall

INFO = {"Driver": "overlay2", "DockerRootDir": "/var/lib/docker"}
MIB = 1024 * 1024


def mounted(*rows: tuple[str, str, str]) -> str:
    lines = (
        f"{36 + number} 35 98:0 / {where} rw,noatime shared:1 - {kind} /dev/sda {options}"
        for number, (where, kind, options) in enumerate(rows)
    )
    return "\n".join((*lines, "no line of the kernel's", ""))


ROOT = ("/", "ext4", "rw,errors=remount-ro")


@pytest.mark.parametrize(
    ("info", "rows", "keeps"),
    [
        ({}, (ROOT, ("/var/lib/docker", "xfs", "rw,prjquota")), True),
        ({}, (("/", "xfs", "rw,pquota,inode64"),), True),
        ({}, (ROOT, ("/var/lib/docker", "xfs", "rw,noquota")), False),
        ({}, (ROOT,), False),
        # The quotas are those of another file system.
        ({}, (("/", "xfs", "rw,prjquota"), ("/var/lib", "ext4", "rw")), False),
        ({}, (ROOT, ("/var/lib/docker-2", "xfs", "rw,prjquota")), False),
        ({}, (("/var/lib", "ext4", "rw"), ("/var/lib", "xfs", "rw,prjquota")), True),
        ({"DockerRootDir": "/mnt/a b"}, (ROOT, (r"/mnt/a\040b", "xfs", "rw,prjquota")), True),
        ({"Driver": "overlayfs"}, (("/", "xfs", "rw,prjquota"),), False),
        ({"Driver": "btrfs"}, (("/", "xfs", "rw,prjquota"),), False),
        ({"DockerRootDir": ""}, (ROOT,), False),
    ],
)
def test_a_size_is_kept_by_overlay2_on_xfs_with_project_quotas(
    info: dict[str, Any], rows: tuple[tuple[str, str, str], ...], keeps: bool
) -> None:
    assert keeps_sizes({**INFO, **info}, mounts(mounted(*rows))) is keeps


def test_the_wall_stands_a_little_behind_the_limit_so_that_who_is_there_is_seen_and_ended() -> None:
    assert wall(MIB) == MIB + BEYOND_LEAST
    assert wall(16 * 1024 * MIB) == 17 * 1024 * MIB
