"""Refusals: the pools whose service refuses us, and when an enrolment is tried again.

What a list was refused for is over with the next list. What an enrolment was refused for is over with an
enrolment that is given: a list tells nothing of that. So one is tried for the whole pool, less and less
often, before any of its slots is filled again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mayfly.core.doubling import doubling
from mayfly.core.model import PoolName
from mayfly.core.requests import Trial
from mayfly.core.slots import within
from mayfly.core.stimuli import Failure

TRIAL_FIRST = 30.0  # seconds between a refused enrolment and the first trial
TRIAL_MOST = 300.0


@dataclass(frozen=True, slots=True)
class Denied:
    """A refused enrolment."""

    reason: str
    trial: Trial
    since: float  # of the last time that it was refused
    times: int = 1  # in a row
    trying: bool = False
    retrying_now: bool = False

    @property
    def wait(self) -> float:
        """Seconds from the last refusal to the next trial."""
        return doubling(TRIAL_FIRST, TRIAL_MOST, self.times)

    def due(self, now: float) -> bool:
        """Whether it is time for a trial."""
        return not self.trying and (self.retrying_now or not within(now, self.since, self.wait))


@dataclass(frozen=True, slots=True)
class Refusals:
    """Which pools are refused what; never changed in place."""

    lists: Mapping[PoolName, str] = field(default_factory=dict)
    enrolments: Mapping[PoolName, Denied] = field(default_factory=dict)

    @property
    def by_pool(self) -> dict[PoolName, str]:
        """The pools that are refused, and the sentence that says why."""
        return {pool: denied.reason for pool, denied in self.enrolments.items()} | dict(self.lists)

    def listed(self, pool: PoolName) -> Refusals:
        """The pool's service has said who is there."""
        if pool not in self.lists:
            return self
        lists = {name: why for name, why in self.lists.items() if name != pool}
        return replace(self, lists=lists).retry_now(pool)

    def list_refused(self, pool: PoolName, failure: Failure) -> Refusals:
        """The service did not say who is there."""
        if not failure.lasting:
            return self
        return replace(self, lists={**self.lists, pool: failure.text})

    def enrolled(self, pool: PoolName) -> Refusals:
        """The service has given an enrolment.

        A trial that is under way decides all the same: until it is over, its slot must get no agent.
        """
        known = self.enrolments.get(pool)
        return self._allowed(pool) if known is None or not known.trying else self

    def enrolment_refused(
        self, pool: PoolName, failure: Failure, trial: Trial, now: float
    ) -> Refusals:
        """An enrolment was not given; others of the pool that were under way then do not count again."""
        known = self.enrolments.get(pool)
        if not failure.lasting or (known is not None and failure.text == known.reason):
            return self
        times = known.times if known is not None else 1
        return self._denied(pool, Denied(failure.text, trial, now, times))

    def tried(self, pool: PoolName, failure: Failure | None, now: float) -> Refusals:
        """What came of a trial, ``None``: an enrolment."""
        known = self.enrolments.get(pool)
        if known is None:
            return self
        if failure is None:
            return self._allowed(pool)
        reason = failure.text if failure.lasting else known.reason
        return self._denied(
            pool, replace(known, reason=reason, since=now, times=known.times + 1, trying=False)
        )

    def retry_now(self, pool: PoolName) -> Refusals:
        """Somebody may have put right what it was refused for: try at once."""
        known = self.enrolments.get(pool)
        return self if known is None else self._denied(pool, replace(known, retrying_now=True))

    def forget(self, pool: PoolName) -> Refusals:
        """The pool is configured otherwise now, or no more."""
        lists = {name: why for name, why in self.lists.items() if name != pool}
        return replace(self._allowed(pool), lists=lists)

    def trials(
        self, now: float, wanted: Callable[[PoolName], bool] = lambda _: True
    ) -> tuple[Refusals, tuple[tuple[PoolName, Trial], ...]]:
        """The trials that are due for ``wanted`` pools; each is given once, until its outcome is known."""
        after, due = self, []
        for pool, known in self.enrolments.items():
            if pool not in self.lists and known.due(now) and wanted(pool):
                after = after._denied(pool, replace(known, trying=True, retrying_now=False))
                due.append((pool, known.trial))
        return after, tuple(due)

    def _denied(self, pool: PoolName, denied: Denied) -> Refusals:
        return replace(self, enrolments={**self.enrolments, pool: denied})

    def _allowed(self, pool: PoolName) -> Refusals:
        rest = {name: denied for name, denied in self.enrolments.items() if name != pool}
        return replace(self, enrolments=rest)
