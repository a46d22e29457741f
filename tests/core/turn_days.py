"""Days of a box whose pools take turns: jobs come and end, GPUs fall off, managers and Engines die; laws are
looked at after every event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from random import Random

from mayfly.core import turns
from mayfly.core.apply import apply
from mayfly.core.facts import Fact, GateOpening
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu, assign
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Config,
    GpuVerdict,
    HostSpec,
    JobId,
    PoolName,
    PoolSpec,
    SlotName,
    Traits,
)
from tests.core.simulator import Host, Manager, desire, pool, specs
from tests.core.test_gpu_decisions import Judged

HOUR, DAY = 3600.0, 86400.0
BOX = tuple(Gpu(f"GPU-{index}", index) for index in range(8))


def turning(
    name: str,
    slots: int,
    gpus: int,
    weight: int = 1,
    *,
    standby: bool = True,
    provider: str = "local",
) -> PoolSpec:
    """A pool in turn."""
    return replace(
        pool(name, slots, standby=standby, provider=provider, job_timeout=6 * HOUR),
        gpus=gpus,
        embedded=provider == "local",
        exclusive="in turn",
        weight=weight,
    )


@dataclass
class TurnManager(Manager):
    """A manager whose pools take turns on the GPUs of a box, of which some may be ill."""

    pools: tuple[PoolSpec, ...] = ()
    ill: set[str] = field(default_factory=set)
    unproven: set[str] = field(
        default_factory=set
    )  # pools of whose agents nobody sees what GPUs they have
    base: Memory = field(default_factory=Memory)  # what the journal begins at
    opened: dict[PoolName, float] = field(default_factory=dict)  # when each pool's last turn began

    def config(self) -> Config:
        return Config(HostSpec("host"), self.pools)

    def services(self) -> Mapping[PoolName, Traits]:
        return {}

    def gpus(self) -> Gpus:
        return Judged(
            words={
                spec.name: GpuVerdict(sick=f"{uuid} is not there any more", returns=True)
                for spec in self.desired.slots
                for uuid in spec.lease
                if uuid in self.ill
            },
            unseen=frozenset(
                name for name, agent in self.memory.agents.items() if agent.pool in self.unproven
            ),
        )

    def _write(self, facts: Iterable[Fact]) -> None:
        happened = tuple(facts)
        super()._write(happened)
        for fact in happened:
            if isinstance(fact, GateOpening):
                self.opened[self.memory.agents[fact.generation].pool] = fact.at

    def crash(self, done: Iterable[str]) -> None:
        """Another manager begins, with what was written; the journal begins anew, so that days cost a day."""
        del done
        assert apply(self.base, self.journal) == self.memory, "replaying gives another memory"
        self.base, self.journal = self.memory, []
        flight = list(self.flight)
        for subject in flight:
            self.finish(subject)
        for holder in self.host.holders.values():
            holder.watched = False
        self.begins()

    def settled(self) -> float | None:
        """All that follows at once has been done; when something is due next."""
        return self._run()[1].wake

    def accounts(self) -> Mapping[PoolName, float]:
        """What each pool has had, divided by its weight."""
        known = {one.name: one for one in self.pools}
        return turns.accounts(self.memory, known, self.now)


def box(*pools: PoolSpec, gpus: tuple[Gpu, ...] = BOX) -> TurnManager:
    """A box with those pools, all of whose slots are filled."""
    leases = assign(pools, gpus)
    assert not leases.obstacles
    groups = [
        specs(
            one, leases=tuple(leases.slots[SlotName(f"{one.name}-{at}")] for at in range(one.slots))
        )
        for one in pools
    ]
    manager = TurnManager(Host(), desire(*groups), pools=pools)
    manager.run()
    return manager


@dataclass
class Days:
    """What happens on a box, from a seed."""

    manager: TurnManager
    random: Random
    longest: float  # seconds of a job at the most
    faults: float = 0.0  # seconds between two of them, in the mean; 0: there are none
    backlog: int = 0  # jobs that each pool has waiting at all times; 0: they come by chance
    rates: Mapping[PoolName, float] = field(
        default_factory=dict
    )  # seconds between two jobs, in the mean
    patience: float = DAY  # seconds in which a pool whose jobs wait has a turn
    events: list[tuple[float, int, str, str]] = field(default_factory=list)
    serial: count[int] = field(default_factory=count)
    lasts: dict[JobId, float] = field(default_factory=dict)
    waits: dict[PoolName, float] = field(default_factory=dict)
    longest_wait: dict[PoolName, float] = field(default_factory=dict)
    served: dict[PoolName, float] = field(default_factory=dict)  # seconds of one GPU
    jobs: int = 0
    falls: int = 0
    crashes: int = 0

    def at(self, seconds: float, what: str, which: str = "") -> None:
        """It happens that many seconds from now."""
        heappush(self.events, (self.manager.now + seconds, next(self.serial), what, which))

    def pass_time(self, seconds: float) -> None:
        """Let that much time go by; the laws are looked at after each event."""
        until = self.manager.now + seconds
        if not self.events:
            for one in self.manager.pools:
                self.at(0.0, "come", one.name)
            if self.faults:
                self.at(self.random.expovariate(1 / self.faults), "fault")
        while self.events and self.events[0][0] <= until:
            due, _, what, which = heappop(self.events)
            self.manager.host.now = max(self.manager.now, due)
            getattr(self, f"_{what}")(which)
            self._settle()
        self.manager.host.now = until

    def _settle(self) -> None:
        """Everything that follows at once does; who may wait for long waits from now."""
        wake = self.manager.settled()
        if wake is not None and (not self.events or wake < self.events[0][0]):
            self.at(wake - self.manager.now, "wake")
        for generation, one in self.manager.host.boxes.items():
            if one.running and one.job is not None and one.job not in self.lasts:
                self.lasts[one.job] = lasts = self.random.uniform(60.0, self.longest)
                self.served[one.pool] = self.served.get(one.pool, 0.0) + lasts * len(one.lease)
                self.at(lasts, "end", generation)
        self._patience()

    def _patience(self) -> None:
        """No pool starves: one whose jobs wait, and that could have a turn, has one in time."""
        manager, now = self.manager, self.manager.now
        for one in manager.pools:
            able = any(
                manager.memory.slot(spec.name).held is None
                for spec in manager.desired.slots
                if spec.pool.name == one.name
            )
            waits = any(
                job.agent is None for job in manager.memory.jobs.values() if job.pool == one.name
            )
            if not waits or not able or manager.ill:
                self.waits[one.name] = now
                continue
            since = max(self.waits.setdefault(one.name, now), manager.opened.get(one.name, 0.0))
            waited = now - since
            self.longest_wait[one.name] = max(waited, self.longest_wait.get(one.name, 0.0))
            assert waited <= self.patience, f"{one.name} has waited for {waited:.0f} s"

    # -- what happens --

    def _come(self, which: str) -> None:
        name = PoolName(which)
        if self.backlog:
            queued = [
                job
                for job in self.manager.memory.jobs.values()
                if job.pool == name and not job.agent
            ]
            for _ in range(self.backlog - len(queued)):
                self.manager.submit(which)
                self.jobs += 1
            return
        self.manager.submit(which)
        self.jobs += 1
        self.at(self.random.expovariate(1 / self.rates[name]), "come", which)

    def _end(self, which: str) -> None:
        found = next(
            (one for name, one in self.manager.host.boxes.items() if name == which and one.running),
            None,
        )
        if found is not None:
            self.manager.host.ends(found.generation, self.random.choice((0, 0, 0, 1)))
            if self.backlog:
                self.manager.run()
                self._come(found.pool)

    def _fault(self, which: str) -> None:
        del which
        manager = self.manager
        match self.random.randrange(5):
            case 0:  # a GPU falls off the bus, whoever is at it, and comes back
                uuid = f"GPU-{self.random.randrange(8)}"
                manager.ill.add(uuid)
                self.falls += 1
                self.at(self.random.uniform(0.1, 1.5) * self.longest, "heal", uuid)
            case 1:
                manager.run()  # the accounts of those at work have grown since
                before = manager.state.turns
                manager.crash(())
                self.crashes += 1
                manager.run()
                if manager.host.answers:  # before the first look nothing is decided
                    assert manager.state.turns == before, "a restart changed whose turn it is"
            case 2:
                manager.host.engine_restarts(keeps=self.random.random() < 0.5, gently=False)
            case 3:
                slot = self.random.choice(manager.desired.slots).name
                manager.cordon(slot)
                self.at(self.random.uniform(0.01, 0.5) * self.longest, "uncordon", slot)
            case _:
                manager.host.answers = False
                self.at(self.random.uniform(0.001, 0.03) * self.longest, "answer")
        self.at(self.random.expovariate(1 / self.faults), "fault")

    def _wake(self, which: str) -> None:
        """The manager wakes by itself: what cooled is filled, what lasted too long goes."""

    def _heal(self, which: str) -> None:
        self.manager.ill.discard(which)

    def _uncordon(self, which: str) -> None:
        self.manager.uncordon(SlotName(which))

    def _answer(self, which: str) -> None:
        del which
        self.manager.host.answers = True
