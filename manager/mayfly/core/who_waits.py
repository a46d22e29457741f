"""Who waits for the slots that somebody has for themselves, held or reserved. Pure.

What waits at a service is not known of: its jobs have other runners, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from mayfly.core.memory import Memory
from mayfly.core.model import PoolName, SlotSpec
from mayfly.core.queue import waits


def who_waits(
    pool: PoolName,
    devices: Iterable[str],
    memory: Memory,
    specs: Iterable[SlotSpec],
    now: float,
    *,
    but: int | None = None,
) -> str | None:
    """Who waits in the pool, or in another for those devices, a sentence; ``None``: nobody that is known of.
    ``but``: a uid whose own jobs and reservations do not count.
    """
    own = frozenset(devices)
    pools = {pool, *(spec.pool.name for spec in specs if own.intersection(spec.lease))}
    due = [
        one.owner
        for one in memory.reservations.values()
        if one.began is None and one.start <= now and one.pool in pools and one.uid != but
    ]
    if due:
        return f"{due[0]}, who has reserved one, waits for a GPU"
    jobs = [
        job
        for job in memory.jobs.values()
        if job.pool in pools
        and waits(job)
        and job.id not in memory.reservations
        and (but is None or job.uid != but)
    ]
    if not jobs:
        return None
    how_many = "a job waits" if len(jobs) == 1 else f"{len(jobs)} jobs wait"
    return f"{how_many} in pool {jobs[0].pool}"
