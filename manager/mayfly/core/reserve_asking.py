"""What somebody's wish for GPUs comes to: which pool they are of, and what is put into calendar and queue.

Pure. What is refused is refused in a sentence that says what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import ReserveGpus, SubmitJob
from mayfly.core.desire import problem_with_job_image
from mayfly.core.job_images import allows
from mayfly.core.memory import Job, Memory
from mayfly.core.model import Config, Desired, JobId, PoolSpec
from mayfly.core.queue_room import no_room
from mayfly.core.reservations import (
    SHORTEST,
    Reservation,
    Rooms,
    clock,
    last_end,
    refused,
    too_long,
)
from mayfly.core.reserved_hours import spans, too_much
from mayfly.core.reserved_shell import waiting
from mayfly.core.reserving import rooms_of
from mayfly.core.submitting import Entry, unfit


@dataclass(frozen=True, slots=True)
class Wish:
    """A reservation that is let in, with the job by which its owner has the GPUs."""

    reservation: Reservation
    job: Entry | None  # None: they are used outside of containers


def wish(
    command: ReserveGpus,
    config: Config,
    desired: Desired,
    memory: Memory,
    now: float,
    *,
    new: JobId,
    unsent: tuple[str, ...] = (),
) -> Wish | Refusal:
    """What is recorded; ``new`` is the id of the reservation, and of its job."""
    pools = _pools(command, config)
    if isinstance(pools, Refusal):
        return pools
    room = rooms_of(desired)
    known = tuple(memory.reservations.values())
    first: Refusal | None = None
    for pool in pools:
        found = _in(command, pool, room, known, desired, memory, now, new, unsent)
        if isinstance(found, Wish):
            return found
        first = first or found
    assert first is not None  # there is a pool
    return first


def _pools(command: ReserveGpus, config: Config) -> list[PoolSpec] | Refusal:
    """The pools that it could be in."""
    lets = [pool for pool in config.pools if pool.reserve is not None]
    if command.pool is not None:
        named = [pool for pool in config.pools if pool.name == command.pool]
        if not named:
            there = ", ".join(pool.name for pool in lets) or "none"
            sentence = f'there is no pool "{command.pool}"; these may be reserved: {there}'
            return Refusal(404, "no_such_pool", sentence)
        if named[0].reserve is None:
            sentence = (
                f'pool "{command.pool}" is not for reservations: an operator sets `reserve = true` in its '
                "table of the configuration"
            )
            return Refusal(409, "refused", sentence)
        lets = named
    if not lets:
        sentence = (
            "no pool is for reservations: an operator sets `reserve = true` in one's table of the "
            "configuration"
        )
        return Refusal(409, "refused", sentence)
    if not command.shell:
        return lets
    queues = [pool for pool in lets if pool.embedded]
    if not queues:
        sentence = (
            f"a shell is opened in an agent of a pool with a queue, and {_names(lets)} has none: "
            "`--outside` reserves its GPUs for work outside of containers"
        )
        return Refusal(409, "refused", sentence)
    mayed = [pool for pool in queues if command.by.operator or not pool.sudo]
    if not mayed:
        sentence = f"jobs of {_names(queues)} may become root (sudo): {command.by.name} may not reserve there"
        return Refusal(403, "forbidden", sentence)
    return mayed


def _names(pools: Sequence[PoolSpec]) -> str:
    return f"pool{'s' if len(pools) > 1 else ''} {', '.join(pool.name for pool in pools)}"


def _in(
    command: ReserveGpus,
    pool: PoolSpec,
    room: Rooms,
    known: Sequence[Reservation],
    desired: Desired,
    memory: Memory,
    now: float,
    new: JobId,
    unsent: tuple[str, ...],
) -> Wish | Refusal:
    """What it comes to in that pool."""
    each = next((len(spec.lease) for spec in desired.slots if spec.pool.name == pool.name), 0)
    if pool.by_slurm:
        sentence = (
            f"the GPUs of pool {pool.name} are Slurm's: reserve them there, with salloc or scontrol"
        )
        return Refusal(409, "refused", sentence)
    if not each or pool.name not in room.rules:
        sentence = f"which GPUs slots of pool {pool.name} have is not known: see `mayfly gpus`"
        return Refusal(409, "refused", sentence)
    if command.gpus < 1 or command.gpus % each or (command.shell and command.gpus != each):
        have = f"slots of pool {pool.name} have {each} GPU{'s' if each > 1 else ''} each"
        instead = f"ask for {each}" if command.shell else f"ask for {each}, {2 * each}, …"
        sentence = f"{have}, and no number of them has {command.gpus}: {instead}"
        if command.shell and command.gpus > each and command.gpus % each == 0:
            sentence = f"{have}, and a shell has one of them: {instead}, or say --outside"
        return Refusal(409, "refused", sentence)
    limit = pool.limits.job_timeout
    if command.shell and limit is not None and command.seconds > limit:
        sentence = f"jobs of pool {pool.name} last {limit / 3600:g} h at the most (job_timeout)"
        return Refusal(409, "refused", sentence)
    start = now if command.start is None else command.start
    reservation = Reservation(
        id=new,
        pool=pool.name,
        uid=command.by.uid,
        owner=command.by.name,
        gpus=command.gpus,
        slots=command.gpus // each,
        start=max(start, now) if start > now - 60.0 else start,
        seconds=command.seconds,
        made=now,
        shell=command.shell,
    )
    why = refused(reservation, room, known, now) or _beyond(reservation, room, memory, now)
    if why is not None:
        return why
    if not command.shell:
        return Wish(reservation, None)
    entry = _job(command, pool, desired, memory, now, new, unsent)
    return entry if isinstance(entry, Refusal) else Wish(reservation, entry)


def _beyond(
    one: Reservation, room: Rooms, memory: Memory, now: float, more: float | None = None
) -> Refusal | None:
    """Why its owner may not have that much of the pool in seven days; ``None``: they may."""
    others = [
        other for other in memory.reservations.values() if more is not None or other.id != one.id
    ]
    found = spans((one.pool, one.uid), memory.had, others, now)
    why = too_much(room.rules[one.pool].per_week, one, found, now, more)
    return Refusal(409, "refused", why) if why is not None else None


def _job(
    command: ReserveGpus,
    pool: PoolSpec,
    desired: Desired,
    memory: Memory,
    now: float,
    new: JobId,
    unsent: tuple[str, ...],
) -> Entry | Refusal:
    """The job by which its owner has the GPUs."""
    image = command.image
    if image is not None:
        if not allows(pool, image):
            sentence = f'pool "{pool.name}" does not let jobs ask for image {image} (job_images)'
            return Refusal(409, "refused", sentence)
        if image in command.seen:
            wrong = problem_with_job_image(image, command.seen[image], pool)
            if wrong is not None:
                return Refusal(409, "refused", wrong)
    payload = waiting(new, command.seconds)
    asked = SubmitJob(command.by, payload, pool.name, None, workspace=command.workspace)
    bad = unfit(asked, [pool], desired, unsent)
    if bad is not None:
        return Refusal(bad.status, bad.kind, bad.sentence)
    full = no_room(memory.jobs.values(), command.by, payload.size, count=1)
    if full is not None:
        return Refusal(429, "queue_full", f"the queue is full: {full}; wait, or cancel some")
    job = Job(
        id=new,
        pool=pool.name,
        serial=memory.serial + 1,
        submitted=now,
        uid=command.by.uid,
        owner=command.by.name,
        size=payload.size,
        name="reserved",
        workspace=command.workspace,
        image=image,
    )
    return Entry(job, payload)


def longer(
    one: Reservation,
    seconds: float,
    desired: Desired,
    memory: Memory,
    now: float,
    waiting_for_it: str | None,
) -> float | Refusal:
    """Until when a reservation that has begun lasts with so many seconds more, or why it does not.
    ``waiting_for_it``: who waits for its GPUs, a sentence; ``None``: nobody.
    """
    if one.until is None or one.began is None:
        sentence = f"reservation {one.id} has not begun: release it, and reserve again for longer"
        return Refusal(409, "refused", sentence)
    if waiting_for_it is not None:
        return Refusal(409, "refused", f"reservation {one.id} is not extended: {waiting_for_it}")
    for slot in one.taken:
        if (cordon := memory.slot(slot).cordon) is not None:
            how = "drained" if cordon.drain else "cordoned"
            sentence = f"reservation {one.id} is not extended: slot {slot} is {how} by {cordon.by}"
            return Refusal(409, "refused", sentence)
    if seconds < SHORTEST:
        return Refusal(400, "bad_request", "a reservation is extended by a minute at least")
    until = one.until + seconds
    room = rooms_of(desired)
    rules = room.rules.get(one.pool)
    if rules is None:
        sentence = f"pool {one.pool} is not for reservations any more"
        return Refusal(409, "refused", sentence)
    long = too_long(rules, one.pool, until - now)
    if long is not None:
        return long
    pool = next(spec.pool for spec in desired.slots if spec.pool.name == one.pool)
    limit = pool.limits.job_timeout
    if one.shell and limit is not None and until > one.began + limit:
        sentence = f"jobs of pool {one.pool} last {limit / 3600:g} h at the most (job_timeout)"
        return Refusal(409, "refused", sentence)
    last = last_end(room, one, memory.reservations.values(), until, now)
    if last < until:
        sentence = (
            f"reservation {one.id} is not extended: its GPUs are reserved by others from "
            f"{clock(max(last, one.until))} on"
        )
        return Refusal(409, "refused", sentence)
    if (beyond := _beyond(one, room, memory, now, seconds)) is not None:
        return beyond
    return until
