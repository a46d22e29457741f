"""How much room there is on a file system that Mayfly or the Engine writes to."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

LITTLE = 5 * 1024**3  # bytes below which a disk soon stops the pool
LITTLE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Room:
    """What is left, in bytes."""

    path: str
    free: int
    total: int

    @property
    def low(self) -> bool:
        """Whether it is about to be full."""
        return self.free < min(LITTLE, self.total * LITTLE_SHARE)


def room(path: Path) -> Room | None:
    """The room where ``path`` is or will be; ``None`` where that cannot be looked at."""
    there = next((place for place in (path, *path.parents) if place.is_dir()), None)
    try:
        usage = shutil.disk_usage(there) if there is not None else None
    except OSError:
        return None
    return Room(str(path), usage.free, usage.total) if usage is not None else None
