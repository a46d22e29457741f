"""Pools in turn: a GPU is in one open gate, nobody starves, weights hold, and a restart changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

import pytest

from mayfly.core.delivery import JobCounts
from mayfly.core.facts import (
    AgentExited,
    AgentRemoved,
    GateOpening,
    SlotHeld,
    TurnAwaited,
    TurnEnded,
    TurnWaived,
)
from mayfly.core.gpu_health import RECHECK, Reading, Vitals
from mayfly.core.gpus import Gpus
from mayfly.core.memory import Agent, JobHold, Memory, TurnAccount
from mayfly.core.model import (
    Config,
    Generation,
    Hold,
    HostSpec,
    JobState,
    PoolName,
    PoolSpec,
    SlotName,
)
from mayfly.core.taking_turns import MAKING, waits_for
from mayfly.core.turns import ENDING, Seat, Turns, accounts, charged, decided, longest
from mayfly.service.status import statuses
from tests.core.handed_out import POOL, Dispatched, Service
from tests.core.simulated_nvml import MUCH, TOTAL
from tests.core.simulator import Host, desire, specs
from tests.core.turn_days import (
    BOX,
    DAY,
    FAULTS,
    HARMLESS,
    HOUR,
    Days,
    TurnManager,
    box,
    turning,
)

ONE = BOX[:1]
NARROW, WIDE = turning("a", 4, 1), turning("w", 1, 4)
UUIDS = tuple(gpu.uuid for gpu in BOX[:4])


def seats(*ready: bool) -> list[Seat]:
    """Four narrow slots and a wide one on the same four GPUs."""
    narrow = [
        Seat(SlotName(f"a-{at}"), NARROW.name, (uuid,), ready=ready[at] if ready else True)
        for at, uuid in enumerate(UUIDS)
    ]
    return [*narrow, Seat(SlotName("w-0"), WIDE.name, UUIDS)]


def turns(
    jobs: Mapping[str, int],
    used: Mapping[str, float],
    busy: set[str] | None = None,
    among: list[Seat] | None = None,
) -> Turns:
    return decided(
        {NARROW.name: NARROW, WIDE.name: WIDE},
        among if among is not None else seats(),
        {PoolName(name): count for name, count in jobs.items()},
        {PoolName(name): used.get(name, 0.0) for name in ("a", "w")},
        busy or set(),
    )


@pytest.mark.parametrize(
    ("jobs", "used", "busy", "granted", "kept"),
    [
        ({"a": 2}, {}, set(), {"a-0", "a-1"}, {}),
        # Who has had least is next, and has all of its GPUs; the others are next on them.
        (
            {"a": 2, "w": 1},
            {"a": 10.0},
            set(),
            {"w-0"},
            {"a-0": {UUIDS[0]}, "a-1": {UUIDS[1]}},
        ),
        ({"a": 2, "w": 1}, {"w": 100.0}, set(), {"a-0", "a-1"}, {"w-0": {UUIDS[0], UUIDS[1]}}),
        # A wide slot whose pool is next has its GPUs kept, whoever else could begin.
        ({"a": 4, "w": 1}, {"a": 10.0}, {UUIDS[3]}, set(), {"w-0": {UUIDS[3]}}),
        # Two jobs begin where a GPU is free, and the third is next on one of the others.
        ({"a": 3}, {}, {UUIDS[0], UUIDS[1]}, {"a-2", "a-3"}, {"a-0": {UUIDS[0]}}),
        # Nobody waits: nothing is kept.
        ({}, {}, {UUIDS[0]}, set(), {}),
    ],
)
def test_whose_turn_it_is(
    jobs: dict[str, int],
    used: dict[str, float],
    busy: set[str],
    granted: set[str],
    kept: dict[str, set[str]],
) -> None:
    found = turns(jobs, used, busy)
    assert found.granted == granted
    assert {name: set(uuids) for name, uuids in found.next.items()} == kept


def test_a_slot_whose_agent_is_being_made_has_its_gpu_kept_where_no_other_stands_ready() -> None:
    among = seats(False, True, False, False)
    assert turns({"a": 1}, {}, among=among).granted == {"a-1"}
    found = turns({"a": 1, "w": 1}, {"w": 9.0}, {UUIDS[1]}, among=among)
    assert found.granted == {"a-0"}, "its turn is its own while its agent is made"


def test_an_agent_whose_service_has_given_it_a_job_has_its_gpus_whoever_has_had_less() -> None:
    begun = replace(seats()[0], promised=True, begun=True)
    found = turns({"w": 1}, {"a": 9e9}, among=[begun, *seats()[1:]])
    assert found.granted == {"a-0"}
    assert found.next == {"w-0": (UUIDS[0],)}


def test_gpus_that_get_free_together_are_not_all_one_pool_s() -> None:
    other = turning("b", 4, 1)
    among = [
        *seats()[:4],
        *(replace(one, slot=SlotName(f"b{one.slot[1:]}"), pool=other.name) for one in seats()[:4]),
    ]
    found = decided(
        {NARROW.name: NARROW, other.name: other},
        among,
        {NARROW.name: 9, other.name: 9},
        {NARROW.name: 0.0, other.name: 0.0},
        set(),
    )
    assert sorted(name[0] for name in found.granted) == ["a", "a", "b", "b"]


# -- the machine -------------------------------------------------------------------------------


def running(manager: TurnManager) -> list[str]:
    return sorted(str(one.slot) for one in manager.host.boxes.values() if one.running)


def end_all(manager: TurnManager) -> None:
    for name, one in list(manager.host.boxes.items()):
        if one.running:
            manager.host.ends(name, 0)
    manager.run()


def test_three_pools_have_one_gpu_one_after_the_other_each_in_an_agent_of_its_own() -> None:
    manager = box(turning("v4", 1, 1), turning("v8", 1, 1), turning("v13", 1, 1), gpus=ONE)
    jobs = [manager.submit(name) for name in ("v4", "v8", "v13")]
    seen = []
    for _ in jobs:
        manager.run()
        seen += running(manager)
        assert len(running(manager)) == 1
        manager.host.now += 60.0
        end_all(manager)
    assert sorted(seen) == ["v13-0", "v4-0", "v8-0"]
    assert all(manager.ended(job).state is JobState.SUCCEEDED for job in jobs)
    assert len({manager.host.runs[job][0] for job in jobs}) == 3


def test_a_wide_job_stops_narrow_gates_and_those_go_on_after_it() -> None:
    manager = box(turning("a", 8, 1), turning("c", 1, 8))
    for _ in range(12):
        manager.submit("a")
    manager.run()
    assert len(running(manager)) == 8
    wide = manager.submit("c")
    manager.run()
    manager.host.now += 600.0
    first = next(name for name, one in manager.host.boxes.items() if one.running)
    manager.host.ends(first, 0)
    manager.run()
    assert len(running(manager)) == 7, "the GPU that got free is kept for the wide job"
    assert manager.state.turns.waiting == ("c", "a")
    end_all(manager)
    assert running(manager) == ["c-0"]
    manager.host.now += 60.0
    end_all(manager)
    assert manager.ended(wide).state is JobState.SUCCEEDED
    assert len(running(manager)) == 4


def test_a_pool_that_takes_no_part_keeps_nobody_from_a_gpu() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
    manager.cordon(SlotName("a-0"))
    manager.run()
    manager.submit("a")
    manager.submit("b")
    manager.run()
    assert running(manager) == ["b-0"]


def test_an_agent_whose_gpus_nobody_can_prove_keeps_them_from_no_other_pool() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
    manager.unproven.add("a")
    manager.submit("a")
    manager.submit("b")
    manager.run()
    assert running(manager) == []
    manager.host.now += MAKING + 1.0
    manager.run()
    assert running(manager) == ["b-0"]


def test_a_clock_that_was_a_year_ahead_while_no_manager_ran_costs_a_pool_one_longest_job() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
    manager.submit("a")
    manager.run()
    assert running(manager) == ["a-0"]
    a_year = manager.host.now + 365 * 86_400.0
    (pool,) = (one for one in manager.pools if one.name == "a")
    used = accounts(manager.memory, {pool.name: pool}, a_year)[pool.name]
    assert 0 < used <= longest(pool) + ENDING
    (working,) = (one for one in manager.memory.agents.values() if one.committed is not None)
    end = AgentExited(a_year, working.generation, "succeeded", None, 0, None)
    (charge,) = (
        one for one in charged([end], manager.memory, [pool]) if isinstance(one, TurnEnded)
    )
    assert charge.used <= longest(pool) + ENDING


def test_no_gate_opens_where_what_a_forgotten_agent_of_another_pool_has_made_may_be_at_work() -> (
    None
):
    for slot, opens in (("a-0", ["b-0"]), ("gone-0", [])):
        manager = box(turning("a", 1, 1), turning("b", 1, 1), turning("c", 1, 1), gpus=BOX[:2])
        observed = manager.state.observed
        world = replace(observed.world, unowned={Generation("long-ago"): SlotName(slot)})
        manager.state = replace(manager.state, observed=replace(observed, world=world))
        manager.submit("b")
        manager.submit("c")  # on the first GPU, as a is
        manager.turn()  # the removal has begun, and has not ended
        manager.turn()
        assert manager.state.observed.world.unowned
        opened = [fact.generation for fact in manager.journal if isinstance(fact, GateOpening)]
        assert [manager.memory.agents[name].slot for name in opened] == opens


def test_a_gpu_that_falls_off_the_bus_under_a_wide_job_holds_who_has_it_and_nobody_else() -> None:
    manager = box(turning("a", 8, 1), turning("b", 2, 4), turning("c", 1, 8))
    wide = manager.submit("c")
    manager.run()
    narrow = [manager.submit("a") for _ in range(7)]
    manager.nvml.loses("GPU-5")
    manager.run()
    assert running(manager) == ["c-0"], "nobody ends its job"
    held = {name for name, slot in manager.memory.slots.items() if slot.held is not None}
    assert held == {"a-5", "b-1", "c-0"}
    end_all(manager)
    assert manager.ended(wide).state is JobState.SUCCEEDED
    assert running(manager) == [f"a-{at}" for at in (0, 1, 2, 3, 4, 6, 7)]
    (turn,) = [fact for fact in manager.journal if isinstance(fact, TurnEnded)]
    assert (turn.pool, turn.used) == ("c", 8.0 * max(1.0, turn.seconds))
    again = manager.submit("c")
    end_all(manager)
    manager.submit("b")
    manager.run()
    assert running(manager) == ["b-0"], "a pool whose GPU is away keeps none of the others"
    manager.nvml.finds("GPU-5")
    manager.run()
    end_all(manager)
    assert running(manager) == ["c-0"]
    end_all(manager)
    assert manager.ended(again).state is JobState.SUCCEEDED
    assert all(manager.ended(job).state is JobState.SUCCEEDED for job in narrow)


def test_who_comes_back_after_a_week_has_nothing_to_catch_up() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
    for _ in range(7):
        manager.submit("a")
        manager.run()
        manager.host.now += DAY
        end_all(manager)
    for _ in range(3):
        manager.submit("a")
        manager.submit("b")
    order = []
    for _ in range(6):
        manager.run()
        order += running(manager)
        manager.host.now += HOUR
        end_all(manager)
    assert order in (["a-0", "b-0"] * 3, ["b-0", "a-0"] * 3)


def hours_of(manager: TurnManager, hours: int) -> list[str]:
    """Who had the GPUs in each hour, where every job lasts one and there are always more."""
    order = []
    for _ in range(hours):
        for one in manager.pools:
            jobs = [job for job in manager.memory.jobs.values() if job.pool == one.name]
            for _ in range(3 - sum(job.agent is None for job in jobs)):
                manager.submit(one.name)
        manager.run()
        order += running(manager)
        manager.host.now += HOUR
        end_all(manager)
    return order


def left_behind(manager: TurnManager, pool: str) -> None:
    """Others had nothing to do with that pool's GPUs for most of twenty days, and were never without jobs."""
    for one in manager.pools:
        manager.submit(one.name)
    manager.run()
    used = {PoolName(pool): 20 * DAY}
    facts = [
        TurnEnded(manager.now, name, Generation("long-ago"), 0.0, had) for name, had in used.items()
    ]
    manager._write(facts)
    manager.state = replace(manager.state, memory=manager.memory)


def test_a_pool_that_had_little_to_do_for_days_has_saved_up_one_longest_turn_of_the_other() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
    left_behind(manager, "b")
    order = hours_of(manager, 20)
    assert order.index("b-0") <= 8, "its job that ran, six hours, and one as both have as much"
    assert 5 <= order[8:].count("a-0") <= 7, "and from then on they have as much"


def test_a_pool_left_behind_by_one_that_it_shares_no_gpu_with_starves_nobody_by_a_third() -> None:
    manager = box(turning("a", 1, 4), turning("b", 1, 4), turning("w", 1, 8))
    assert not set(manager.desired.slots[0].lease) & set(manager.desired.slots[1].lease)
    left_behind(manager, "a")
    order = hours_of(manager, 40)
    last = order[-24:]
    assert {name: last.count(name) > 3 for name in ("a-0", "b-0", "w-0")} == {
        "a-0": True,
        "b-0": True,
        "w-0": True,
    }, order


def test_who_was_left_behind_is_as_far_behind_after_a_restart() -> None:
    orders = []
    for restarts in (False, True):
        manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
        left_behind(manager, "b")
        order = []
        for _ in range(14):
            order += hours_of(manager, 1)
            if restarts:
                manager.crash(())
        orders.append(order)
    assert orders[0] == orders[1]


def test_a_pool_s_account_is_opened_and_closed_once_for_all_its_jobs() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
    for _ in range(3):
        manager.submit("a")
    for _ in range(3):
        manager.run()
        end_all(manager)
    told = [
        fact for fact in manager.journal if isinstance(fact, TurnAwaited | TurnEnded | TurnWaived)
    ]
    assert [type(fact) for fact in told] == [TurnAwaited, *[TurnEnded] * 3, TurnWaived]


def test_no_gate_opens_before_nvml_was_asked_what_another_pool_s_job_has_left() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), turning("c", 1, 1), gpus=BOX[:2])
    manager.submit("a")
    manager.run()
    manager.host.now += 60.0
    end_all(manager)
    ended = manager.memory.slot(SlotName("a-0")).vacant_since
    assert ended is not None

    def verdicts(asked: float) -> dict[str, bool]:
        """Of the slots, had NVML been asked last at that time; ``a`` and ``c`` have the first GPU."""
        reading = Reading(
            asked, asked, gpus=BOX[:2], vitals={gpu.uuid: Vitals() for gpu in BOX[:2]}
        )
        _, world = manager.state.gpus.read(reading).judged(
            manager.desired, manager.memory, manager.look(), manager.now + 9.0
        )
        return {name: verdict.fit for name, verdict in world.gpu_verdicts.items()}

    assert verdicts(ended - 1.0) == {"a-0": False, "b-0": True, "c-0": False}
    assert verdicts(ended + 1.0) == {"a-0": True, "b-0": True, "c-0": True}


def test_what_a_slot_s_last_job_may_have_left_is_nobody_s_quiet_though_slot_and_manager_are_gone() -> (
    None
):
    manager = box(turning("a", 1, 1), turning("b", 1, 1), gpus=ONE)
    manager.submit("a")
    manager.run()
    manager.host.now += 60.0
    end_all(manager)
    manager.run()
    left = manager.now
    manager.reconfigure(turning("b", 1, 1))
    manager.crash(())
    (gpu,) = ONE

    def verdict(asked: float) -> str:
        reading = Reading(asked, asked, gpus=ONE, vitals={gpu.uuid: Vitals(MUCH, TOTAL, 0)})
        first = replace(Gpus(known=ONE), watching=True).read(reading).examined()
        _, world = first.judged(manager.desired, manager.memory, manager.look(), asked)
        (found,) = world.gpu_verdicts.values()
        return found.text or found.sick or ("fit" if found.fit else "not yet")

    assert "the last job's is not known yet" in verdict(left + 1.0)
    assert verdict(left + RECHECK + 1.0) == "fit"


# -- a service that hands its jobs out -----------------------------------------------------------


@dataclass
class Both(Dispatched):
    """A pool of a service that hands its jobs out, and one of the queue, on one GPU."""

    pools: tuple[PoolSpec, ...] = ()

    def config(self) -> Config:
        return Config(HostSpec("host"), self.pools)


def both() -> Both:
    handed, queued = turning(POOL, 1, 1, provider="github"), turning("q", 1, 1)
    lease = ((ONE[0].uuid,),)
    of = tuple(replace(spec, dispatched=True) for spec in specs(handed, leases=lease))
    host = Host()
    found = Both(
        host, desire(of, specs(queued, leases=lease)), service=Service(host), pools=(handed, queued)
    )
    found.settle()
    return found


def test_an_agent_of_a_service_is_enrolled_at_its_turn_and_not_before() -> None:
    one = both()
    one.submit("q")
    one.settle()
    assert [box.slot for box in one.host.boxes.values() if box.running] == ["q-0"]
    one.service.queue()
    one.settle()
    assert one.host.entries == {}, "nobody is registered who has no GPU"
    for name, held in list(one.host.boxes.items()):
        if held.running:
            one.host.ends(name, 0)
    one.settle()
    assert [box.slot for box in one.host.boxes.values() if box.working] == [f"{POOL}-0"]


def test_an_idle_pool_of_a_service_holds_no_gpu() -> None:
    one = both()
    one.service.queue()
    one.settle()
    one.service.finish(next(name for name, held in one.host.boxes.items() if held.working))
    one.settle()
    job = one.submit("q")
    one.settle()
    assert one.memory.jobs[job].state is JobState.RUNNING


def test_a_held_slot_of_a_service_has_its_turn_to_try_again() -> None:
    one = both()
    spec = one.desired.slots[0]
    one.service._assign(one.service.queue())  # to an agent whose client the service refuses
    counts = JobCounts(available=0, assigned=1, running=0)
    told = replace(one.state.dispatches[POOL], counts=counts, at=one.now)
    one.state = replace(one.state, dispatches={POOL: told})
    refused = SlotHeld(
        one.now, spec.name, "too old", Hold.SERVICE, one.now + 300.0, 1, spec.fingerprint
    )
    one._write((refused,))
    one.state = replace(one.state, memory=one.memory)
    for _ in range(20):
        one.settle()
        one.host.now += 60.0
    assert [box.slot for box in one.host.boxes.values() if box.working] == [f"{POOL}-0"]


# -- days --------------------------------------------------------------------------------------

NARROWS = turning("a", 8, 1)
HALVES = turning("b", 2, 4, 2, standby=False)
THREE = (NARROWS, HALVES, turning("c", 1, 8, 3))
FOUR = (*THREE, turning(POOL, 4, 2, provider="github"))
OTHERS = {HALVES.name: (turning("b", 4, 2, 2), turning("b", 1, 4))}
# In how many longest jobs a pool whose jobs wait has a turn while all its GPUs are there: what the others
# need to catch up with eight slots' longest jobs, beside what runs already.
PATIENCE = 9.0


def days(seed: int, seconds: float, longest: float, faults: float) -> Days:
    # Of one GPU each; the others' are as much work, so all are busy for most of the time. A service is asked
    # several times a minute whether it answers: the manager wakes seldom, so that days cost minutes.
    narrow = longest / 3
    rates = {"a": narrow, "b": 4 * narrow, "c": 8 * narrow, POOL: 4 * narrow}
    found = Days(
        box(*FOUR),
        Random(seed),
        longest,
        faults=faults,
        rates={PoolName(name): rate for name, rate in rates.items()},
        patience=PATIENCE * longest,
        rest=longest / 6,
        others=OTHERS,
    )
    found.pass_time(seconds)
    return found


def test_an_hour_of_pools_in_turn_over_eight_gpus_with_faults() -> None:
    one = days(1, HOUR, longest=240.0, faults=60.0)
    assert one.jobs > 50
    assert set(one.began) == {spec.name for spec in FOUR}
    assert set(FAULTS) <= one.happened.keys(), one.happened


@pytest.mark.soak
@pytest.mark.timeout(8 * 3600)
def test_a_thousand_days_of_pools_in_turn_over_eight_gpus_with_faults() -> None:
    one = days(2, 1000 * DAY, longest=6 * HOUR, faults=8 * HOUR)
    hours = {name: round(seconds / HOUR) for name, seconds in one.longest_wait.items()}
    print(f"{one.jobs} jobs; turns: {one.began}; longest waits, hours: {hours}; {one.happened}")
    assert one.jobs > 14_000


def test_weights_hold_over_time_whatever_goes_wrong_that_takes_no_gpu_away() -> None:
    one = Days(
        box(*THREE),
        Random(3),
        600.0,
        faults=900.0,
        kinds=HARMLESS,
        backlog=3,
        patience=PATIENCE * 600.0,
    )
    one.pass_time(3 * HOUR)
    shares = {
        name: one.served[PoolName(name)] / weight for name, weight in (("a", 1), ("b", 2), ("c", 3))
    }
    assert max(shares.values()) < 1.2 * min(shares.values()), shares


# -- in words ----------------------------------------------------------------------------------


def notes(manager: TurnManager) -> dict[str, str]:
    rows = statuses(manager.desired, manager.memory, manager.now, manager.state.turns)
    return {row.spec.name: row.note for row in rows if row.note}


def test_status_says_whose_turn_it_is_and_who_has_the_gpus() -> None:
    manager = box(turning("a", 1, 1), turning("b", 1, 1), turning("c", 1, 1), gpus=ONE)
    for name in ("a", "b", "c", "c"):
        manager.submit(name)
    manager.run()
    assert notes(manager) == {
        "b-0": "next on its GPUs, waits for GPU-0",
        "c-0": "waits for its turn: pool a has its GPU, and next in turn is pool b",
    }
    waits = waits_for(PoolName("b"), manager.state.turns, manager.desired, manager.memory)
    assert waits == "pool a has its GPU, and next in turn is pool b"
    end_all(manager)
    assert notes(manager) == {"c-0": "next on its GPUs, waits for GPU-0"}


def test_status_of_a_wide_slot_says_how_many_gpus_it_waits_for() -> None:
    manager = box(turning("a", 8, 1), turning("c", 1, 8))
    for _ in range(3):
        manager.submit("a")
    manager.run()
    manager.submit("c")
    manager.run()
    assert notes(manager) == {"c-0": "next on its GPUs, waits for GPU-0 and 2 more"}


def test_the_time_that_a_job_is_held_counts_on_its_pool_s_account_while_it_is_and_after() -> None:
    now, a, b = 1_800_000_000.0, PoolName("a"), PoolName("b")
    pools = {name: replace(turning(name, 1, 1), weight=2) for name in (a, b)}
    agent = Agent(
        *(Generation("g1"), SlotName("a-0"), a, 1, "f", "image", ("GPU-0",), now - 100.0),
        committed=now - 90.0,
        opened=now - 90.0,
        exited=now - 60.0,
        hold=JobHold("ann", 1000, now - 60.0, now + 600.0, now + 7200.0),
    )
    memory = Memory({agent.generation: agent}, turns={a: TurnAccount(15.0), b: TurnAccount(15.0)})
    assert accounts(memory, pools, now) == {a: 45.0, b: 15.0}
    removed = AgentRemoved(now + 40.0, agent.generation)
    _, ended = charged([removed], memory, pools.values())
    assert ended == TurnEnded(now + 40.0, a, agent.generation, 100.0, 65.0)
    free = replace(agent, hold=None)
    memory = replace(memory, agents={free.generation: free})
    assert charged([removed], memory, pools.values()) == (removed,)
