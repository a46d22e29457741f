"""A plan, what rules see while it is made, and what a rule answers.

A rule changes nothing: it gets a ``View`` and returns a ``Verdict``. One place takes verdicts in:
``core/decide.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from mayfly.core.actions import Action, Subject
from mayfly.core.bench_lane import EMPTY_LANE, Lane
from mayfly.core.facts import Fact
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Container,
    ContainerId,
    Desired,
    DoomReason,
    Generation,
    PoolName,
    World,
)
from mayfly.core.reservations import NOTHING_RESERVED, Reserved
from mayfly.core.turns import NO_TURN, Turns
from mayfly.core.unseen_ends import UnseenEnd


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be recorded, what is to be done, and when to look again at the latest."""

    facts: tuple[Fact, ...] = ()
    actions: tuple[Action, ...] = ()
    wake: float | None = None  # None: nothing is due
    look_at_mounts: bool = False  # before a gate that is about to be opened
    turns: Turns | None = None  # whose turn it is; None: that was not asked

    @property
    def empty(self) -> bool:
        """Whether there is nothing to record or do."""
        return not self.facts and not self.actions


NOTHING_WRITTEN: Mapping[Generation, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class View:
    """What every rule may look at; the same for all slots of one plan."""

    desired: Desired
    world: World
    memory: Memory
    now: float
    run_id: str
    in_flight: AbstractSet[str]
    containers: Mapping[Generation, Container]
    names: AbstractSet[str]  # of all containers
    sharing: AbstractSet[PoolName]  # pools whose slots may have GPUs in common
    down: AbstractSet[PoolName] = frozenset()  # pools whose service is asked for nothing now
    # agents that are replaced now since their client has not come back to their service
    cut_off: AbstractSet[Generation] = frozenset()
    sandboxes: AbstractSet[ContainerId] = frozenset()  # holders that agents may be in
    lightened: AbstractSet[Generation] = frozenset()  # agents that yield to those that begin
    surplus: AbstractSet[Generation] = frozenset()  # agents that their service has no job for
    # When gates that are not known to be open were written; infinite while that is under way.
    written: Mapping[Generation, float] = field(default_factory=lambda: NOTHING_WRITTEN)
    unseen: tuple[UnseenEnd, ...] = ()  # whose GPUs another slot may have been given
    turns: Turns = NO_TURN  # of slots whose GPUs others may have, too
    lane: Lane = EMPTY_LANE  # whose clocks are locked, and who has the host to itself
    enrolling: AbstractSet[Generation] = frozenset()  # whom their service is giving a job
    reserved: Reserved = NOTHING_RESERVED  # GPUs that people have for themselves, or are to have

    def free(self, subject: str) -> bool:
        """Whether an action may be begun for the subject: none is under way, and none has just failed."""
        return subject not in self.in_flight

    def asks(self, pool: PoolName, subject: str) -> bool:
        """Whether the pool's service may be asked for something that concerns the subject."""
        return pool not in self.down and self.free(subject)


@dataclass(frozen=True, slots=True)
class Stay:
    """Nothing is to be done about it before ``until``; ``None``: until something happens."""

    until: float | None = None
    look_at_mounts: bool = False  # what its pool mounts is to be looked at first


@dataclass(frozen=True, slots=True)
class Doom:
    """The agent is to be ended, from the next pass on."""

    reason: DoomReason
    detail: str = ""
    by: str | None = None  # None: Mayfly itself


@dataclass(frozen=True, slots=True)
class Act:
    """Something is to be done, once the facts are on disk; and looked at again at ``until`` in any case."""

    actions: tuple[Action, ...]
    facts: tuple[Fact, ...] = ()
    until: float | None = None


Verdict: TypeAlias = Stay | Doom | Act
STAY = Stay()


def subjects(verdicts: Iterable[Verdict]) -> frozenset[Subject]:
    """Whom something is to be done about."""
    acts = (verdict for verdict in verdicts if isinstance(verdict, Act))
    return frozenset(action.subject for act in acts for action in act.actions)
