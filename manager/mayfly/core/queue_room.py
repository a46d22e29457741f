"""How much the embedded queue may hold: jobs and bytes, of all and of one user.

Pure. What waits is on the state directory's disk and, but for what it runs, in the manager's memory; nobody
may fill either, and one user leaves room for the others. What one job may have is bounded where it is read
(``service/parameters.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mayfly.core.memory import Job

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class QueueRoom:
    """What may wait at once."""

    jobs: int
    jobs_of_one: int
    size: int  # bytes of commands and variables
    size_of_one: int


ROOM = QueueRoom(jobs=20_000, jobs_of_one=10_000, size=64 * MIB, size_of_one=32 * MIB)


def no_room(
    jobs: Iterable[Job], uid: int, owner: str, size: int, room: QueueRoom = ROOM
) -> str | None:
    """Why a job of that ``size`` (bytes) of that user cannot wait too; ``None`` where it can."""
    waiting = [job for job in jobs if job.agent is None]
    own = [job for job in waiting if job.uid == uid]
    whose = f"the jobs of {owner} that wait"
    for named, there, most, most_bytes in (
        (whose, own, room.jobs_of_one, room.size_of_one),
        ("the jobs that wait", waiting, room.jobs, room.size),
    ):
        if len(there) >= most:
            return f"{named} are as many as may be, {most}"
        if sum(job.size for job in there) + size > most_bytes:
            return f"with this one {named} would be larger than {most_bytes // MIB} MiB"
    return None
