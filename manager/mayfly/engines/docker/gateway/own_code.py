"""Whether this process runs the Mayfly that is installed: an upgrade replaces the files under it.

A manager of the new version may write grants that an old gateway cannot read. So the gateway begins anew by
itself, in a moment in which nobody is connected to it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import mayfly

MODULE = "mayfly.engines.docker.gateway"
SETTLED_SECONDS = 20.0  # since the files were written, which takes a while


class OwnCode:
    """As it was when this process began."""

    def __init__(self, file: Path | None = None, settled: float | None = None) -> None:
        """Its own, unless another ``file`` is to be looked at."""
        self._file = file or Path(mayfly.__file__)
        self._settled = SETTLED_SECONDS if settled is None else settled
        self._began_with = self._shown()

    def is_replaced(self) -> bool:
        """Whether another one has been there for a while."""
        shown = self._shown()
        if shown is None or shown == self._began_with:
            return False
        return time.time() - self._file.stat().st_ctime >= self._settled

    def _shown(self) -> tuple[int, int, int] | None:
        """``None`` where it is not there, as in the middle of an upgrade."""
        try:
            shown = self._file.stat()
        except OSError:
            return None
        return shown.st_dev, shown.st_ino, shown.st_mtime_ns


def begin_anew(state_dir: Path, engine: str) -> NoReturn:
    """Become the one that is installed; the same process for whoever watches it."""
    words = [sys.executable, "-P", "-m", MODULE, str(state_dir), engine]
    os.execv(sys.executable, words)  # noqa: S606  a shell is the last thing that it needs
