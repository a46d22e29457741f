"""Refusals: the pools whose service refuses us, and when an enrolment is tried again.

What a list was refused for is over with the next list. What an enrolment was refused for is over with an
enrolment that is given: a list tells nothing of that. So one is tried for the whole pool, less and less
often, before any of its slots is filled again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from mayfly.core.memory import Agent
from mayfly.core.model import PoolName
from mayfly.core.slots import within
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.log import Log

TRIAL_FIRST = 30.0  # seconds between a refused enrolment and the first trial
TRIAL_MOST = 300.0


@dataclass(frozen=True, slots=True)
class Trial:
    """An enrolment to be tried for a pool: for that agent, which never gets it, with these labels."""

    agent: Agent
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Denied:
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
        return min(TRIAL_MOST, TRIAL_FIRST * 2.0 ** min(self.times - 1, 8))

    def due(self, now: float) -> bool:
        """Whether it is time for a trial."""
        return not self.trying and (self.retrying_now or not within(now, self.since, self.wait))


class Refusals:
    """Which pools are refused what; used by the loop's thread alone, but for ``by_pool``."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lists: dict[PoolName, str] = {}
        self._enrolments: dict[PoolName, _Denied] = {}
        self._by_pool: Mapping[PoolName, str] = {}

    @property
    def by_pool(self) -> Mapping[PoolName, str]:
        """The pools that are refused, and the sentence that says why; replaced as a whole."""
        return self._by_pool

    def listed(self, pool: PoolName) -> None:
        """The pool's service has said who is there."""
        if self._lists.pop(pool, None) is not None:
            self.retry_now(pool)
        self._tell(pool)

    def list_refused(self, pool: PoolName, fault: Fault) -> bool:
        """The service did not say who is there; whether it is news that it refuses us that."""
        if isinstance(fault, Refused):
            self._lists[pool] = str(fault)
        return self._tell(pool)

    def enrolled(self, pool: PoolName) -> None:
        """The service has given an enrolment.

        A trial that is under way decides all the same: until it is over, its slot must get no agent.
        """
        known = self._enrolments.get(pool)
        if known is None or not known.trying:
            self._enrolments.pop(pool, None)
            self._tell(pool)

    def enrolment_refused(self, pool: PoolName, fault: Fault, trial: Trial, now: float) -> bool:
        """An enrolment was not given; whether it is news that the service refuses it.

        Others of the same pool that were under way at that time do not count again.
        """
        known = self._enrolments.get(pool)
        if isinstance(fault, Refused) and (known is None or str(fault) != known.reason):
            times = known.times if known is not None else 1
            self._enrolments[pool] = _Denied(str(fault), trial, now, times)
        return self._tell(pool)

    def tried(self, pool: PoolName, fault: Fault | None, now: float) -> bool:
        """What came of a trial, ``None``: an enrolment; whether that changes what is known of the pool."""
        known = self._enrolments.get(pool)
        if known is None:
            return False
        if fault is None:
            del self._enrolments[pool]
            self._tell(pool)
            return True
        reason = str(fault) if isinstance(fault, Refused) else known.reason
        self._enrolments[pool] = replace(
            known, reason=reason, since=now, times=known.times + 1, trying=False
        )
        return self._tell(pool)

    def retry_now(self, pool: PoolName) -> None:
        """Somebody may have put right what it was refused for: try at once."""
        known = self._enrolments.get(pool)
        if known is not None:
            self._enrolments[pool] = replace(known, retrying_now=True)

    def forget(self, pool: PoolName) -> None:
        """The pool is configured otherwise now, or no more."""
        self._lists.pop(pool, None)
        self._enrolments.pop(pool, None)
        self._by_pool = {name: why for name, why in self._by_pool.items() if name != pool}

    def trials(
        self, now: float, wanted: Callable[[PoolName], bool] = lambda _: True
    ) -> Iterator[tuple[PoolName, Trial]]:
        """The trials that are due for ``wanted`` pools; each is given once, until its outcome is known."""
        for pool, known in list(self._enrolments.items()):
            if pool not in self._lists and known.due(now) and wanted(pool):
                self._enrolments[pool] = replace(known, trying=True, retrying_now=False)
                yield pool, known.trial

    def _tell(self, pool: PoolName) -> bool:
        """Bring ``by_pool`` up to date and the log too; whether there is a new reason."""
        denied = self._enrolments.get(pool)
        reason = self._lists.get(pool) or (denied.reason if denied is not None else None)
        before = self._by_pool.get(pool)
        if reason == before:
            return False
        others = {name: why for name, why in self._by_pool.items() if name != pool}
        if reason is None:
            self._by_pool = others
            self._log.event("provider.back", pool=pool)
            return False
        self._by_pool = {**others, pool: reason}
        self._log.event("provider.refused", pool=pool, reason=reason)
        return True
