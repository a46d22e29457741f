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


@cache
def own_ulimits() -> Mapping[str, Ulimit]:
    """Each limit that the Engine's API has a name for."""
    return {name: _said(name) for name in ULIMITS}


def _said(name: str) -> Ulimit:
    soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    if name == "nofile":
        return Ulimit(*(most if hard == -1 else min(most, hard) for most in OPEN_FILES))
    return Ulimit(soft, hard)
