"""Which slot is made ready for a job that asks for an image, from when, and until when.

Pure. Such a job has its place in the order as any other. When it is next and the gate of a slot's own agent
may be opened for it, the slot is booked: that agent goes, one of the job's image comes, and its gate is
opened for that job alone. From then on the slot is as any other, and its next agent of the pool's own image.

So no job waits for a slot that could begin at once, but for one that was before it in the order; a slot is
taken only where agents stand ready, so that an image which is no good is not the slot's fault; and a booking
that lapses gives the job its place again. A booking is on disk, and no restart forgets it. See ADR 0029.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mayfly.core.facts import SlotBooked, SlotUnbooked
from mayfly.core.job_images import made_of, problem, unknown
from mayfly.core.memory import Booking, Job, Memory
from mayfly.core.model import Desired, SlotName, SlotSpec
from mayfly.core.plan import Act, View
from mayfly.core.queue import waits
from mayfly.core.slots import cooling


def book(view: View, spec: SlotSpec, job: Job) -> Act | None:
    """Book the slot for the job that is next; ``None`` where it cannot be made ready for that. The queue has
    only jobs of images that agents can be made of.
    """
    assert job.image is not None
    if unbookable(spec.name, view.desired, view.memory, view.now) is not None:
        return None
    return Act((), (SlotBooked(view.now, spec.name, job.id, job.image),))


def lapses(view: View) -> Iterator[SlotUnbooked]:
    """The bookings that are over, each with why."""
    booked = {
        name: known.booking
        for name, known in view.memory.slots.items()
        if known.booking is not None
    }
    if not booked:
        return
    specs = {spec.name: spec for spec in view.desired.slots if spec.name in booked}
    for name, booking in booked.items():
        why = _lapsed(view, specs.get(name), booking)
        if why is not None:
            yield SlotUnbooked(view.now, name, booking.job, why)


def _lapsed(view: View, spec: SlotSpec | None, booking: Booking) -> str | None:
    """Why the slot is not made ready for that job any more; ``None`` while it is."""
    if spec is None:
        return "the configuration has no such slot"
    job = view.memory.jobs.get(booking.job)
    if job is None:
        return f"job {booking.job} has ended"
    if not waits(job):
        return f"job {booking.job} does not wait for a slot any more"
    if spec.name in view.desired.undetermined or unknown(view.desired, spec.pool, booking.image):
        return None
    why = unbookable(spec.name, view.desired, view.memory, view.now)
    return why or problem(view.desired, spec.pool, booking.image)


def unbookable(slot: SlotName, desired: Desired, memory: Memory, now: float) -> str | None:
    """What is in the way of making the slot ready for a job that asks for an image, whichever that is."""
    known = memory.slot(slot)
    if known.cordon is not None:
        return "the slot is cordoned"
    if known.held is not None:
        return "the slot is held"
    if cooling(known, now):
        return "the slot cools"
    return desired.obstacles.get(slot)


def as_booked(view: View, spec: SlotSpec) -> tuple[View, SlotSpec]:
    """The slot as it is to be filled: for the job that it is booked for, or as the pool has it.

    Where nothing is known of the image at the moment, nothing is known of the slot.
    """
    booking = view.memory.slot(spec.name).booking
    if booking is None:
        return view, spec
    found = view.desired.job_images.get((spec.pool.name, booking.image))
    if found is not None:
        return view, made_of(spec, booking.image, found)
    undetermined = view.desired.undetermined | {spec.name}
    blind = replace(view, desired=replace(view.desired, undetermined=undetermined))
    return blind, replace(spec, asked_image=booking.image)
