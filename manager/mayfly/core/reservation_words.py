"""What is said of reservations: of the slots that are reserved, why one waits, and what is the matter.

Pure, and changes nothing: what becomes of them is decided in `reserving`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mayfly.core.gpu_health import Process, Reading
from mayfly.core.memory import Memory
from mayfly.core.model import Condition, Desired, Severity
from mayfly.core.quantities import spoken_age
from mayfly.core.reservations import WARNINGS, Reservation, Reserved, clock
from mayfly.core.reserving import idle_since, is_own, rooms_of
from mayfly.core.slots import SlotStatus

LATE = 900.0  # seconds after its start after which it is told that one waits


def why_reserved(one: Reservation) -> str:
    """Why the job of a reservation does not run."""
    if one.began is not None:
        return f"slot {', '.join(one.taken)} is reserved for it, and its agent is made ready"
    if one.booked:
        return (
            f"it is a reservation from {clock(one.start)} on, and begins once a slot is free then"
        )
    return "it is a reservation, and takes its turn among the jobs that wait, as a job of its owner would"


def noted(row: SlotStatus, reserved: Reserved, now: float) -> SlotStatus:
    """The row, which says for whom its gate stays shut, and until when."""
    agent = row.agent
    for uuid in row.spec.lease:
        one = reserved.held.get(uuid)
        if one is not None:
            told = f"reserved for {one.owner} until {clock(one.ends)}"
            return row if row.note and one.shell else replace(row, note=told)
        one = reserved.kept.get(uuid)
        if one is not None and not (row.note and agent is not None and agent.at_work):
            at_once = "as soon as it is free" if one.start <= now else f"from {clock(one.start)} on"
            return replace(row, note=f"no new job: reserved for {one.owner} {at_once}")
    return row


def conditions(
    memory: Memory, desired: Desired, reading: Reading | None, now: float
) -> Iterator[Condition]:
    """What is the matter with reservations."""
    if not memory.reservations:
        return
    room = rooms_of(desired)
    for one in memory.reservations.values():
        show = "mayfly reservations"
        if one.began is None:
            if one.pool not in room.slots and one.start <= now:
                text = (
                    f"reservation {one.id} of {one.owner} cannot begin: the configuration has no pool "
                    f"{one.pool} with GPUs"
                )
                fix = f"mayfly release {one.id}   # or configure the pool again"
                yield Condition("reservation.waits", Severity.WARNING, text, fix, one.pool)
            elif now - one.start > LATE:
                text = (
                    f"reservation {one.id} of {one.owner} was to begin at {clock(one.start)}, and no slot of "
                    f"pool {one.pool} is free yet: jobs go on"
                )
                yield Condition("reservation.waits", Severity.INFO, text, show, one.pool)
            continue
        slots = one.taken
        rules = room.rules.get(one.pool)
        since = idle_since(one)
        idle = now - since if since is not None else 0.0
        if rules is not None and 0 < rules.idle <= 2 * idle:
            text = (
                f"reservation {one.id} of {one.owner} has not been used for {spoken_age(idle)}, and is given "
                f"back after {spoken_age(rules.idle)}"
            )
            yield Condition(
                *("reservation.idle", Severity.WARNING, text, f"mayfly release {one.id}"),
                *(one.pool, slots),
            )
        if one.until is not None and one.until - now <= WARNINGS[0] * 60.0 < one.until - one.began:
            text = f"reservation {one.id} of {one.owner} ends at {clock(one.until)}"
            fix = f"mayfly reserve --extend {one.id} --for 1h"
            yield Condition("reservation.ends", Severity.INFO, text, fix, one.pool, slots)
        for uuid, process in strangers(memory, one, reading):
            text = (
                f"{process.named} computes on {uuid}, which is reserved for {one.owner} until "
                f"{clock(one.ends)}"
            )
            yield Condition(
                *("reservation.stranger", Severity.WARNING, text, f"ps -fp {process.pid}"),
                *(one.pool, slots),
            )


def strangers(
    memory: Memory, one: Reservation, reading: Reading | None
) -> Iterator[tuple[str, Process]]:
    """Processes on a reserved GPU that are not its owner's."""
    for uuid in one.devices:
        vitals = reading.vitals.get(uuid) if reading is not None else None
        for process in vitals.processes if vitals is not None else ():
            if not process.gone and not is_own(memory, one, process):
                yield uuid, process
