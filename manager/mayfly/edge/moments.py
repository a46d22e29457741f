"""The clocks by which a suspension, a boot, and a wall clock that was set are told apart."""

from __future__ import annotations

import time

from mayfly.core.host_hours import Moment
from mayfly.edge.boot import host_boot


def moment() -> Moment:
    """What they say now (clock_gettime(2))."""
    return Moment(
        time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME), host_boot()
    )
