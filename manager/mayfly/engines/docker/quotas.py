"""Whether an Engine's disk bounds what a container or a volume holds: by XFS's project quotas (xfs_quota(8)).

Docker's `overlay2` and its own volumes take a size where their file system was mounted with `prjquota`, and
nowhere else: then a limit is a wall, and not only looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOUNTS = Path("/proc/self/mountinfo")
QUOTAS = frozenset({"prjquota", "pquota"})
# Who fills all of it is over the limit by a little, and so is seen to be.
BEYOND, BEYOND_LEAST = 1 / 16, 64 * 1024 * 1024


def keeps_sizes(info: Mapping[str, Any], mounts: str) -> bool:
    """Whether that Engine does, by its answer to ``/info`` and what is mounted on its host."""
    if info.get("Driver") != "overlay2":
        return False
    root = f"{str(info.get('DockerRootDir', '')).rstrip('/')}/"
    found = (
        "",
        "",
        "",
    )  # where, what kind, with which options: the innermost, and of these the last
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split()[4:5], after.split()
        if not place or len(kind) < 3:
            continue
        where = f"{_plain(place[0]).rstrip('/')}/"
        if root.startswith(where) and len(where) >= len(found[0]):
            found = (where, kind[0], kind[2])
    return found[1] == "xfs" and not QUOTAS.isdisjoint(found[2].split(","))


def wall(limit: int) -> int:
    """The size of one container's files and of one volume, in bytes, where ``limit`` is what all may hold."""
    return limit + max(BEYOND_LEAST, round(limit * BEYOND))


def _plain(path: str) -> str:
    """A path as mountinfo has it (proc(5)), octal escapes undone."""
    return path.encode().decode("unicode_escape", errors="replace")
