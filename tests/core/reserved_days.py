"""Days of a box whose GPUs people reserve while CI goes on; their laws are looked at after every event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import Caller, ReserveGpus
from mayfly.core.facts import (
    Fact,
    GateOpening,
    JobCancelling,
    JobSubmitted,
    ReservationBegan,
    ReservationEnded,
    ReservationExtended,
    ReservationMade,
)
from mayfly.core.leases import Gpu
from mayfly.core.model import JobId, PoolSpec
from mayfly.core.reservations import Reservation
from mayfly.core.reserve_asking import longer, wish
from mayfly.core.reserve_rules import ReserveRules
from mayfly.core.reserving import OVER, ended, rooms_of
from tests.core.simulated_nvml import GpuHost, Nvml
from tests.core.simulator import Box, Fault, pool
from tests.core.turn_days import BOX, DAY, HOUR, Days, TurnManager, wanted

HALF_LIFE = DAY
SLACK = 1.0  # seconds


@dataclass
class ReservedManager(TurnManager):
    """A manager whose people reserve GPUs."""

    made: int = 0
    over: Counter[str] = field(default_factory=Counter)  # reservations, by why they ended
    had: dict[JobId, Reservation] = field(default_factory=dict)  # those that began, as they were

    def _write(self, facts: Iterable[Fact]) -> None:
        happened = tuple(facts)
        for fact in happened:
            known = self.memory.reservations
            match fact:
                case ReservationBegan(reservation=name, devices=devices, until=until):
                    one = known[name]
                    assert one.began is None, "one begins twice"
                    assert fact.at >= one.start, "one begins before its time"
                    assert until >= one.start + one.seconds, "one ends before what was promised"
                    for box in self.host.boxes.values():
                        assert not (box.running and set(box.lease) & set(devices)), (
                            "one begins where a job runs"
                        )
                    for other in known.values():
                        assert not set(other.devices) & set(devices), "two have one GPU"
                    self.had[name] = one
                case ReservationEnded(reservation=name, reason=reason):
                    one = known[name]
                    self.over["in vain" if one.began is None else reason] += 1
                    if reason == OVER:
                        assert one.until is not None
                        assert one.until <= fact.at, "one ends before its time"
                case GateOpening(generation=generation, job=job):
                    lease = set(self.memory.agents[generation].lease)
                    for other in known.values():
                        if lease & set(other.devices):
                            assert job == other.id, "a gate opens on a reserved GPU"
                case JobCancelling(job=job, by="its reservation's end"):
                    assert job in self.had, "a job is ended for a reservation"
                case _:
                    pass
            super()._write([fact])

    def reserves(
        self,
        to: str | None,
        uid: int,
        seconds: float,
        *,
        gpus: int = 1,
        start: float | None = None,
        shell: bool = True,
        image: str | None = None,
    ) -> JobId | Refusal:
        """Somebody asks for GPUs."""
        self.made += 1
        new = JobId(f"mine{self.made}")
        by = Caller(1, uid, uid, f"user{uid}", operator=False)
        command = ReserveGpus(by, gpus, seconds, start, to, shell=shell, image=image)
        found = wish(command, self.config(), self.desired, self.drafted, self.now, new=new)
        if isinstance(found, Refusal):
            return found
        facts: list[Fact] = [ReservationMade(self.now, found.reservation)]
        if found.job is not None:
            facts.append(JobSubmitted(self.now, found.job.job))
            self.host.asked[new], self.host.again[new] = image, 0
        self.record(facts)
        return new

    def gives_back(self, name: JobId) -> None:
        known = self.drafted.reservations.get(name)
        if known is not None:
            by = known.owner
            why = "it was given back"
            self.record(ended(self.drafted, known, why, by, self.now, HALF_LIFE, self.pools))

    def extends(self, name: JobId, seconds: float) -> float | Refusal | None:
        known = self.drafted.reservations.get(name)
        if known is None:
            return None
        until = longer(known, seconds, self.desired, self.drafted, self.now, None)
        if not isinstance(until, Refusal):
            self.record([ReservationExtended(self.now, name, until, known.owner)])
        return until

    def laws(self) -> None:
        """What holds at every moment."""
        active = [one for one in self.memory.reservations.values() if one.began is not None]
        owners = [uuid for one in active for uuid in one.devices]
        assert len(owners) == len(set(owners)), "two have one GPU"
        for one in active:
            assert one.until is not None
            assert self.now < one.until + SLACK, "one goes on after its end"
            for box in self.host.boxes.values():
                if box.running and set(box.lease) & set(one.devices):
                    assert box.job == one.id, "a job runs on a reserved GPU"
        rules = {of.name: of.reserve for of in self.pools if of.reserve is not None}
        people = Counter((one.pool, one.uid) for one in self.memory.reservations.values())
        for (name, uid), count in people.items():
            assert count <= rules[name].per_person, f"user{uid} has {count} in {name}"
        self._promised()

    def _promised(self) -> None:
        """The calendar has promised nobody what is not there."""
        room = rooms_of(self.desired)
        known = list(self.memory.reservations.values())
        for moment in {self.now, *(one.since for one in known)}:
            then = [one for one in known if one.since <= moment < one.ends]
            for name, there in room.slots.items():
                taken = sum(
                    one.slots * (1 if one.pool == name else room.takes.get((one.pool, name), 0))
                    for one in then
                )
                if any(one.pool == name for one in then):
                    assert taken <= there or len(then) == 1, f"{taken} of {there} slots of {name}"


def reservable(of: PoolSpec, **rules: object) -> PoolSpec:
    """The pool, of which people may reserve."""
    return replace(of, reserve=ReserveRules(**rules))  # type: ignore[arg-type]


def whole(name: str, slots: int, gpus: int = 1) -> PoolSpec:
    """A pool that shares its GPUs with no other."""
    return replace(pool(name, slots), gpus=gpus)


def reserved_box(*pools: PoolSpec, gpus: tuple[Gpu, ...] = BOX) -> ReservedManager:
    """A box with those pools, all of whose slots are filled."""
    host = GpuHost()
    manager = ReservedManager(host, wanted(pools, gpus), pools=pools, nvml=Nvml(gpus))
    manager.run()
    return manager


@dataclass
class ReservedDays(Days):
    """The same days, with people who reserve."""

    asks: float = HOUR  # seconds between two wishes, in the mean
    people: int = 6
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def box(self) -> ReservedManager:
        assert isinstance(self.manager, ReservedManager)
        return self.manager

    def pass_time(self, seconds: float) -> None:
        if not self.events:
            self.at(self.random.expovariate(1 / self.asks), "ask")
            for one in self.manager.pools:
                self.at(0.0, "come", one.name)
            if self.faults:
                self.at(self.random.expovariate(1 / self.faults), "fault")
        super().pass_time(seconds)

    def _settle(self) -> None:
        super()._settle()
        self.box.laws()

    def _lasting(self, one: Box) -> float:
        """The job of a reservation waits for the end by itself, whether a manager runs then or not."""
        had = self.box.had.get(one.job) if one.job is not None else None
        return super()._lasting(one) if had is None else had.seconds

    def _ask(self, which: str) -> None:
        del which
        draw, box = self.random, self.box
        pools = [one for one in self.usual if one.reserve is not None]
        of = draw.choice(pools)
        each = next(len(spec.lease) for spec in wanted(self.usual, BOX).slots if spec.pool == of)
        shell = draw.random() < 0.5
        found = box.reserves(
            of.name,
            draw.randrange(self.people),
            draw.choice((600.0, HOUR, 2 * HOUR, 5 * HOUR)),
            gpus=each if shell else each * draw.choice((1, 1, 2)),
            start=box.now + draw.uniform(0, 12 * HOUR) if draw.random() < 0.5 else None,
            shell=shell,
        )
        self.answers["made" if isinstance(found, str) else "refused"] += 1
        known = list(box.memory.reservations)
        if known and draw.random() < 0.2:
            box.gives_back(draw.choice(known))
        if known and draw.random() < 0.3:
            longer_by = box.extends(draw.choice(known), draw.choice((600.0, HOUR)))
            self.answers["extended" if isinstance(longer_by, float) else "not extended"] += 1
        self.at(draw.expovariate(1 / self.asks), "ask")

    def _fault_away(self) -> None:
        """No manager runs for a while; what would have ended meanwhile has."""
        box = self.box
        box.run()
        for subject in list(box.flight):
            with suppress(Fault):
                box.finish(subject)
        box.host.now += self.random.uniform(600.0, 4 * HOUR)
        box.crash(())
