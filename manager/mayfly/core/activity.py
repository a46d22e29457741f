"""What two looks at an agent's namespaces, one after the other, come to: how much it has begun between them.

Pure. The kernel counts; nothing here is an agent's word. What cannot be told counts for nothing: nobody is
throttled for what somebody else may have done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# connections in the engine's table from which each container takes noticeably longer
CROWDED = 4096
OF_ONE = 1024  # of these, that one agent has before it is one of those who crowd it
BUSY = 40.0  # processes a second for each processor of the host, from which on somebody looks whose they are


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one network namespace; all but the first only grow."""

    tracked: int  # connections that the kernel remembers there; 0: or it does so for no namespace like it
    sent: int  # packets that have left it
    opened: int  # connections, datagrams and echoes begun in it, to itself as well


def opened(looks: Iterable[tuple[Traffic, Traffic]], crowd: int) -> int:
    """How many connections to the outside were opened at most, where that adds to a ``crowd`` in the engine's
    table; ``looks``: before and now, at each network namespace of one agent. Datagrams of one connection
    count by themselves: so nobody is asked who has few connections.
    """
    if crowd < CROWDED:
        return 0
    looks = [*looks]
    few = sum(now.tracked for _, now in looks) < OF_ONE
    return sum(
        max(0, min(now.sent - before.sent, now.opened - before.opened))
        for before, now in looks
        if not (few and now.tracked)
    )


def is_busy(begun: int, seconds: float, processors: int) -> bool:
    """Whether so many processes are more than what a host is always at."""
    return begun > BUSY * processors * seconds


def advanced(cursor: int, numbers: Sequence[int], most: int, limit: int) -> int | None:
    """How many numbers of processes were given in a namespace since ``cursor``, by those of processes that
    have begun since. The kernel gives the next free one, and begins anew below ``limit``. ``most``: so many
    were given on the whole host. ``None``: none of these can be one of them, so the cursor is wrong.
    """
    found = [ahead for number in numbers if (ahead := (number - cursor) % limit) <= most]
    return max(found, default=None)
