"""The calendar of reserved GPUs: who has which slots from when until when, and what is let into it.

Pure. A reservation is of so many slots of one pool, for a length of time from a moment on. Which slots it
gets is decided when it begins and not before: those that are free then, for a job is never ended for it. So
it may begin late, and then it is as long as was asked for as far as nobody else has reserved what it would
need; it never ends before the moment that the calendar has for it, nor later than the next one lets it.

Pools whose slots have GPUs in common have one calendar: a reservation in one of them counts in the others for
as many slots as it can take from them at the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mayfly.core.command_refusal import Refusal
from mayfly.core.model import JobId, PoolName, SlotName, SlotSpec
from mayfly.core.quantities import rfc3339
from mayfly.core.reserve_rules import ReserveRules

SHORTEST = 60.0  # seconds of a reservation
PAST = 60.0  # seconds that a moment may be over when it is asked for: it took somebody that long
AHEAD = 3600.0  # seconds from when it is made until it begins, where it begins on time and not in its turn
WARNINGS = (30, 15, 5)  # minutes before its end at which its owner is told


@dataclass(frozen=True, slots=True)
class Reservation:
    """That somebody has GPUs of a pool for themselves, or is to have them."""

    id: JobId  # where it is entered by a shell, that of the job of the queue that has them
    pool: PoolName
    uid: int
    owner: str
    gpus: int  # in all
    slots: int  # that those are of
    start: float  # not before then
    seconds: float  # for how long
    made: float
    shell: bool = True  # a job of the queue has them; False: they are used outside of containers
    began: float | None = None  # None: it has not
    until: float | None = None  # when it ends, once it has begun
    taken: tuple[SlotName, ...] = ()  # the slots that it has got
    devices: tuple[str, ...] = ()  # their GPUs, by UUID
    used: float | None = None  # when it was last seen in use; None: not since it began
    idled: bool = False  # its owner was told that nobody uses it
    warned: int | None = None  # minutes before its end that its owner was told of last

    @property
    def ends(self) -> float:
        """When it ends, or is to end, as far as the calendar has promised."""
        return self.start + self.seconds if self.until is None else self.until

    def end(self, now: float) -> float:
        """The same, with the time that it may still get for beginning late."""
        return max(self.start, now) + self.seconds if self.until is None else self.until

    @property
    def booked(self) -> bool:
        """Whether it was made for a time well ahead, so that it is not for those who wait already."""
        return self.start - self.made >= AHEAD

    @property
    def since(self) -> float:
        """When it began, or is to."""
        return self.start if self.began is None else self.began


Reservations = Mapping[JobId, Reservation]


@dataclass(frozen=True, slots=True)
class Rooms:
    """The slots of each pool that has GPUs of this host, and how pools are in each other's way."""

    slots: Mapping[PoolName, int]
    rules: Mapping[PoolName, ReserveRules]
    # of how many slots of the second pool one of the first can have GPUs, at the most
    takes: Mapping[tuple[PoolName, PoolName], int] = field(default_factory=dict)


def rooms(specs: Iterable[SlotSpec], rules: Mapping[PoolName, ReserveRules]) -> Rooms:
    """What there is to reserve. ``rules``: of the pools that let people reserve."""
    leases: dict[PoolName, list[frozenset[str]]] = {}
    for spec in specs:
        if spec.lease:
            leases.setdefault(spec.pool.name, []).append(frozenset(spec.lease))
    takes = {
        (one, other): max(
            sum(1 for lease in leases[other] if not lease.isdisjoint(own)) for own in leases[one]
        )
        for one in leases
        for other in leases
        if one != other
    }
    return Rooms(
        {name: len(own) for name, own in leases.items()},
        rules,
        {pair: count for pair, count in takes.items() if count},
    )


# -- the calendar ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Span:
    """That so many slots are not free from then to then."""

    start: float
    end: float
    slots: int
    own: bool  # of the pool itself


def _spans(room: Rooms, pool: PoolName, known: Iterable[Reservation], now: float) -> list[_Span]:
    """What is reserved of the pool's slots, by it or by a pool that has GPUs in common with it."""
    found = []
    for one in known:
        each = 1 if one.pool == pool else room.takes.get((one.pool, pool), 0)
        if each and one.end(now) > now:
            slots = min(one.slots * each, room.slots.get(pool, 0))
            found.append(_Span(one.since, one.end(now), slots, own=one.pool == pool))
    return found


def _fits(room: Rooms, pool: PoolName, spans: Sequence[_Span], start: float, end: float) -> bool:
    """Whether what is reserved of the pool is there, at every moment from then to then."""
    rules = room.rules.get(pool)
    most = rules.at_once if rules is not None and rules.at_once is not None else room.slots[pool]
    moments = {start, *(one.start for one in spans if start < one.start < end)}
    for moment in moments:
        then = [one for one in spans if one.start <= moment < one.end]
        if sum(one.slots for one in then) > room.slots[pool]:
            return False
        if sum(one.slots for one in then if one.own) > most:
            return False
    return True


def _has_room(
    room: Rooms, wanted: Reservation, known: Sequence[Reservation], end: float, now: float
) -> bool:
    """Whether the calendar has room for it until then, in its pool and in all that it takes GPUs from."""
    start = max(wanted.since, now) if wanted.began is None else now
    pools = {wanted.pool, *(other for one, other in room.takes if one == wanted.pool)}
    for pool in pools:
        if pool != wanted.pool and not any(one.pool == pool for one in known):
            continue
        each = 1 if pool == wanted.pool else room.takes[wanted.pool, pool]
        slots = min(wanted.slots * each, room.slots[pool])
        own = _Span(start, end, slots, own=pool == wanted.pool)
        spans = [*_spans(room, pool, known, now), own]
        if not _fits(room, pool, spans, start, end):
            return False
    return True


def last_end(
    room: Rooms, one: Reservation, known: Iterable[Reservation], end: float, now: float
) -> float:
    """The last moment not after ``end`` until which there is room for it, from now on."""
    others = [other for other in known if other.id != one.id]
    limits = sorted({end, *(other.since for other in others if now < other.since < end)})
    for limit in reversed(limits):
        if _has_room(room, one, others, limit, now):
            return limit
    return now


def first_start(
    room: Rooms, wanted: Reservation, known: Sequence[Reservation], now: float
) -> float | None:
    """The first moment from its own on at which it would have room; ``None``: at none."""
    moments = sorted({wanted.start, *(one.end(now) for one in known)})
    for start in moments:
        if start < wanted.start:
            continue
        if _has_room(room, replace(wanted, start=start), known, start + wanted.seconds, now):
            return start
    return None


# -- what is let in --------------------------------------------------------------------------------


def clock(at: float) -> str:
    """A moment for people: in UTC, to the minute."""
    day, _, rest = rfc3339(at).partition("T")
    return f"{day} {rest[:5]} UTC"


def refused(
    wanted: Reservation, room: Rooms, known: Sequence[Reservation], now: float
) -> Refusal | None:
    """Why it is not let into the calendar; ``None``: it is."""
    rules = room.rules[wanted.pool]
    if wanted.seconds < SHORTEST:
        return Refusal(400, "bad_request", "a reservation is for a minute at least")
    if (long := too_long(rules, wanted.pool, wanted.seconds)) is not None:
        return long
    if wanted.start < now - PAST:
        return Refusal(400, "bad_request", f"{clock(wanted.start)} is over: it is {clock(now)}")
    if wanted.start > now + rules.ahead:
        sentence = (
            f"pool {wanted.pool} is reserved {_hours(rules.ahead)} ahead at the most (reserve.ahead), and "
            f"{clock(wanted.start)} is later"
        )
        return Refusal(409, "refused", sentence)
    own = [one for one in known if one.pool == wanted.pool and one.uid == wanted.uid]
    if len(own) >= rules.per_person:
        which = ", ".join(one.id for one in own)
        sentence = (
            f"{wanted.owner} has {len(own)} reservations in pool {wanted.pool} already ({which}), and a "
            f"person may have {rules.per_person} (reserve.per_person): `mayfly release ID` gives one back"
        )
        return Refusal(409, "refused", sentence)
    most = min(room.slots[wanted.pool], rules.at_once or room.slots[wanted.pool])
    if wanted.slots > most:
        sentence = (
            f"{wanted.gpus} GPUs are {wanted.slots} slots of pool {wanted.pool}, and {most} may be reserved "
            "at once"
        )
        return Refusal(409, "refused", sentence)
    if not _has_room(room, wanted, known, wanted.start + wanted.seconds, now):
        first = first_start(room, wanted, known, now)
        instead = (
            f": the first time that fits begins at {clock(first)}" if first is not None else ""
        )
        sentence = (
            f"pool {wanted.pool} is reserved by others from {clock(wanted.start)} on or before "
            f"{clock(wanted.start + wanted.seconds)}{instead}; see `mayfly reservations`"
        )
        return Refusal(409, "refused", sentence)
    return None


def too_long(rules: ReserveRules, pool: PoolName, seconds: float) -> Refusal | None:
    """Why a reservation is not for so long; ``None``: it may be."""
    if seconds <= rules.longest:
        return None
    sentence = (
        f"a reservation in pool {pool} is for {_hours(rules.longest)} at the most (reserve.longest)"
    )
    return Refusal(409, "refused", sentence)


def _hours(seconds: float) -> str:
    if seconds >= 2 * 86400 and seconds % 86400 == 0:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / 3600:g} h"


# -- its end ---------------------------------------------------------------------------------------


def due_warning(one: Reservation, now: float) -> int | None:
    """The minutes before its end that its owner is to be told of now; ``None``: none, or it is known."""
    if one.until is None or one.began is None:
        return None
    left = one.until - now
    length = one.until - one.began
    passed = [minutes for minutes in WARNINGS if left <= minutes * 60.0 < length]
    if not passed:
        return None
    nearest = min(passed)
    return nearest if one.warned is None or nearest < one.warned else None


def next_warning(one: Reservation, now: float) -> float | None:
    """When that will be."""
    if one.until is None or one.began is None:
        return None
    length = one.until - one.began
    dues = [one.until - minutes * 60.0 for minutes in WARNINGS if minutes * 60.0 < length]
    return min((due for due in dues if due > now), default=None)


# -- whose GPUs are whose ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reserved:
    """Whose GPUs are whose now."""

    held: Mapping[str, Reservation] = field(default_factory=dict)  # by UUID, of those that began
    kept: Mapping[str, Reservation] = field(default_factory=dict)  # of those that are to begin

    def bars(self, slot: SlotName, lease: Iterable[str], *, begun: bool = False) -> bool:
        """Whether the gate of an agent with those GPUs stays shut. ``begun``: its service has given it a job
        already.
        """
        if not self.held and not self.kept:
            return False
        for uuid in lease:
            one = self.held.get(uuid)
            if one is not None and not (one.shell and slot in one.taken):
                return True
            if one is None and uuid in self.kept and not begun:
                return True
        return False

    def owner_of(self, spec: SlotSpec) -> Reservation | None:
        """Whose reservation has the slot, which its job is to have; ``None``: nobody's."""
        if not self.held:
            return None
        found = (self.held.get(uuid) for uuid in spec.lease)
        return next((one for one in found if one is not None and spec.name in one.taken), None)


NOTHING_RESERVED = Reserved()
