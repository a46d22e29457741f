"""Data roots that have the images already: what makes one private Engine more cost a second instead of ten.

The first who wants a set of images fills a data root with them, once, as slowly as `docker load` is.
Everybody else takes a copy in which the files of the layers are hard links: an Engine never writes into a
layer, and copies what it changes. A filled one is kept in /var/tmp for later runs until nobody has used it
for a day. It is never used itself, and of an Engine of another release it is another one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACE = Path("/var/tmp/mayfly-images")
PARTS = ("data", "containerd")  # beneath an Engine's home: dockerd's files, and containerd's
KEPT = 86_400.0  # seconds that one is kept which nobody uses
# The folders in which nothing is ever written in place: layers, of both stores, and compressed content.
_LAYERS = frozenset({"diff", "fs", "blobs"})


def take(key: str, home: Path, fill: Callable[[Path], None]) -> None:
    """Put the data root of that key beneath an Engine's home; ``fill`` makes what is not there."""
    PLACE.mkdir(mode=0o700, exist_ok=True)
    with _locked():
        _forget()
        kept = PLACE / key
        if not kept.exists():
            begun = PLACE / f"{key}.begun"
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            fill(begun)
            begun.rename(kept)
        os.utime(kept)
    for part in PARTS:
        _copy(kept / part, home / part)


@contextmanager
def _locked() -> Iterator[None]:
    with (PLACE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _forget() -> None:
    for old in PLACE.iterdir():
        if old.is_dir() and old.stat().st_mtime < time.time() - KEPT:
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
