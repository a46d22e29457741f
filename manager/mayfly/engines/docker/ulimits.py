"""The resource limits of an agent's processes: those that a service of this host has.

They are said in each create, since daemon.json's `default-ulimits` would decide otherwise. The manager's own
hard limits are the most that is asked for unless a pool says otherwise: an Engine in a container of its own
may not raise them.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from functools import cache

from mayfly.core.model import ULIMITS, Ulimit

OPEN_FILES = (65_536, 524_288)  # soft and hard, where the host allows so many
# What the kernel counts by the number of a user, for the whole host: a job that is root could take all that
# the host's own services have of it (timer_create(2) fails then), and is left half.
BY_NUMBER = frozenset(("sigpending", "msgqueue"))


@cache
def own_ulimits() -> Mapping[str, Ulimit]:
    """Each limit that the Engine's API has a name for."""
    return {name: _said(name) for name in ULIMITS}


def _said(name: str) -> Ulimit:
    soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    if name == "nofile":
        return Ulimit(*(most if hard == -1 else min(most, hard) for most in OPEN_FILES))
    if name in BY_NUMBER and hard > 0:
        return Ulimit(min(soft, hard // 2) if soft >= 0 else hard // 2, hard // 2)
    return Ulimit(soft, hard)
