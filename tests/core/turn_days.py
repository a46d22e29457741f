"""Days of a box whose pools take turns: jobs come and end, GPUs fall off, managers and Engines die; laws are
looked at after every event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from random import Random

from mayfly.core import turns
from mayfly.core.apply import apply
from mayfly.core.facts import Fact, GateOpening
from mayfly.core.gpu_health import Reading
from mayfly.core.gpus import Gpus
from mayfly.core.leases import Gpu, assign
from mayfly.core.machine import Step
from mayfly.core.memory import Memory
from mayfly.core.model import (
    Config,
    Desired,
    Generation,
    HostSpec,
    PoolName,
    PoolSpec,
    SlotName,
    Traits,
)
from mayfly.core.plan import Plan
from mayfly.core.requests import ReadGpus
from mayfly.core.state import State
from mayfly.core.stimuli import GpusRead, RosterFailed, RosterSeen, Stimulus
from tests.core.handed_out import Dispatched, Service
from tests.core.simulated_nvml import Gatekeeper, GpuHost, Nvml, WatchedGpus
from tests.core.simulator import NEVER, Box, Fate, Fault, Manager, desire, pool, specs

HOUR, DAY = 3600.0, 86400.0
BOX = tuple(Gpu(f"GPU-{index}", index) for index in range(8))
APPLICATION = (13, 31, 43, 45, 68, 109)  # what programs do wrong
# What may go wrong, each a method of Days'; ``HARMLESS``: that takes no GPU and no job away from anybody.
HARMLESS = ("xid_storm", "manager", "manager_that_acts", "engine_unseen", "clock", "service")
FAULTS = (
    *HARMLESS,
    *("gpu_lost", "hardware_xid", "nvml_hangs", "engine", "cordon", "cancel", "reload"),
)


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
    """A manager whose pools take turns on the GPUs of a box, as NVML shows them."""

    pools: tuple[PoolSpec, ...] = ()
    nvml: Nvml = field(default_factory=lambda: Nvml(BOX))
    unproven: set[str] = field(
        default_factory=set
    )  # pools of whose agents nobody sees what GPUs they have
    base: Memory = field(default_factory=Memory)  # what the journal begins at
    opened: dict[PoolName, float] = field(default_factory=dict)  # when each pool's last turn began
    gate: Gatekeeper = field(init=False)
    wanted: bool = False  # NVML is to be asked
    version: int = -1  # of what NVML said last

    @property
    def box(self) -> GpuHost:
        assert isinstance(self.host, GpuHost)
        return self.host

    def begins(self) -> None:
        self.nvml.xids.clear()  # told to those who listened
        first = self.nvml.first()
        assert first.reading is not None
        self.gate = Gatekeeper(self.box, self.nvml, first.reading)
        self.wanted, self.version = False, -1
        super().begins()

    def config(self) -> Config:
        return Config(HostSpec("host"), self.pools)

    def services(self) -> Mapping[PoolName, Traits]:
        return {}

    def gpus(self) -> Gpus:
        return self.nvml.first()

    def _ready(self) -> State:
        gpus = self.state.gpus
        assert isinstance(gpus, WatchedGpus)
        unseen = frozenset(PoolName(name) for name in self.unproven)
        return replace(
            self.state,
            desired=self.desired,
            config=self.config(),
            gpus=replace(gpus, unseen=unseen),
            polls=NEVER,
        )

    def sight(self) -> list[Stimulus]:
        return [*super().sight(), *(GpusRead(reading) for reading in self._readings())]

    def _readings(self) -> list[Reading]:
        if self.nvml.hangs or not (self.wanted or self.version != self.nvml.version):
            return []
        return [self.nvml.reading(self.now)]

    def turn(self, *, recorded: bool = True, sights: Sequence[Stimulus] | None = None) -> Plan:
        for reading in self._readings() if sights is None else ():
            self.gate.told(reading)
        plan = super().turn(recorded=recorded, sights=sights)
        if not self.nvml.hangs and sights is None:
            self.wanted, self.version = False, self.nvml.version
            self.nvml.xids.clear()
        self.wanted |= any(isinstance(one, ReadGpus) for one in self.asked)
        self.asked = tuple(one for one in self.asked if not isinstance(one, ReadGpus))
        return plan

    def _write(self, facts: Iterable[Fact]) -> None:
        happened = tuple(facts)
        super()._write(happened)
        for fact in happened:
            if isinstance(fact, GateOpening):
                agent = self.memory.agents[fact.generation]
                self.gate.opens(agent)
                self.opened[agent.pool] = fact.at

    def retry(self) -> None:
        """A person has seen to the GPUs, and says so of every slot that is held."""
        for spec in self.desired.slots:
            if self.memory.slot(spec.name).held is not None:
                self.release(spec.name)
                self.gate.spoiled.difference_update(spec.lease)

    def reconfigure(self, *pools: PoolSpec) -> None:
        """Another configuration is in force."""
        self.pools, self.desired = pools, wanted(pools, self.nvml.gpus)

    def crash(self, done: Iterable[str]) -> None:
        """Another manager begins, with what was written; the journal begins anew, so that days cost a day."""
        assert apply(self.base, self.journal) == self.memory, "replaying gives another memory"
        self.base, self.journal = self.memory, []
        for subject in [one for one in done if one in self.flight]:
            with suppress(Fault):
                self.host.perform(self.flight.pop(subject), Fate.DONE)
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


@dataclass
class ServedTurns(Dispatched, TurnManager):
    """The same, where a pool's jobs are handed out by a service."""

    def _run(self, passes: int = 80) -> tuple[int, Step]:
        self.answers()  # as one does that has held the question long enough
        for taken in range(passes):
            self.ask_service()
            self.turned()
            for subject in list(self.flight):
                self.finish(subject)
            self.host.progress()
            self.service.progress()
            self.ask_service()
            if self.has_news():
                self.answers()
            elif not self.flight and not self.inbox_matters() and (found := self.foreseen()).empty:
                return taken, found
        raise AssertionError(f"no end after {passes} passes")

    def crash(self, done: Iterable[str]) -> None:
        super().crash(tuple(done))

    def has_news(self) -> bool:
        """Whether the service answers now."""
        service, word = self.service, self.word
        if word is None or not self.host.service_answers:
            return False
        unread = any(one > service.cursor for one in service.messages)
        return not service.session or bool(word.acknowledge or unread or service.pending)

    def inbox_matters(self) -> bool:
        """Whether this manager was told something that it has not taken in."""
        return any(not isinstance(one, RosterSeen | RosterFailed) for one in self.inbox)


def wanted(pools: tuple[PoolSpec, ...], gpus: tuple[Gpu, ...]) -> Desired:
    """The slots of those pools, with their GPUs."""
    leases = assign(pools, gpus)
    assert not leases.obstacles
    groups = [
        specs(
            one, leases=tuple(leases.slots[SlotName(f"{one.name}-{at}")] for at in range(one.slots))
        )
        for one in pools
    ]
    return desire(
        *(
            group if group[0].embedded else tuple(replace(one, dispatched=True) for one in group)
            for group in groups
        )
    )


def box(*pools: PoolSpec, gpus: tuple[Gpu, ...] = BOX) -> TurnManager:
    """A box with those pools, all of whose slots are filled."""
    host = GpuHost()
    parts = (host, wanted(pools, gpus))
    if all(one.embedded for one in pools):
        manager = TurnManager(*parts, pools=pools, nvml=Nvml(gpus))
    else:
        manager = ServedTurns(*parts, pools=pools, nvml=Nvml(gpus), service=Service(host))
    manager.run()
    return manager


@dataclass
class Days:
    """What happens on a box, from a seed."""

    manager: TurnManager
    random: Random
    longest: float  # seconds of a job at the most
    faults: float = 0.0  # seconds between two of them, in the mean; 0: there are none
    kinds: tuple[str, ...] = FAULTS
    backlog: int = 0  # jobs that each pool has waiting at all times; 0: they come by chance
    rates: Mapping[PoolName, float] = field(
        default_factory=dict
    )  # seconds between two jobs, in the mean
    rest: float = 0.0  # seconds that the manager rests at the least while nothing happens
    patience: float = DAY  # seconds in which a pool whose jobs wait has a turn
    # pools in place of which there may be one of those, or none, for a while
    others: Mapping[PoolName, tuple[PoolSpec, ...]] = field(default_factory=dict)
    events: list[tuple[float, int, str, str]] = field(default_factory=list)
    serial: count[int] = field(default_factory=count)
    lasts: dict[Generation, float] = field(default_factory=dict)
    waits: dict[PoolName, float] = field(default_factory=dict)
    longest_wait: dict[PoolName, float] = field(default_factory=dict)
    served: dict[PoolName, float] = field(default_factory=dict)  # seconds of one GPU
    began: dict[PoolName, int] = field(default_factory=dict)  # jobs
    jobs: int = 0
    happened: Counter[str] = field(default_factory=Counter)  # faults, by kind
    until: float = 0.0
    abrupt: bool = False  # the manager dies as it acts, once there is something to do

    def __post_init__(self) -> None:
        self.usual = self.manager.pools

    def at(self, seconds: float, what: str, which: str = "") -> None:
        """It happens that many seconds from now."""
        heappush(self.events, (self.manager.now + seconds, next(self.serial), what, which))

    def pass_time(self, seconds: float) -> None:
        """Let that much time go by; the laws are looked at after each event."""
        self.until = self.manager.now + seconds
        if not self.events:
            for one in self.manager.pools:
                self.at(0.0, "come", one.name)
            if self.faults:
                self.at(self.random.expovariate(1 / self.faults), "fault")
        while self.events and self.events[0][0] <= self.until:
            due, _, what, which = heappop(self.events)
            self.manager.host.now = max(self.manager.now, due)
            getattr(self, f"_{what}")(which)
            if self.abrupt and what in ("come", "end"):
                self._die()
            self._settle()
        self.manager.host.now = self.until

    def _settle(self) -> None:
        """Everything that follows at once does; who may wait for long waits from now."""
        wake = self.manager.settled()
        if wake is not None:
            rest = max(self.rest, wake - self.manager.now)
            if not self.events or self.manager.now + rest < self.events[0][0]:
                self.at(rest, "wake")
        for generation, one in self.manager.host.boxes.items():
            works = one.working if not one.queue else one.running and one.job is not None
            if works and generation not in self.lasts:
                self.lasts[generation] = lasts = self._lasting(one)
                self.served[one.pool] = self.served.get(one.pool, 0.0) + lasts * len(one.lease)
                self.began[one.pool] = self.began.get(one.pool, 0) + 1
                self.at(lasts, "end", generation)
        self._patience()

    def _lasting(self, one: Box) -> float:
        """Seconds that the job in there lasts."""
        del one
        return self.random.uniform(60.0, self.longest)

    def _die(self) -> None:
        """The manager dies while it acts: of what it had begun some was done."""
        manager, self.abrupt = self.manager, False
        for _ in range(self.random.randrange(1, 4)):
            manager.turn()
            for subject in list(manager.flight):
                if self.random.random() < 0.3:
                    manager.finish(subject)
        done = {subject for subject in manager.flight if self.random.random() < 0.5}
        self.happened["a manager that acts"] += bool(manager.flight)
        manager.crash(done)

    def _patience(self) -> None:
        """No pool starves: one whose jobs wait, and that could have a turn, has one in time."""
        manager, now = self.manager, self.manager.now
        stopped = manager.nvml.hangs or not manager.host.answers
        for one in manager.pools:
            able = any(
                manager.memory.slot(spec.name).held is None
                for spec in manager.desired.slots
                if spec.pool.name == one.name
            )
            if not self._waiting(one) or not able or stopped or self._is_short():
                self.waits[one.name] = now
                continue
            since = max(self.waits.setdefault(one.name, now), manager.opened.get(one.name, 0.0))
            waited = now - since
            self.longest_wait[one.name] = max(waited, self.longest_wait.get(one.name, 0.0))
            assert waited <= self.patience, f"{one.name} has waited for {waited:.0f} s"

    def _is_short(self) -> bool:
        """Whether the box has fewer GPUs than its pools were made for."""
        return bool(self.manager.nvml.lost or self.manager.gate.spoiled)

    def _waiting(self, pool: PoolSpec) -> bool:
        manager = self.manager
        if pool.embedded:
            jobs = manager.memory.jobs.values()
            return any(job.agent is None for job in jobs if job.pool == pool.name)
        assert isinstance(manager, ServedTurns)
        jobs_there = manager.service.jobs
        known = manager.host.service_answers and manager.service.session
        return known and any(job.state in ("offered", "assigned") for job in jobs_there)

    # -- what happens --

    def _come(self, which: str) -> None:
        name, manager = PoolName(which), self.manager
        known = next((one for one in manager.pools if one.name == name), None)
        if self.backlog:
            queued = [job for job in manager.memory.jobs.values() if job.pool == name]
            waiting = sum(not job.agent for job in queued)
            for _ in range(self.backlog - waiting if known is not None else 0):
                manager.submit(which)
                self.jobs += 1
            return
        if known is not None and known.embedded:
            manager.submit(which)
            self.jobs += 1
        elif known is not None:
            assert isinstance(manager, ServedTurns)
            service = manager.service
            service.jobs = [job for job in service.jobs if job.state != "over"]
            service.queue()
            self.jobs += 1
        self.at(self.random.expovariate(1 / self.rates[name]), "come", which)

    def _end(self, which: str) -> None:
        manager, generation = self.manager, Generation(which)
        one = manager.host.boxes.get(generation)
        if one is None or not one.running:
            if isinstance(manager, ServedTurns):
                manager.service.gives_up(generation)
            return
        if one.queue:
            manager.host.ends(generation, self.random.choice((0, 0, 0, 1)))
        else:
            assert isinstance(manager, ServedTurns)
            manager.service.finish(generation)
        if self.random.random() < 0.2:  # what it had is returned late
            uuid = self.random.choice(one.lease)
            manager.nvml.keeps(uuid, manager.now + self.random.uniform(1.0, 20.0))
            self.at(21.0, "read")
        if self.backlog:
            manager.run()
            self._come(one.pool)

    def _fault(self, which: str) -> None:
        del which
        kind = self.random.choice(self.kinds)
        self.happened[kind] += 1
        getattr(self, f"_fault_{kind}")()
        self.at(self.random.expovariate(1 / self.faults), "fault")

    def _some(self, least: float, most: float) -> float:
        """Seconds, by how long jobs last."""
        return self.random.uniform(least, most) * self.longest

    def _gpu(self) -> str:
        return self.random.choice(self.manager.nvml.gpus).uuid

    def _fault_gpu_lost(self) -> None:
        """It falls off the bus, whoever is at it, and comes back."""
        uuid = self._gpu()
        self.manager.nvml.loses(uuid)
        self.at(self._some(0.1, 1.5), "find", uuid)

    def _fault_hardware_xid(self) -> None:
        self.manager.nvml.reports(self._gpu(), 79, at=self.manager.now)
        self.at(self._some(0.1, 1.0), "retry")

    def _fault_xid_storm(self) -> None:
        """A program that does everything wrong that it can."""
        codes = (*APPLICATION, *APPLICATION)
        self.manager.nvml.reports(self._gpu(), *codes, at=self.manager.now)

    def _fault_nvml_hangs(self) -> None:
        self.manager.nvml.hangs = True
        self.at(self._some(0.001, 0.1), "unhang")

    def _fault_manager(self) -> None:
        manager = self.manager
        manager.run()  # the accounts of those at work have grown since
        before = manager.state.turns
        manager.crash(())
        manager.run()
        known = manager.host.answers and not manager.nvml.hangs and not manager.gate.spoiled
        if known and not isinstance(manager, ServedTurns):
            assert manager.state.turns == before, "a restart changed whose turn it is"

    def _fault_manager_that_acts(self) -> None:
        self.abrupt = True

    def _fault_engine(self) -> None:
        self.manager.host.engine_restarts(keeps=self.random.random() < 0.5, gently=False)

    def _fault_engine_unseen(self) -> None:
        self.manager.host.answers = False
        self.at(self._some(0.001, 0.03), "answer")

    def _fault_cordon(self) -> None:
        slot = self.random.choice(self.manager.desired.slots).name
        self.manager.cordon(slot)
        self.at(self._some(0.01, 0.5), "uncordon", slot)

    def _fault_cancel(self) -> None:
        jobs = list(self.manager.memory.jobs)
        if jobs:
            self.manager.cancel(self.random.choice(jobs))

    def _fault_service(self) -> None:
        self.manager.host.service_answers = False
        self.at(self._some(0.001, 0.1), "serve")

    def _fault_clock(self) -> None:
        """The clock is set, by what somebody mistook or a summer's time; all that is to come comes as much
        later.
        """
        by = self.random.choice((-3600.0, -30.0, 30.0, 3600.0))
        manager = self.manager
        manager.jump(by)
        self.events = [(due + by, *rest) for due, *rest in self.events]  # type: ignore[misc]
        self.until += by
        for known in (self.waits, manager.opened, manager.box.left, manager.nvml.used):
            for name in known:
                known[name] += by  # type: ignore[index]
        shown = manager.gate.shown
        manager.gate.shown = replace(shown, began=shown.began + by)

    def _fault_reload(self) -> None:
        """A pool is gone, or another, until it is as usual again."""
        if not self.others:
            return
        name = self.random.choice(list(self.others))
        choice = self.random.choice((None, *self.others[name]))
        pools = (choice if one.name == name else one for one in self.usual)
        self.manager.reconfigure(*(one for one in pools if one is not None))
        self.at(self._some(0.1, 2.0), "reload")

    def _wake(self, which: str) -> None:
        """The manager wakes by itself: what cooled is filled, what lasted too long goes."""

    def _find(self, which: str) -> None:
        self.manager.nvml.finds(which)

    def _read(self, which: str) -> None:
        del which
        self.manager.nvml.stirs()

    def _retry(self, which: str) -> None:
        del which
        self.manager.retry()

    def _unhang(self, which: str) -> None:
        del which
        self.manager.nvml.hangs = False

    def _serve(self, which: str) -> None:
        del which
        self.manager.host.service_answers = True

    def _reload(self, which: str) -> None:
        del which
        self.manager.reconfigure(*self.usual)

    def _uncordon(self, which: str) -> None:
        self.manager.uncordon(SlotName(which))

    def _answer(self, which: str) -> None:
        del which
        self.manager.host.answers = True
