"""The two families of error that cross from an edge into the rest of Mayfly.

::

    Fault
    ├── Passing      the same call may succeed later (``retry_after`` seconds, if known)
    └── Refused      it will not succeed until a person changes something
        ├── TakenBySome  it was done for some of those that it was for: again would be twice for these
        ├── Untrusted    the other end's certificate is of no authority that is trusted here
        └── Unbringable  what a job brings is itself why: it cannot be put into any agent

An answer ("busy", "gone") is a value and no error. An edge never lets its library's exceptions out; the
message says what failed, on what, and the next step.
"""

from __future__ import annotations

from mayfly.core.workspace import Unbrought

# Seconds for which somebody outside may have us wait: limits begin anew after an hour, and a little.
WAIT_MOST = 3700.0


class Fault(Exception):
    """A failure of something outside, in one sentence for the operator."""


class Passing(Fault):
    """It may succeed later; ``retry_after`` is in seconds, ``None`` where nobody said, ``WAIT_MOST`` at most:
    it may be what a service, a proxy or a cluster has asked for.

    ``unanswered``: an answer was waited for until the time was over.
    """

    def __init__(
        self, message: str, retry_after: float | None = None, *, unanswered: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = _bounded(retry_after)
        self.unanswered = unanswered


def _bounded(seconds: float | None) -> float | None:
    if seconds is None or seconds != seconds:  # noqa: PLR0124  not a number
        return None
    return float(min(max(0.0, seconds), WAIT_MOST))


class Refused(Fault):
    """It needs a person."""


class TakenBySome(Refused):
    """It was done for some of those that it was for, and needs a person for the others."""


class Untrusted(Refused):
    """The other end's certificate is of no authority that is trusted here."""


class Unbringable(Refused):
    """The job that brings it needs a person; ``why`` is what everybody may read of it."""

    def __init__(self, message: str, why: Unbrought) -> None:
        super().__init__(message)
        self.why = why
