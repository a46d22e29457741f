"""A thousand days of the calendar: people reserve, jobs come and go, managers are away; nothing overlaps.

Here the rules of reservations stand alone, on agents as they are remembered: days cost little. The whole
machine has its days in ``test_reservations.py``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from random import Random

import pytest

from mayfly.core.apply import apply
from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import Caller, ReserveGpus
from mayfly.core.facts import (
    AgentCreated,
    AgentDoomed,
    AgentExited,
    AgentOpened,
    AgentRemoved,
    Fact,
    GateOpening,
    ReservationBegan,
    ReservationEnded,
    ReservationExtended,
    ReservationMade,
)
from mayfly.core.leases import Gpu, assign
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Config,
    Container,
    Desired,
    Generation,
    HostSpec,
    JobId,
    PoolSpec,
    SlotName,
    SlotSpec,
    World,
)
from mayfly.core.opening import leased
from mayfly.core.plan import View
from mayfly.core.queue import Queue
from mayfly.core.reserve_asking import longer, wish
from mayfly.core.reserving import OVER, arranged, ended, rooms_of, tended
from mayfly.core.slots import tenancies
from tests.core.reserved_days import reservable, whole
from tests.core.simulator import START, desire, specs
from tests.core.turn_days import DAY, HOUR, turning

GPUS = tuple(Gpu(f"GPU-{index}", index) for index in range(7))
POOLS = (
    reservable(whole("a", 3), idle=0.0),
    reservable(turning("n", 4, 1), per_person=3, at_once=3, clear=900.0, idle=2 * HOUR),
    reservable(turning("w", 1, 4), idle=0.0),
)
PEOPLE = 6
NOBODY: dict[Generation, Container] = {}


@dataclass
class Calendar:
    """Slots whose jobs last some hours, and people who reserve them; all reservations are of GPUs alone."""

    random: Random
    pools: tuple[PoolSpec, ...] = POOLS
    memory: Memory = field(default_factory=Memory)
    now: float = START
    wake: float = inf  # when the rules want to be asked again
    away: float = START  # until when no manager runs
    ends: dict[Generation, float] = field(default_factory=dict)  # of jobs
    numbers: count[int] = field(default_factory=count)
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        leases = assign(self.pools, GPUS)
        groups = [
            specs(
                one,
                leases=tuple(leases.slots[SlotName(f"{one.name}-{at}")] for at in range(one.slots)),
            )
            for one in self.pools
        ]
        self.desired: Desired = desire(*groups)
        self.config = Config(HostSpec("host"), self.pools)

    def view(self) -> View:
        return View(
            desired=self.desired,
            world=World({}),
            memory=self.memory,
            now=self.now,
            run_id="run",
            in_flight=frozenset(),
            containers=NOBODY,
            names=frozenset(),
            sharing=frozenset(),
        )

    def record(self, *facts: Fact) -> None:
        for fact in facts:
            self.see(fact)
            self.memory = apply(self.memory, [fact])

    def see(self, fact: Fact) -> None:
        """The laws that can be seen on what happens."""
        known = self.memory.reservations
        if isinstance(fact, ReservationBegan):
            one = known[fact.reservation]
            assert one.start <= fact.at
            assert fact.until >= one.ends, "one is to end before what was promised"
            for agent in self.memory.agents.values():
                assert not set(agent.lease) & set(fact.devices), "it begins where a job runs"
            for other in known.values():
                assert not set(other.devices) & set(fact.devices), "two have one GPU"
            self.told["began"] += 1
            self.told["late"] += fact.at > one.start + 60.0
        elif isinstance(fact, ReservationEnded):
            one = known[fact.reservation]
            self.told[fact.reason if one.began is not None else "in vain"] += 1
            if fact.reason == OVER:
                assert one.until is not None
                assert one.until <= fact.at
                assert fact.at <= max(one.until, self.away) + 1.0, "one goes on after its end"
        elif isinstance(fact, GateOpening):
            lease = set(self.memory.agents[fact.generation].lease)
            for other in known.values():
                assert not lease & set(other.devices), "a gate opens on a reserved GPU"
        assert not isinstance(fact, AgentDoomed), "a job is ended for a reservation"

    def passes(self, seconds: float) -> None:
        """What happens in that time, event by event."""
        end = self.now + seconds
        while self.now < end:
            later = self.now + self.random.expovariate(1 / 900.0)
            self.now = max(self.now, min(later, self.wake))
            for generation in [name for name, at in self.ends.items() if at <= self.now]:
                self.record(
                    AgentExited(self.now, generation, "succeeded", None, 0, None),
                    AgentRemoved(self.now, generation),
                )
                del self.ends[generation]
            if self.now < self.away:
                self.wake = self.away
                continue
            if self.random.random() < 0.01:
                self.away = self.wake = self.now + self.random.uniform(600.0, 6 * HOUR)
                continue
            self.ask()
            self.settle()
            self.open()
            self.promised()

    def settle(self) -> None:
        for _ in range(12):
            timed, due = tended(self.memory, self.desired, (), self.now, DAY)
            self.record(*timed)
            view = self.view()
            busy = leased(self.memory, view.world, NOBODY)
            self.reserved, facts, soon = arranged(
                view,
                busy,
                tenancies(self.memory.agents.values()),
                DAY,
                Queue(self.memory, self.now),
            )
            self.record(*facts)
            if not timed and not facts:
                self.wake = min((at for at in (due, soon) if at is not None), default=inf)
                return
        raise AssertionError("no end")

    def open(self) -> None:
        """Jobs begin where nothing speaks against it."""
        at_work = {uuid for agent in self.memory.agents.values() for uuid in agent.lease}
        for spec in self.random.sample(self.desired.slots, len(self.desired.slots)):
            if not at_work.isdisjoint(spec.lease) or self.random.random() < 0.6:
                continue
            if self.reserved.bars(spec.name, spec.lease):
                continue
            at_work.update(spec.lease)
            self.begin(spec)

    def begin(self, spec: SlotSpec) -> None:
        number = next(self.numbers)
        name = Generation(f"g{number:012d}")
        agent = Agent(
            *(name, spec.name, spec.pool.name, number, "f", "image", spec.lease, self.now)
        )
        self.record(
            AgentCreated(self.now, agent, "a job"),
            GateOpening(self.now, name, "run", None),
            AgentOpened(self.now, name),
        )
        self.ends[name] = self.now + self.random.uniform(60.0, 6 * HOUR)
        self.told["jobs"] += 1

    def ask(self) -> None:
        draw = self.random
        known = list(self.memory.reservations.values())
        if known and draw.random() < 0.05:
            one = draw.choice(known)
            facts = ended(self.memory, one, "it was given back", one.owner, self.now, DAY)
            self.record(*facts)
        elif known and draw.random() < 0.1:
            one = draw.choice(known)
            until = longer(
                one, draw.uniform(600.0, 2 * HOUR), self.desired, self.memory, self.now, None
            )
            self.told["not extended" if isinstance(until, Refusal) else "extended"] += 1
            if not isinstance(until, Refusal):
                self.record(ReservationExtended(self.now, one.id, until, one.owner))
        if draw.random() < 0.4:
            self.reserve()

    def reserve(self) -> None:
        draw = self.random
        of = draw.choice(self.pools)
        each = next(len(spec.lease) for spec in self.desired.slots if spec.pool == of)
        uid, number = draw.randrange(PEOPLE), next(self.numbers)
        command = ReserveGpus(
            Caller(1, uid, uid, f"user{uid}", operator=False),
            each * draw.choice((1, 1, 2)),
            draw.choice((600.0, HOUR, 2 * HOUR, 5 * HOUR)),
            self.now + draw.uniform(0, 24 * HOUR) if draw.random() < 0.6 else None,
            of.name,
            shell=False,
        )
        new = JobId(f"r{number}")
        found = wish(command, self.config, self.desired, self.memory, self.now, new=new)
        self.told["refused" if isinstance(found, Refusal) else "made"] += 1
        if not isinstance(found, Refusal):
            self.record(ReservationMade(self.now, found.reservation))

    def promised(self) -> None:
        """Nobody was promised what is not there, at any moment from now on, nor has more than they may."""
        room = rooms_of(self.desired)
        known = list(self.memory.reservations.values())
        for moment in {self.now, *(one.since for one in known if one.since > self.now)}:
            then = [one for one in known if one.since <= moment < one.ends]
            for name, there in room.slots.items():
                if not any(one.pool == name for one in then):
                    continue
                taken = sum(
                    min(
                        there,
                        one.slots
                        * (1 if one.pool == name else room.takes.get((one.pool, name), 0)),
                    )
                    for one in then
                )
                assert taken <= there, f"{taken} of {there} slots of {name} are promised"
        for (name, _), count_ in Counter((one.pool, one.uid) for one in known).items():
            rules = room.rules[name]
            assert count_ <= rules.per_person


def test_nothing_overlaps_in_ten_days_of_the_calendar() -> None:
    days = Calendar(Random(1))
    days.passes(10 * DAY)
    assert days.told["began"] > 20
    assert days.told["jobs"] > 50


def test_a_gate_that_opens_on_a_reserved_gpu_would_be_seen() -> None:
    days = Calendar(Random(1))
    days.reserved = replace(days.view().reserved)
    while not any(one.began for one in days.memory.reservations.values()):
        days.passes(HOUR)
    one = next(one for one in days.memory.reservations.values() if one.began)
    (spec, *_) = (spec for spec in days.desired.slots if spec.name in one.taken)
    with pytest.raises(AssertionError, match="a gate opens on a reserved GPU"):
        days.begin(spec)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_nothing_overlaps_in_a_thousand_days_of_the_calendar() -> None:
    days = Calendar(Random(2))
    days.passes(1000 * DAY)
    print(days.told)
    assert days.told["began"] > 5_000
