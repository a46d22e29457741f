"""What the owner of a reservation is told elsewhere: that it begins, ends soon, is idle, or is over. Pure."""

from __future__ import annotations

from mayfly.core.facts import (
    Fact,
    ReservationBegan,
    ReservationEnded,
    ReservationIdled,
    ReservationWarned,
)
from mayfly.core.memory import Memory
from mayfly.core.notices import Kind, Notice
from mayfly.core.quantities import spoken_age
from mayfly.core.reservations import Reservation, clock


def of_reservation(fact: Fact, before: Memory, host: str) -> Notice | None:
    """What is told of it; ``None``: nothing, as of what its owner has done themselves."""
    match fact:
        case ReservationBegan(reservation=name, until=until, slots=slots):
            enter = f": mayfly attach {name}"
            one = before.reservations.get(name)
            text = f"it has begun, and ends at {clock(until)}"
            fix = enter.removeprefix(": ") if one is not None and one.shell else ""
            return _told(fact.at, one, host, "began", text, fix, slots)
        case ReservationWarned(reservation=name, minutes=minutes):
            fix = f"mayfly reserve --extend {name} --for 1h"
            one = before.reservations.get(name)
            return _told(fact.at, one, host, "ends", f"it ends in {minutes} minutes", fix)
        case ReservationIdled(reservation=name, seconds=seconds, left=left):
            text = f"nobody has used it for {spoken_age(seconds)}, and it is given back in {spoken_age(left)}"
            one = before.reservations.get(name)
            return _told(fact.at, one, host, "idle", text, f"mayfly release {name}")
        case ReservationEnded(reservation=name, reason=reason, by=by):
            one = before.reservations.get(name)
            if one is not None and by == one.owner:
                return None
            ended = f"it is over: {reason}" + (f", by {by}" if by is not None else "")
            return _told(fact.at, one, host, "over", ended, "mayfly reservations")
        case _:
            return None


def _told(
    at: float,
    one: Reservation | None,
    host: str,
    state: str,
    text: str,
    fix: str,
    slots: tuple[str, ...] = (),
) -> Notice | None:
    if one is None:
        return None
    return Notice(
        Kind.RESERVATION,
        at,
        host,
        pool=one.pool,
        slots=slots or one.taken,
        text=f"reservation {one.id} of {one.owner} in pool {one.pool}: {text}",
        fix=fix,
        seconds=max(0.0, at - one.since),
        job=one.id,
        user=one.owner,
        state=state,
    )
