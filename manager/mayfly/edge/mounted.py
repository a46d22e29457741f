"""Looks at the paths that agents mount, and never waits long: a network file system whose server is away
answers no call, and whoever asked cannot be stopped.

Each look is a thread's. One that is not through in time is left to itself, and the path that it hangs on is
not asked again before it is.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from mayfly.core.mounts import Source
from mayfly.edge.mountinfo import Mount, mounts_here

SECONDS = 2.0  # for a path to answer
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
PASSING = frozenset(
    {
        *("autofs", "bpf", "cgroup", "cgroup2", "devpts", "devtmpfs", "mqueue", "nsfs", "overlay"),
        *("proc", "squashfs", "sysfs", "tmpfs"),
    }
)
MOST = 1024 * 1024  # bytes of a file that are searched for a certificate


class MountedPaths:
    """May be used from any thread."""

    def __init__(
        self, seconds: float = SECONDS, ask: Callable[[str], Source] | None = None
    ) -> None:
        """``ask`` says what stands at a path, and may never come back."""
        self._seconds = seconds
        self._ask = ask or source
        self._hanging: dict[str, threading.Thread] = {}

    def look(self, paths: Iterable[str]) -> dict[str, Source]:
        """What stands at each of them now."""
        wanted = list(dict.fromkeys(paths))
        found = {path: Source(None) for path in wanted}
        left = [path for path in wanted if not self._hangs(path)]
        while left:
            look = _Look(left, self._ask)
            look.thread.start()
            look.thread.join(self._seconds)
            found |= look.found
            hangs = look.abandoned()
            if hangs is None:
                break
            self._hanging[hangs] = look.thread
            left = left[left.index(hangs) + 1 :]
        return found

    def _hangs(self, path: str) -> bool:
        thread = self._hanging.get(path)
        if thread is not None and not thread.is_alive():
            self._hanging.pop(path, None)
            return False
        return thread is not None


class _Look:
    """One thread's way through some paths."""

    def __init__(self, paths: list[str], ask: Callable[[str], Source]) -> None:
        self._paths = paths
        self._ask = ask
        self._lock = threading.Lock()
        self._over = False
        self._at: str | None = None  # the path that is being asked; None: none is
        self.found: dict[str, Source] = {}
        self.thread = threading.Thread(target=self._run, name="mounted-paths", daemon=True)

    def abandoned(self) -> str | None:
        """The path that it hangs on, and nothing more is done after that; ``None``: it is through."""
        with self._lock:
            self._over = True
            return self._at

    def _run(self) -> None:
        for path in self._paths:
            with self._lock:
                if self._over:
                    return
                self._at = path
            seen = self._ask(path)
            with self._lock:
                if not self._over:
                    self.found[path] = seen
                self._at = None


def mounted_beneath(mounts: Iterable[Mount], directory: str) -> tuple[str, ...]:
    """What is mounted in a directory: an agent made before sees none of it.

    Without what containers and the kernel mount for themselves, which comes and goes.
    """
    root = directory.rstrip("/") + "/"
    return tuple(
        sorted(
            f"{one.device}@{one.place}"
            for one in mounts
            if one.place.startswith(root) and one.place != root and one.kind not in PASSING
        )
    )


def source(path: str) -> Source:
    """What stands there; it may wait for ever."""
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return Source("")
    except OSError as error:
        return Source("", error=error.strerror or str(error))
    identity = f"{status.st_dev}:{status.st_ino}"
    real = os.path.realpath(path)
    try:
        if stat.S_ISDIR(status.st_mode):
            os.scandir(path).close()
            inner = mounted_beneath(mounts_here(), real)
            return Source(" ".join((identity, *inner)), directory=True, real=real)
        if stat.S_ISREG(status.st_mode):
            with Path(path).open("rb") as file:
                text = file.read(MOST)
            if CERTIFICATE not in text:
                return Source(identity, real=real)
            # An agent has read them before its gate: one whose file is edited in its place has the former.
            identity += f" {hashlib.sha256(text).hexdigest()[:16]}"
            return Source(identity, certificates=True, real=real)
    except OSError as error:
        return Source(identity, error=error.strerror or str(error), real=real)
    return Source(identity, real=real)
