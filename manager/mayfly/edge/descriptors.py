"""How many file descriptors this process has and may have.

One that has none left can open nothing: no connection to the Engine or a service, no file of its own. The
process asks for as many as it may have when it begins, and says so before they are used up.
"""

from __future__ import annotations

import errno
import resource
from dataclasses import dataclass
from pathlib import Path

FEW = 0.9  # the share in use from which it is told
USED_UP = frozenset((errno.EMFILE, errno.ENFILE))


@dataclass(frozen=True, slots=True)
class Descriptors:
    """How many are in use, of how many."""

    used: int
    limit: int

    @property
    def few_left(self) -> bool:
        """Whether there are so few left that the next look, list or job may find none."""
        return self.used >= FEW * self.limit


def descriptors() -> Descriptors:
    """Those of this process; where it cannot even count them all are in use."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        used = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return Descriptors(used - 1, limit)  # but for the list's own
    except OSError as error:
        return Descriptors(limit if error.errno in USED_UP else 0, limit)


def raise_limit() -> None:
    """Allow this process as many as it may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
