"""Contact with the services: when each is asked who is there, what it fails to do, when it is asked again.

A service that does not say who is there is down, or refuses us: until it says so again nothing else is asked
of it, for no agent, so that its trouble costs one call at a time however many slots the pool has. Where it
fails at one kind of call only, each agent's call of that kind rests on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mayfly.core.actions import AcquireJobs, Dismiss, Enrol, SetSchedulable
from mayfly.core.model import PoolName
from mayfly.core.stimuli import Failure

SOON = 2.0  # seconds between two lists while an agent is awaited
PATIENT = 0.1  # of how long the last one has been awaited: then they are as far apart as that
SELDOM = 30.0  # seconds between two lists while an agent is awaited, however long
BLIP = 5.0  # seconds until what failed for the first time is tried again
CALL_REST = 30.0  # seconds that an agent's call rests once that kind of call fails again and again
# Between two lists of a service that is down: with the two that find it out, at most one call in 30 s.
LIST_REST = 35.0
GRACE = 10.0  # seconds of failing after which it is a condition: less may be over before anybody has read it
SLOW = 20.0  # seconds without an answer after which that is a condition
# Of a list, or of the question whether it answers: with the pause before it, told within half a minute. A
# list of many calls, which is had less often, may take longer.
SLOW_LIST = 10.0
# so many times as long as that at the most from one list to the next of a few calls
LONG_LIST = 6.0
KNOCK = 18.0  # seconds since it was asked last after which a service is asked whether it answers
FRESH = 8.0  # seconds for which its answer is news enough to begin a long list
FORGOTTEN = 900.0  # seconds after which an answer is not waited for any more
STALE = 90.0  # seconds without a new try after which a kind of call no longer counts as failing


class CallKind(StrEnum):
    """What a service is asked for."""

    LIST = "list"
    ENROL = "enrol"
    DISMISS = "dismiss"
    CORDON = "cordon"
    ACQUIRE = "acquire"


# What calls a service for one agent, or for some of a pool.
ServiceAction = Enrol | Dismiss | SetSchedulable | AcquireJobs


def call_kind(action: ServiceAction) -> CallKind:
    """The kind of call that the action makes."""
    match action:
        case Enrol():
            return CallKind.ENROL
        case Dismiss():
            return CallKind.DISMISS
        case SetSchedulable():
            return CallKind.CORDON
        case AcquireJobs():
            return CallKind.ACQUIRE


@dataclass(frozen=True, slots=True)
class Failing:
    """A kind of call that fails."""

    since: float
    last: float
    failure: Failure
    unanswered: bool = False  # an answer was waited for in vain, this time or before


@dataclass(frozen=True, slots=True)
class Return:
    """That a service says again who is there."""

    at: float
    since: float  # when it had begun to fail
    unanswered: bool  # some of the time it did not answer at all


@dataclass(frozen=True, slots=True)
class Contact:
    """One pool's service."""

    due: float  # when it is asked next who is there
    # seconds between two such questions at rest, as it wants it; 0: not known
    interval: float = 0.0
    asked: float | None = None  # since when the answer is awaited; None: it is not
    began: float = 0.0  # when it was asked last who is there
    knocked: float = 0.0  # when it was asked last whether it answers
    waits: float | None = None  # since when no call for an agent is answered; None: there is none
    failing: Mapping[CallKind, Failing] = field(default_factory=dict)
    back: Return | None = None  # None: it was never away

    @property
    def down(self) -> bool:
        """Whether it does not say who is there."""
        return CallKind.LIST in self.failing

    @property
    def slow_list(self) -> float:
        """Seconds without a list after which that is a condition."""
        return min(SLOW, max(SLOW_LIST, self.interval / LONG_LIST))

    @property
    def slow(self) -> float:
        """The same of what it was asked last."""
        return SLOW_LIST if self.knocked > self.began else self.slow_list

    @property
    def knock(self) -> float | None:
        """When it is to be asked whether it answers; ``None``: it is asked something, or known to be away."""
        if self.down or self.asked is not None:
            return None
        last = max(self.began, self.knocked)
        # A list that may take long is not begun before that is known.
        first = max(self.due, last + FRESH) if self.slow_list > SLOW_LIST else last + KNOCK
        return min(last + KNOCK, first)

    def next(self, now: float) -> float:
        """When something is to be asked or told next."""
        if self.asked is not None:
            told = self.asked + self.slow
            return told if told > now else self.asked + FORGOTTEN
        dues = [self.due, self.knock]
        dues += [one.since + GRACE for one in self.failing.values() if one.since + GRACE > now]
        if self.waits is not None and self.waits + SLOW > now:
            dues.append(self.waits + SLOW)
        return min(due for due in dues if due is not None)

    def failed(self, kind: CallKind, failure: Failure, since: float, now: float) -> Contact:
        """A call of that kind failed."""
        known = self.failing.get(kind)
        first, unanswered = since, failure.unanswered
        if known is not None and now - known.last < STALE:
            first, unanswered = known.since, unanswered or known.unanswered
        one = Failing(first, now, failure, unanswered)
        return replace(self, failing={**self.failing, kind: one})

    def succeeded(self, kind: CallKind) -> Contact:
        """A call of that kind succeeded."""
        rest = {name: one for name, one in self.failing.items() if name is not kind}
        return replace(self, failing=rest) if kind in self.failing else self


@dataclass(frozen=True, slots=True)
class Contacts:
    """The services of all pools that have one; never changed in place."""

    pools: Mapping[PoolName, Contact] = field(default_factory=dict)

    @property
    def down(self) -> frozenset[PoolName]:
        """The pools whose service does not say who is there: nothing else is asked of it."""
        return frozenset(name for name, contact in self.pools.items() if contact.down)

    def next(self, now: float) -> float | None:
        """When a service is to be asked or something of it told next; ``None``: there is none."""
        return min((contact.next(now) for contact in self.pools.values()), default=None)

    def use(
        self, services: Iterable[PoolName], changed: Iterable[PoolName], now: float
    ) -> Contacts:
        """These pools have a service; of those that are new or ``changed`` nothing is known."""
        unknown, fresh = set(changed), Contact(now)
        return Contacts(
            {name: fresh if name in unknown else self.pools.get(name, fresh) for name in services}
        )

    def _with(self, pool: PoolName, contact: Contact) -> Contacts:
        return Contacts({**self.pools, pool: contact})

    # -- who is there --

    def awaited(self, pool: PoolName, now: float, since: float | None = None) -> Contacts:
        """Somebody is awaited: ask soon, unless the service is down.

        ``since``: when the last of them came; less and less often then.
        """
        contact = self.pools.get(pool)
        if contact is None or contact.down:
            return self
        waited = now - since if since is not None else 0.0
        pause = min(SELDOM, max(SOON, waited * PATIENT))
        due = min(contact.due, max(now, contact.began + pause))
        return self._with(pool, replace(contact, due=due)) if due < contact.due else self

    def at_once(self, pool: PoolName, now: float) -> Contacts:
        """A person may have put right what was wrong."""
        contact = self.pools.get(pool)
        return self if contact is None else self._with(pool, replace(contact, due=now))

    def ask(self, now: float) -> tuple[Contacts, tuple[PoolName, ...], tuple[PoolName, ...]]:
        """After asking the services for which it is time; the pools that are asked who is there, and those
        that are asked whether they answer.
        """
        knocked = tuple(
            name
            for name, contact in self.pools.items()
            if contact.knock is not None and now >= contact.knock
            if now < contact.due or contact.slow_list > SLOW_LIST
        )
        due = tuple(
            name
            for name, contact in self.pools.items()
            if now >= (contact.due if contact.asked is None else contact.asked + FORGOTTEN)
            if name not in knocked
        )
        if not due and not knocked:
            return self, (), ()
        asked = {name: replace(self.pools[name], asked=now, began=now) for name in due}
        asked |= {name: replace(self.pools[name], asked=now, knocked=now) for name in knocked}
        return Contacts({**self.pools, **asked}), due, knocked

    def answered(self, pool: PoolName) -> Contacts:
        """The service has answered, and not said who is there."""
        contact = self.pools.get(pool)
        return self if contact is None else self._with(pool, replace(contact, asked=None))

    def listed(self, pool: PoolName, interval: float, now: float) -> Contacts:
        """The service said who is there; it is asked again after ``interval`` seconds."""
        contact = self.pools.get(pool)
        if contact is None:
            return self
        away = contact.failing.get(CallKind.LIST)
        if away is not None:
            contact = replace(contact, back=Return(now, away.since, away.unanswered))
        contact = replace(
            contact.succeeded(CallKind.LIST), asked=None, due=now + interval, interval=interval
        )
        return self._with(pool, contact)

    def list_failed(self, pool: PoolName, failure: Failure, now: float) -> Contacts:
        """The service did not say who is there. Once it may be a blip, unless another call has failed too."""
        contact = self.pools.get(pool)
        if contact is None:
            return self
        rest = LIST_REST if contact.failing or failure.lasting else BLIP
        asked = contact.asked if contact.asked is not None else now
        since = _since(contact.asked, contact.slow, now)
        contact = contact.failed(CallKind.LIST, failure, since, now)
        # From one call to the next: one that took long to fail has rested meanwhile.
        due = max(now + BLIP, asked + rest, now + (failure.retry_after or 0.0))
        return self._with(pool, replace(contact, asked=None, due=due))

    # -- other calls --

    def call_failed(
        self, pool: PoolName, kind: CallKind, failure: Failure, now: float
    ) -> tuple[Contacts, float]:
        """After a call for an agent failed, and how many seconds that agent's next call of the kind rests.

        The list then tells whether the service fails at all, or at that kind of call.
        """
        contact = self.pools.get(pool)
        asked = failure.retry_after or 0.0
        if contact is None:
            return self, max(CALL_REST, asked)
        known = contact.failing.get(kind)
        again = known is not None and now - known.since >= BLIP / 2 and now - known.last < STALE
        contact = contact.failed(kind, failure, _since(contact.waits, SLOW, now), now)
        after = self._with(pool, replace(contact, waits=None))
        rest = CALL_REST if again or contact.down or failure.lasting else BLIP
        return after if failure.lasting else after.awaited(pool, now), max(rest, asked)

    def call_done(self, pool: PoolName, kind: CallKind) -> Contacts:
        """The service did what it was asked for."""
        contact = self.pools.get(pool)
        if contact is None or (kind not in contact.failing and contact.waits is None):
            return self
        return self._with(pool, replace(contact.succeeded(kind), waits=None))

    def calling(self, pools: AbstractSet[PoolName], now: float) -> Contacts:
        """Those pools have calls for agents under way, and no other has."""
        changed = {
            name: replace(contact, waits=now if name in pools else None)
            for name, contact in self.pools.items()
            if (contact.waits is not None) != (name in pools)
        }
        return Contacts({**self.pools, **changed}) if changed else self

    def shifted(self, by: float, now: float) -> Contacts:
        """The wall clock has jumped: times move with it, and each service is asked anew."""
        return Contacts(
            {
                name: replace(
                    contact,
                    due=now,
                    asked=contact.asked + by if contact.asked is not None else None,
                    began=contact.began + by,
                    knocked=contact.knocked + by,
                    waits=contact.waits + by if contact.waits is not None else None,
                    failing={
                        kind: replace(one, since=one.since + by, last=one.last + by)
                        for kind, one in contact.failing.items()
                    },
                    back=replace(back, at=back.at + by, since=back.since + by)
                    if (back := contact.back) is not None
                    else None,
                )
                for name, contact in self.pools.items()
            }
        )


def trouble(contact: Contact, now: float) -> Failing | None:
    """What the service fails to do for long enough to be told; ``None``: nothing."""
    told = [
        one
        for kind, one in contact.failing.items()
        if one.failure.lasting or now - one.since >= GRACE
        if kind is CallKind.LIST or now - one.last < STALE + (one.failure.retry_after or 0.0)
    ]
    return told[0] if told else None


def awaited_since(contact: Contact, now: float) -> float | None:
    """Since when the service is slow to answer; ``None``: it is not."""
    asked = [
        at
        for at, slow in ((contact.asked, contact.slow), (contact.waits, SLOW))
        if at is not None and slow <= now - at < FORGOTTEN
    ]
    return min(asked, default=None)


def _since(asked: float | None, slow: float, now: float) -> float:
    """Since when that fails which was asked then: what took long to fail has failed all the while."""
    return asked if asked is not None and now - asked >= slow else now
