"""What a service that hands jobs out says of them, as values: the answer to one long question.

No name of a person's, and no text that a job can write, is kept of it beside the ids.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """A job that is nobody's until it is acquired."""

    id: int  # what it is acquired by
    job: str  # the service's id of the job


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many jobs and agents of a pool its service counted at one moment."""

    available: int = 0  # offered, and nobody's
    assigned: int = 0  # the pool's and not over, those that run included
    running: int = 0
    registered: int = 0  # agents
    busy: int = 0  # agents that run a job
    idle: int = 0  # agents that are connected and have none

    @property
    def waiting(self) -> int:
        """How many jobs have no agent."""
        return self.available + max(0, self.assigned - self.running)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the service answered; empty where it had nothing to say until its time was over."""

    message: int | None = None  # its number, to be acknowledged; None: there is nothing to be
    counts: JobCounts | None = None  # None: it did not say
    offers: tuple[Offer, ...] = ()
    assigned: frozenset[int] = frozenset()  # the offers that it knows to be ours
    over: tuple[str, ...] = ()  # names of agents whose job is over as the service knows
    gone: frozenset[str] = frozenset()  # jobs that are over and that no agent had
    begins: bool = False  # of a new session: nothing that was said in an earlier one stands
    warning: str = ""  # what is not as it was configured; "": nothing
    unsupported: str = ""  # why it cannot hand jobs out, and that another way is taken; "": it can

    @property
    def empty(self) -> bool:
        """Whether it had nothing to say."""
        return self.message is None and self.counts is None and not self.unsupported
