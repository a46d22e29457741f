"""Faults as values: what the machine is told of an exception, which itself stays on its thread."""

from __future__ import annotations

from mayfly.core.stimuli import Failure, Family
from mayfly.edge.faults import Fault, Passing, Refused


def failure_of(fault: Fault) -> Failure:
    """The fault as a value."""
    if isinstance(fault, Refused):
        return Failure(Family.REFUSED, str(fault))
    if isinstance(fault, Passing):
        return Failure(Family.PASSING, str(fault), fault.retry_after, fault.unanswered)
    return Failure(Family.PASSING, str(fault))
