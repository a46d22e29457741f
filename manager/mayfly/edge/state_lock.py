"""Whether a manager works on a state directory: the kernel knows by the lock that each holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mayfly.edge.faults import Refused
from mayfly.edge.lock_file import is_held

NAME = "lock"


@contextmanager
def managing(state_dir: Path) -> Iterator[None]:
    """Hold the state directory; ``Refused`` where another manager does."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        state_dir.chmod(0o700)
        descriptor = os.open(state_dir / NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Refused(
            f"the state directory {state_dir} cannot be used: {error.strerror}; run as root, or set "
            "host.state_dir"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise Refused(
                f"another manager (pid {owner or 'unknown'}) works on {state_dir}: stop it first, "
                "or set another host.state_dir"
            ) from error
        with suppress(OSError):  # on a full disk nobody is told which process it is
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_managed(state_dir: Path) -> bool:
    """Whether one does now, also one that does not answer; False too where this user may not look."""
    return is_held(state_dir / NAME)
