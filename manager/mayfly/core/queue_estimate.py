"""When a queued job may start: from how long jobs like it ran, and what is before it.

Pure, and a guess: it knows nothing of jobs that are yet to come, nor of those that end sooner than ever.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mayfly.core.memory import Job
from mayfly.core.model import JobId

RUNS = 9  # the last runs of which the median is taken
SHOWN = 3  # jobs that a sentence names


def likeness(name: str | None, argv: Sequence[str]) -> str:
    """What jobs have in common whose runs are compared: their name, or what they run."""
    if name is not None:
        return f"name {name}"
    text = json.dumps(argv).encode(errors="surrogatepass")
    return f"argv {hashlib.sha256(text).hexdigest()[:16]}"


def starts(
    order: Iterable[Job],
    free_at: Iterable[float],
    lasting: Callable[[Job], float | None],
) -> dict[JobId, float | None]:
    """When each job of a pool starts: ``free_at`` is when each of the pool's slots is free for the next one.

    ``lasting`` says how many seconds a job runs; ``None``: nothing is known, and then nothing is of those
    behind it. ``None`` for a job: not known.
    """
    free = list(free_at)
    heapq.heapify(free)
    found: dict[JobId, float | None] = {}
    for job in order:
        found[job.id] = free[0] if free else None
        seconds = lasting(job)
        if free and seconds is not None:
            heapq.heapreplace(free, free[0] + seconds)
        else:
            free = []
    return found


def median(seconds: Sequence[float]) -> float | None:
    """The middle one, the lower of two; ``None``: there is none."""
    return sorted(seconds)[(len(seconds) - 1) // 2] if seconds else None


@dataclass(frozen=True, slots=True)
class PoolRoom:
    """The slots of a pool, as far as a queued job can have one."""

    takes_jobs: int = 0  # neither cordoned nor held nor in want of anything
    busy: int = 0  # of those, how many have a job now
    others: int = 0  # slots that take none


def why(job: Job, ahead: int, room: PoolRoom, *, paused: bool) -> str:
    """Why a queued job does not run now; ``ahead`` are before it."""
    pool = f"pool {job.pool}"
    if job.awaits:
        shown = ", ".join(job.awaits[:SHOWN]) + (", …" if len(job.awaits) > SHOWN else "")
        which = "job" if len(job.awaits) == 1 else f"{len(job.awaits)} jobs:"
        return f"it runs once {which} {shown} ended well"
    if paused:
        return "the manager is paused"
    if not room.takes_jobs:
        return (
            f"no slot of {pool} takes jobs now: mayfly status"
            if room.others
            else f"no slot is of {pool} any more"
        )
    before = (
        "it is next" if not ahead else f"{ahead} job{'s are' if ahead > 1 else ' is'} before it"
    )
    slots = f"{room.takes_jobs} slot{'s' if room.takes_jobs > 1 else ''}"
    return (
        f"{before}, and {room.busy} of {slots} of {pool} {'are' if room.busy != 1 else 'is'} busy"
    )
