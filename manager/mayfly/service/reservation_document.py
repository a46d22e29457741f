"""What ``mayfly reservations --json`` prints: the calendar of reserved GPUs, the next one first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mayfly.core.memory import Memory
from mayfly.core.model import PoolSpec
from mayfly.core.quantities import rfc3339
from mayfly.core.reservations import Reservation
from mayfly.core.reserving import idle_since

SCHEMA = "mayfly.reservations/1"


def document(
    memory: Memory, using: Iterable[str], now: float, pools: Iterable[PoolSpec] = ()
) -> dict[str, object]:
    """All that are not over. ``using``: GPUs on which something of their owner's computes now; ``pools``: all
    that there are, of which those are named that let people reserve.
    """
    seen = frozenset(using)
    found = sorted(memory.reservations.values(), key=lambda one: (one.since, one.made, one.id))
    lets = [pool.name for pool in pools if pool.reserve is not None and not pool.by_slurm]
    rows = [_row(one, memory, seen, now) for one in found]
    return {"schema": SCHEMA, "reservations": rows, "pools": lets}


def _row(one: Reservation, memory: Memory, seen: frozenset[str], now: float) -> dict[str, object]:
    return {
        "reservation": one.id,
        "pool": one.pool,
        "user": one.owner,
        "uid": one.uid,
        "state": _state(one, now),
        "shell": one.shell,
        "gpus": one.gpus,
        "start": rfc3339(one.since),
        "until": rfc3339(one.ends if one.began is not None or one.start > now else one.end(now)),
        "slots": list(one.taken),
        "slots_asked": one.slots,
        "devices": list(one.devices),
        "in_use": None if one.began is None else not seen.isdisjoint(one.devices),
        "idle_since": _moment(idle_since(one)),
        "entered": _entered(one, memory),
    }


def _state(one: Reservation, now: float) -> str:
    if one.began is not None:
        return "active"
    return "waits" if one.start <= now else "booked"


def _moment(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)


def _entered(one: Reservation, memory: Memory) -> Sequence[str]:
    """Who has a terminal there now."""
    job = memory.jobs.get(one.id)
    agent = memory.agents.get(job.agent) if job is not None and job.agent is not None else None
    return [visit.by for visit in agent.attached] if agent is not None else []
