"""Directories in an agent's work volume, made where a bind names one that is not there, as Docker does.

The agent's containers write in that volume while it is looked through. So the way down is by descriptors,
one part of the path after the other, and a link is never followed: what leads over one is left to the
Engine, which resolves it within the volume or refuses.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MODE = 0o755


def made(volume: Path, subpaths: Iterable[str]) -> None:
    """See that each of these is in the volume at that place, made for the owner of the volume's root.

    ``OSError`` where one cannot be made; nothing is done for a path that is not beneath, that is there
    already, or that leads over a link or a file.
    """
    for subpath in subpaths:
        parts = PurePosixPath(subpath).parts
        if not parts or ".." in parts or PurePosixPath(subpath).is_absolute():
            continue
        root = os.open(volume, _OPEN)
        try:
            _down(root, parts)
        finally:
            os.close(root)


def _down(root: int, parts: tuple[str, ...]) -> None:
    owner = os.fstat(root)
    here = os.dup(root)
    try:
        for part in parts:
            following = _entered(here, part, owner)
            if following is None:
                return
            os.close(here)
            here = following
    finally:
        os.close(here)


def _entered(here: int, part: str, owner: os.stat_result) -> int | None:
    """The directory of that name, made where nothing has the name; ``None`` where it is something else."""
    new = False
    try:
        os.mkdir(part, MODE, dir_fd=here)
        new = True
    except FileExistsError:
        pass
    except FileNotFoundError:  # the directory that this is in was taken away meanwhile
        return None
    try:
        found = os.open(part, _OPEN, dir_fd=here)
    except OSError:  # a link, a file, or taken away meanwhile
        return None
    # Who exchanges it in this moment gives away a directory of the same volume, which is its own anyway.
    if new and stat.S_ISDIR(os.fstat(found).st_mode):
        try:
            os.fchmod(found, MODE)  # whatever mask this process has
            os.fchown(found, owner.st_uid, owner.st_gid)
        except OSError:
            os.close(found)
            raise
    return found
