"""Bounds how often one person changes what is held and reserved: each change is an event on disk, and whoever
asked for it and took it back without end would drive everybody's events out of the history.

Used by the loop's thread alone. Operators are not braked: they may do anything anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import (
    Caller,
    Command,
    ExtendHold,
    ExtendReservation,
    HoldJob,
    ReleaseHold,
    ReleaseReservation,
    ReserveGpus,
)

BRAKED = HoldJob | ExtendHold | ReleaseHold | ReserveGpus | ExtendReservation | ReleaseReservation
AT_ONCE = 30  # changes that one person may make in a row
EACH = 10.0  # seconds after which they may make one more
MANY = 1000  # people who are remembered at the most before those are forgotten who may do all again


@dataclass(slots=True)
class Brake:
    """Whose changes are how many."""

    _paid: dict[int, float] = field(default_factory=dict)  # by uid: until when their changes count

    def stops(self, command: Command, now: float) -> Refusal | None:
        """Why it is not carried out now; ``None``: it is, and counts."""
        by: Caller = command.by
        if by.operator or not isinstance(command, BRAKED):
            return None
        paid = max(now, self._paid.get(by.uid, now)) + EACH
        wait = paid - now - AT_ONCE * EACH
        if wait > EACH:  # the clock was set back
            paid, wait = now + EACH, 0.0
        if wait > 0:
            sentence = (
                f"{by.name} has changed holds and reservations {AT_ONCE} times in a row: one more in "
                f"{max(1, round(wait))} s"
            )
            return Refusal(429, "too_often", sentence)
        if len(self._paid) >= MANY:
            self._paid = _left(self._paid, now)
        self._paid[by.uid] = paid
        return None


def _left(paid: Mapping[int, float], now: float) -> dict[int, float]:
    return {uid: until for uid, until in paid.items() if until > now}
