"""Data roots that have the images already: what makes one private Engine more cost a second instead of ten.

The first who wants a set of images fills a data root with them, once, as slowly as `docker load` is.
Everybody else takes a copy in which the files of the layers are hard links: an Engine never writes into a
layer, and copies what it changes. The last few that were used are kept in /var/tmp for later runs, a day
long. None is ever used itself, and of an Engine of another release it is another one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = Path("/var/tmp/mayfly-images")
PARTS = ("data", "containerd")  # beneath an Engine's home: dockerd's files, and containerd's
KEPT = 86_400.0  # seconds that one is kept which nobody uses
MOST = 4  # kept at once; one is most of a gigabyte
# The folders in which nothing is ever written in place: layers, of both stores, and compressed content.
_LAYERS = frozenset({"diff", "fs", "blobs"})


def take(key: str, home: Path, fill: Callable[[Path], None]) -> None:
    """Put the data root of that key beneath an Engine's home; ``fill`` makes what is not there."""
    PLACE.mkdir(mode=0o700, exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _forget()
        kept = PLACE / key
        if not kept.exists():
            begun = PLACE / f"{key}.begun"
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            fill(begun)
            begun.rename(kept)
        os.utime(kept)
        fcntl.flock(lock, fcntl.LOCK_SH)  # many may copy at once, and nobody forgets meanwhile
        for part in PARTS:
            _copy(kept / part, home / part)


def _forget() -> None:
    folders = sorted(
        (place for place in PLACE.iterdir() if place.is_dir()),
        key=lambda place: place.stat().st_mtime,
    )
    for number, old in enumerate(reversed(folders)):
        if number >= MOST or old.stat().st_mtime < time.time() - KEPT:
            shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """All files as hard links, and then those that an Engine writes in place as files of their own."""
    subprocess.run(["cp", "-al", source, target], check=True)
    for folder, below, files in os.walk(target):
        below[:] = [name for name in below if name not in _LAYERS]
        for name in files:
            file = Path(folder, name)
            if file.is_file() and not file.is_symlink():
                own = Path(folder, f"{name}.own")
                shutil.copy2(file, own)
                own.rename(file)
