"""Whether a manager works on a state directory: the kernel knows by the lock that each holds."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

NAME = "lock"


def is_managed(state_dir: Path) -> bool:
    """Whether one does now, also one that does not answer; False too where this user may not look."""
    try:
        descriptor = os.open(state_dir / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
