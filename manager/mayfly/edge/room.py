"""How much room there is on a file system that Mayfly or the Engine writes to: for bytes, and for files.

Files without content take no bytes, and no limit of a job's counts them; where there is room for none more
the Engine makes no container.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

LITTLE = 5 * 1024**3  # bytes below which a disk soon stops the pool
FEW = 100_000  # files, alike
LITTLE_SHARE = 0.05
KEPT_FREE = 20 * 1024**3  # bytes that pulls of jobs leave free
KEPT_FREE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Room:
    """What is left, in bytes and in files."""

    path: str
    free: int
    total: int
    files_free: int = 0
    files: int = 0  # that it can have; 0: it has no bound of its own

    @property
    def low(self) -> bool:
        """Whether it is about to be full."""
        return self.free < min(LITTLE, self.total * LITTLE_SHARE) or self.lacks_files

    @property
    def lacks_files(self) -> bool:
        """Whether few more files can be made, however much room there is for what is in them."""
        return self.files > 0 and self.files_free < min(FEW, self.files * LITTLE_SHARE)

    @property
    def text(self) -> str:
        """How much is left, in a sentence."""
        if self.lacks_files:
            return f"{self.path} has room for {self.files_free} more files, whatever is in them"
        return f"{self.path} has {self.free / 1024**3:.1f} GiB left"

    def fix(self, line: str) -> str:
        """What to type; ``line`` where it is bytes that are lacking."""
        return f"df -i {quote(self.path)}" if self.lacks_files else line


def lacks_room(there: Room) -> bool:
    """Whether nothing more is to be fetched to that disk: what is left is for what jobs write."""
    return there.free < min(KEPT_FREE, there.total * KEPT_FREE_SHARE) or there.lacks_files


def room(path: Path) -> Room | None:
    """The room where ``path`` is or will be; ``None`` where that cannot be looked at."""
    there = next((place for place in (path, *path.parents) if place.is_dir()), None)
    try:
        found = os.statvfs(there) if there is not None else None
    except OSError:
        return None
    if found is None:
        return None
    size = found.f_frsize
    return Room(
        str(path), found.f_bavail * size, found.f_blocks * size, found.f_favail, found.f_files
    )
