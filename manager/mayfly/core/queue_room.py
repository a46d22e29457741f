"""How much the embedded queue may hold: jobs and bytes, of all and of one user.

Pure. What waits is on the state directory's disk and, but for what it runs, in the manager's memory; nobody
may fill either, one user leaves room for the others, and those who are no operators leave room for those who
are. What one job may have is bounded where it is read (``service/parameters.py``), what is kept of one that
has ended in ``core/kept_texts.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mayfly.core.commands import Caller
from mayfly.core.memory import Job

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Share:
    """So many jobs, with so many bytes of commands and variables."""

    jobs: int
    size: int


@dataclass(frozen=True, slots=True)
class QueueRoom:
    """What may wait at once."""

    all: Share
    without_operators: Share  # as long as nobody but an operator submits more
    of_one: Share


ROOM = QueueRoom(
    all=Share(20_000, 64 * MIB),
    without_operators=Share(15_000, 48 * MIB),
    of_one=Share(10_000, 32 * MIB),
)


def no_room(
    jobs: Iterable[Job], by: Caller, size: int, room: QueueRoom = ROOM, *, count: int = 1
) -> str | None:
    """Why ``count`` jobs of that user, ``size`` bytes together, cannot wait too; ``None``: they can."""
    waiting = [job for job in jobs if job.agent is None]
    own = [job for job in waiting if job.uid == by.uid]
    for named, there, share in (
        (f"the jobs of {by.name} that wait", own, room.of_one),
        ("the jobs that wait", waiting, room.all if by.operator else room.without_operators),
    ):
        with_these = "with this one" if count == 1 else f"with these {count}"
        if len(there) >= share.jobs:
            return f"{named} are as many as may be, {share.jobs}"
        if len(there) + count > share.jobs:
            return f"{with_these} {named} would be more than {share.jobs}"
        if sum(job.size for job in there) + size > share.size:
            return f"{with_these} {named} would be larger than {share.size // MIB} MiB"
    return None
