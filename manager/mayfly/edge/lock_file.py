"""Locks that processes of several users share, and that the kernel takes from one that is gone."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK = 0.05  # seconds between two looks whether it is free


@contextmanager
def locked(place: Path, seconds: float) -> Iterator[bool]:
    """Whether this process has that lock now, for which it waits so many seconds at most.

    The file is made where there is none, open to those whom its folder is open to; ``OSError`` where it
    cannot be.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        _open_as_its_folder(descriptor, place.parent)
        yield _taken(descriptor, time.monotonic() + seconds)
    finally:
        os.close(descriptor)


def is_held(place: Path) -> bool:
    """Whether a process has that lock now, also where nobody can tell; False where this user may not look."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open_as_its_folder(descriptor: int, folder: Path) -> None:
    """Whoever made it may have a mask that keeps others from it."""
    there, wanted = os.fstat(descriptor), folder.stat().st_mode & 0o444
    if there.st_uid == os.geteuid() and stat.S_IMODE(there.st_mode) & wanted != wanted:
        os.fchmod(descriptor, 0o200 | wanted)


def _taken(descriptor: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK)
        else:
            return True
