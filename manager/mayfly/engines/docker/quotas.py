"""Whether an Engine's disk bounds what a container or a volume holds: by XFS's project quotas (xfs_quota(8)).

Docker's `overlay2` and its own volumes take a size where their file system was mounted with `prjquota`, and
nowhere else: then a limit is a wall, and not only looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.edge.mountinfo import Mount

QUOTAS = frozenset({"prjquota", "pquota"})
# Who fills all of it is over the limit by a little, and so is seen to be.
BEYOND, BEYOND_LEAST = 1 / 16, 64 * 1024 * 1024


def keeps_sizes(info: Mapping[str, Any], mounts: Iterable[Mount]) -> bool:
    """Whether that Engine does, by its answer to ``/info`` and what is mounted on its host."""
    if info.get("Driver") != "overlay2":
        return False
    root = f"{str(info.get('DockerRootDir', '')).rstrip('/')}/"
    innermost, where = None, ""  # and of several in one place the last
    for one in mounts:
        place = f"{one.place.rstrip('/')}/"
        if root.startswith(place) and len(place) >= len(where):
            innermost, where = one, place
    return (
        innermost is not None
        and innermost.kind == "xfs"
        and not QUOTAS.isdisjoint(innermost.options)
    )


def wall(limit: int) -> int:
    """The size of one container's files and of one volume, in bytes, where ``limit`` is what all may hold."""
    return limit + max(BEYOND_LEAST, round(limit * BEYOND))
