"""When a queued job may start: from how long jobs like it ran, and what is before it.

Pure, and a guess: it knows nothing of jobs that are yet to come, nor of those that end sooner than ever.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mayfly.core.booking import unbookable
from mayfly.core.job_images import problem
from mayfly.core.memory import Job, Memory
from mayfly.core.model import Desired, JobId, PoolName
from mayfly.core.queue import waits
from mayfly.core.slots import cooling

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
    free_at: tuple[float, ...] = ()  # when each is free for the next job, where that is known


def room_of(
    pool: PoolName,
    desired: Desired,
    memory: Memory,
    now: float,
    lasting: Callable[[Job], float | None],
    *,
    booked: bool = False,
) -> PoolRoom:
    """The pool's slots; what runs ends as its like did, and what runs longer than that at any moment.
    ``booked``: for a job that a slot has to be booked for.
    """
    running = {job.slot: job for job in memory.jobs.values() if job.slot and job.pool == pool}
    running |= {slot: memory.jobs[job] for job, slot in memory.booked.items() if job in memory.jobs}
    held = {
        agent.slot: agent.hold.until
        for agent in memory.agents.values()
        if agent.hold is not None and agent.pool == pool
    }
    reserved = memory.reserved.keys()
    free: list[float] = []
    takes_jobs = busy = others = 0
    for spec in desired.slots:
        if spec.pool.name != pool:
            continue
        known, job = memory.slot(spec.name), running.get(spec.name)
        closed = known.cordon is not None or known.held is not None
        closed = closed or not reserved.isdisjoint(spec.lease)
        cools = booked and cooling(known, now)
        if closed or cools or spec.name in desired.obstacles:
            others += 1
            continue
        takes_jobs += 1
        if job is None and spec.name in held:
            busy += 1
            free.append(max(now, held[spec.name]))
            continue
        if job is None:
            free.append(now)
            continue
        busy += 1
        seconds = lasting(job)
        if seconds is not None:
            free.append(max(now, (job.started or now) + seconds))
    return PoolRoom(takes_jobs, busy, others, tuple(free))


def why_for_its_image(job: Job, desired: Desired, memory: Memory, now: float) -> str | None:
    """Why a queued job that asks for an image does not run now, where that is the reason; else ``None``."""
    if job.image is None or not waits(job) or memory.pause is not None:
        return None
    slot = memory.booked.get(job.id)
    if slot is not None:
        return f"slot {slot} is made ready for it, with an agent of image {job.image}"
    slots = [spec for spec in desired.slots if spec.pool.name == job.pool]
    if not slots:
        return None
    wrong = problem(desired, slots[0].pool, job.image)
    if wrong is not None:
        return wrong
    whys = [unbookable(spec.name, desired, memory, now) for spec in slots]
    if None in whys:
        return None
    where = f"no slot of pool {job.pool} can be made ready for image {job.image} now"
    return f"{where}; of {slots[0].name}: {whys[0]}"


def why_in_turn(job: Job, ahead: int, turn: str) -> str:
    """Why a queued job of a pool in turn does not run now; ``turn``: who has its GPUs, and who is next."""
    before = f"{ahead} job{'s are' if ahead > 1 else ' is'} before it in pool {job.pool}"
    return f"{before if ahead else f'it is next in pool {job.pool}'}; {turn}"


def why(job: Job, ahead: int, room: PoolRoom, *, paused: bool) -> str:
    """Why a queued job does not run now; ``ahead`` are before it."""
    pool = f"pool {job.pool}"
    if job.awaits:
        shown = ", ".join(job.awaits[:SHOWN]) + (", …" if len(job.awaits) > SHOWN else "")
        one = len(job.awaits) == 1
        which = f"job {shown} has" if one else f"{len(job.awaits)} jobs ({shown}) have"
        return f"it runs once {which} ended well"
    if paused:
        return "the manager is paused"
    if not room.takes_jobs:
        return (
            f"no slot of {pool} takes jobs now: mayfly status"
            if room.others
            else f"no slot is of {pool} any more"
        )
    if not ahead and room.busy < room.takes_jobs:
        return f"it is next, and a slot of {pool} is made ready"
    before = (
        "it is next" if not ahead else f"{ahead} job{'s are' if ahead > 1 else ' is'} before it"
    )
    slots = f"{room.takes_jobs} slot{'s' if room.takes_jobs > 1 else ''}"
    return (
        f"{before}, and {room.busy} of {slots} of {pool} {'are' if room.busy != 1 else 'is'} busy"
    )
