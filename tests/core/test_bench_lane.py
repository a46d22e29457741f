"""The bench lane: clocks locked before a gate and unlocked after its job, and a host that is had by turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from mayfly.core import bench_lane, idle_host
from mayfly.core.actions import LockClocks, Open, UnlockClocks
from mayfly.core.facts import (
    ClocksRefused,
    ClocksUnlocked,
    GateOpening,
    JobSubmitted,
    ManagerPaused,
)
from mayfly.core.leases import Gpu, Mig
from mayfly.core.memory import Pause
from mayfly.core.model import (
    Bench,
    BenchPlan,
    ClocksSeen,
    Config,
    Generation,
    HostSpec,
    PoolName,
    PoolSpec,
    Removal,
    SlotName,
)
from tests.core.simulator import Fate, Host, Manager, desire, pool, specs

GPU = Gpu("GPU-0", 0, base_clock=1410, cpus=(0, 1, 2, 5), nodes=(1,))
BENCH_0 = SlotName("bench-0")
HOUR, DAY = 3600.0, 86400.0


@dataclass
class LaneManager(Manager):
    """A manager on a host whose clocks tell who has locked them, and when that must not be."""

    locked: dict[SlotName, Generation] = field(default_factory=dict)
    refuses: bool = False
    pools: tuple[PoolSpec, ...] = ()

    def config(self) -> Config:
        return Config(HostSpec("host"), self.pools)

    def finish(self, subject: str, fate: Fate = Fate.DONE) -> None:
        action = self.flight[subject]
        if isinstance(action, LockClocks):
            known = self.memory.slot(action.slot).clocks
            assert known is not None, "locked, and not on disk"
            assert known.generation == action.generation, "locked, and not on disk"
            fate = Fate.FAILED if self.refuses else fate
            self.locked[action.slot] = action.generation
        elif isinstance(action, UnlockClocks):
            box = self.host.boxes.get(action.generation)
            assert box is None or not box.running, "unlocked while the job runs"
            self.locked.pop(action.slot, None)
        elif isinstance(action, Open) and self._is_measured(action.slot):
            assert self.locked.get(action.slot) == action.generation, "opened without its clocks"
        super().finish(subject, fate)
        self._check_alone()

    def _is_measured(self, slot: SlotName) -> bool:
        return any(spec.bench is not None for spec in self.desired.slots if spec.name == slot)

    def _check_alone(self) -> None:
        running = {box.slot for box in self.host.boxes.values() if box.running}
        for spec in self.desired.slots:
            if spec.bench is not None and spec.bench.others_idle and spec.name in running:
                assert running == {spec.name}, "not alone on the host"

    def of(self, slot: str) -> Generation:
        """Who runs in the slot."""
        return next(
            name for name, box in self.host.boxes.items() if box.slot == slot and box.running
        )

    def runs(self, slot: str) -> bool:
        return any(box.slot == slot and box.running for box in self.host.boxes.values())

    def job_ends(self, slot: str) -> None:
        self.host.now += 1.0
        self.host.ends(self.of(slot), 0)
        self.run()


def measured(*, others_idle: bool = True, slots: int = 1, hold_failed: float = 0.0) -> LaneManager:
    """A box with a pool that measures, one with the other GPUs, and one without any."""
    bench = replace(
        pool("bench", slots, job_timeout=6 * HOUR), gpus=1, bench=Bench(), hold_failed=hold_failed
    )
    work = replace(pool("work", 2, job_timeout=6 * HOUR), gpus=1)
    none = pool("none", 1, job_timeout=6 * HOUR)
    plan = BenchPlan(1410, others_idle=others_idle)
    own = tuple((f"GPU-{at}",) for at in range(slots))
    groups = (
        tuple(
            replace(spec, bench=plan)
            for spec in specs(
                bench, leases=own, removal=Removal.MANAGER if hold_failed else Removal.ENGINE
            )
        ),
        specs(work, leases=(("GPU-6",), ("GPU-7",))),
        specs(none),
    )
    manager = LaneManager(Host(), desire(*groups), pools=(bench, work, none))
    manager.run()
    return manager


def test_a_gate_opens_once_the_clocks_are_locked_and_they_are_unlocked_once_the_job_has_ended() -> (
    None
):
    manager = measured()
    assert not manager.locked, "an agent that waits for a job has nothing locked"
    manager.submit("bench")
    manager.run()
    assert manager.runs("bench-0")
    # The next manager unlocks nothing that a job needs, and what it does not.
    manager.crash(())
    manager.run()
    manager.host.now += HOUR
    manager.run()
    assert manager.locked == {BENCH_0: manager.of("bench-0")}
    manager.job_ends("bench-0")
    assert not manager.locked
    assert manager.memory.slot(BENCH_0).clocks is None


@pytest.mark.parametrize("done", [True, False])
def test_a_manager_that_dies_while_it_locks_leaves_what_the_next_one_unlocks(done: bool) -> None:
    manager = measured()
    manager.submit("bench")
    manager.turn()
    (lock,) = (one for one in manager.flight.values() if isinstance(one, LockClocks))
    if done:
        manager.locked[lock.slot] = lock.generation
    manager.crash([lock.subject] if done else [])
    manager.run()
    assert not manager.runs("bench-0"), "nobody knows whether they are locked"
    manager.host.now += bench_lane.UNUSED + 1
    manager.run()
    assert manager.runs("bench-0"), "they were unlocked and locked again"


def test_clocks_of_a_gate_that_is_not_opened_after_all_are_unlocked() -> None:
    manager = measured()
    job = manager.submit("bench")
    manager.turn()
    manager.cancel(job)
    manager.run()
    assert manager.locked
    manager.host.now += bench_lane.UNUSED + 1
    manager.run()
    assert not manager.locked


def test_clocks_that_cannot_be_locked_open_no_gate_and_are_tried_again() -> None:
    manager = measured()
    manager.refuses = True
    manager.submit("bench")
    manager.run()
    assert not manager.runs("bench-0")
    assert not manager.locked, "half of a lock is undone"
    (told,) = bench_lane.conditions(manager.desired.slots, manager.memory, manager.now)
    assert (told.code, told.slots) == ("bench.refused", (BENCH_0,))
    assert "it failed" in told.text
    tries = [fact for fact in manager.journal if isinstance(fact, ClocksRefused)]
    assert len(tries) == 1
    # Nobody waits for a job that cannot begin.
    manager.submit("work")
    manager.run()
    assert manager.runs("work-0")
    manager.job_ends("work-0")
    manager.refuses = False
    manager.host.now += bench_lane.AGAIN + 1
    manager.run()
    assert manager.runs("bench-0")
    assert not bench_lane.conditions(manager.desired.slots, manager.memory, manager.now)


def test_a_slot_that_is_configured_no_more_has_its_clocks_unlocked() -> None:
    manager = measured()
    manager.submit("bench")
    manager.run()
    manager.desired = desire(
        tuple(spec for spec in manager.desired.slots if spec.pool.name != "bench")
    )
    manager.run()
    assert manager.locked, "its job runs on"
    manager.job_ends("bench-0")
    assert not manager.locked


def test_the_lane_has_the_host_to_itself_and_then_the_others_have_it() -> None:
    manager = measured()
    for name in ("work", "work", "none"):
        manager.submit(name)
    manager.run()
    assert all(map(manager.runs, ("work-0", "work-1", "none-0")))
    for name in ("bench", "bench", "work", "work", "none"):
        manager.submit(name)
    manager.run()
    manager.job_ends("work-0")
    assert not manager.runs("work-0"), "no gate opens before the lane's"
    manager.job_ends("none-0")
    manager.job_ends("work-1")
    assert manager.runs("bench-0")
    manager.job_ends("bench-0")
    assert not manager.runs("bench-0"), "those who waited are first"
    assert all(map(manager.runs, ("work-0", "work-1", "none-0")))
    for slot in ("work-0", "work-1", "none-0"):
        manager.job_ends(slot)
    assert manager.runs("bench-0")


def test_nobody_waits_for_a_lane_whose_gpus_wait_for_a_look_at_a_failed_job() -> None:
    manager = measured(hold_failed=HOUR)
    manager.submit("bench")
    manager.run()
    manager.host.ends(manager.of("bench-0"), 1)
    manager.run()
    manager.host.now += idle_host.OWED + 1.0  # nobody is owed a gate any more
    for name in ("bench", "work", "none"):
        manager.submit(name)
    manager.run()
    assert not manager.runs("bench-0"), "its GPU stays as the failed job left it"
    assert manager.runs("work-0") or manager.runs("work-1")
    assert manager.runs("none-0")


def test_without_others_idle_the_others_go_on() -> None:
    manager = measured(others_idle=False)
    manager.submit("work")
    manager.submit("bench")
    manager.run()
    assert manager.runs("work-0")
    assert manager.runs("bench-0")


@pytest.mark.parametrize("seed", range(2))
def test_nobody_starves_beside_a_lane_whatever_ends_when_and_however_often_a_manager_dies(
    seed: int,
) -> None:
    manager, random = measured(slots=2), Random(seed)
    for _ in range(80):
        for name in ("bench", "work", "none"):
            waiting = [one for one in manager.memory.jobs.values() if one.pool == name]
            for _ in range(4 - len(waiting)):
                manager.submit(name)
        manager.run()
        manager.host.now += random.uniform(1.0, HOUR)
        running = [name for name, box in manager.host.boxes.items() if box.running]
        if random.random() < 0.2:
            flight = list(manager.flight)
            manager.crash(random.sample(flight, random.randint(0, len(flight))))
        if running:
            manager.host.ends(random.choice(running), random.choice((0, 1)))
    pools = {
        fact.job.id: fact.job.pool for fact in manager.journal if isinstance(fact, JobSubmitted)
    }
    begun = Counter(
        pools[fact.job]
        for fact in manager.journal
        if isinstance(fact, GateOpening) and fact.job is not None
    )
    assert begun[PoolName("bench")] > 10, begun
    assert begun[PoolName("work")] > 20, begun
    assert begun[PoolName("none")] > 10, begun


@pytest.mark.parametrize(
    ("bench", "lease", "gpus", "wanted"),
    [
        (Bench(), ("GPU-0",), (GPU,), BenchPlan(1410, None, False, "0-2,5", "1")),
        (Bench(1200, 2619, True), ("GPU-0",), (GPU,), BenchPlan(1200, 2619, True, "0-2,5", "1")),
        (
            Bench(),
            ("GPU-0", "GPU-1"),
            (GPU, replace(GPU, uuid="GPU-1", cpus=(3, 4), nodes=(0,))),
            BenchPlan(1410, None, False, "0-5", "0-1"),
        ),
        (
            Bench(1200),
            ("GPU-0",),
            (replace(GPU, base_clock=None, cpus=()),),
            BenchPlan(1200, nodes="1"),
        ),
        (
            Bench(),
            ("GPU-0",),
            (replace(GPU, base_clock=None),),
            "GPU-0 does not say its base clock",
        ),
        (
            Bench(),
            ("GPU-0", "GPU-1"),
            (GPU, replace(GPU, uuid="GPU-1", base_clock=1200)),
            "its GPUs have different base clocks",
        ),
        (
            Bench(),
            ("MIG-0",),
            (replace(GPU, mig=(Mig("MIG-0"),)),),
            "MIG-0 has no clocks of its own",
        ),
        (None, ("GPU-0",), (GPU,), None),
    ],
)
def test_what_a_lease_comes_to(
    bench: Bench | None, lease: Sequence[str], gpus: Sequence[Gpu], wanted: BenchPlan | str | None
) -> None:
    found = bench_lane.planned(PoolSpec(name=PoolName("p"), bench=bench), lease, gpus)
    if isinstance(wanted, str):
        assert isinstance(found, str)
        assert found.startswith(wanted)
    else:
        assert found == wanted


def test_what_was_seen_at_the_beginning_is_told_with_what_was_seen_at_the_end() -> None:
    began = (ClocksSeen("a", began=41, throttled=("power cap",)), ClocksSeen("b", began=40))
    ended = (ClocksSeen("a", 1395, 1410, ("power brake",), None, 60),)
    assert bench_lane.merged(began, ended) == (
        ClocksSeen("a", 1395, 1410, ("power cap", "power brake"), 41, 60),
        ClocksSeen("b", began=40),
    )


def test_the_clocks_of_a_job_that_ends_in_a_pause_are_unlocked_in_it() -> None:
    manager = measured()
    manager.submit("bench")
    manager.run()
    manager.record([ManagerPaused(manager.now, Pause(manager.now, "operator"))])
    manager.run()
    assert BENCH_0 in manager.locked, "its job runs"
    manager.host.ends(manager.of("bench-0"), 0)
    manager.run()
    assert BENCH_0 not in manager.locked
    assert manager.memory.slot(BENCH_0).clocks is None
    assert manager.memory.pause is not None


def test_clocks_that_stay_locked_are_told() -> None:
    manager = measured()
    manager.submit("bench")
    manager.run()
    generation = manager.of("bench-0")
    assert not bench_lane.conditions(manager.desired.slots, manager.memory, manager.now + DAY)
    manager.host.ends(generation, 0)
    manager.turn()
    manager.turn()
    late = manager.now + bench_lane.LATE + 1
    if manager.memory.slot(BENCH_0).clocks is not None:
        (told,) = bench_lane.conditions(manager.desired.slots, manager.memory, late)
        assert told.code == "bench.locked"
    manager.run()
    assert any(isinstance(fact, ClocksUnlocked) for fact in manager.journal)
    assert not bench_lane.conditions(manager.desired.slots, manager.memory, late)
