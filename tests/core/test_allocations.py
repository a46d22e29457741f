"""GPUs that Slurm gives: when one is asked for, given back, lost, or simply not known of; pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.allocations import (
    NOT_ASKED,
    Allocation,
    Allocations,
    AllocationsSeen,
    TendAllocations,
    conditions,
    fits,
    identity,
    job_name,
    slot_of,
)
from mayfly.core.leases import Gpu
from mayfly.core.memory import Agent, Memory, Pause
from mayfly.core.model import (
    Config,
    DoomReason,
    Generation,
    HostId,
    HostSpec,
    Limits,
    PoolName,
    PoolSpec,
    SlotName,
)
from mayfly.core.slurm_request import SlurmRequest
from tests.core.simulator import Host, Manager, desire, pool, specs

HOST = HostId("abcdefghijkl")
GPU = PoolName("gpu")
ONE, TWO = SlotName("gpu-0"), SlotName("gpu-1")
REQUEST = SlurmRequest(wait=100.0, retry=50.0, idle=30.0, look=10.0)
POOL = PoolSpec(
    GPU, slots=2, gpus=1, lease="slurm", slurm=REQUEST, limits=Limits(job_timeout=600.0)
)
CONFIG = Config(HostSpec("box"), (POOL,))
GPUS = (Gpu("GPU-a", 0, minor=0), Gpu("GPU-b", 1, minor=1))
RUNS = Allocation("7", ONE, running=True, since=0.0, state="RUNNING", ends=5000.0, minors=(1,))
WAITS = Allocation("8", ONE, running=False, since=0.0, state="PENDING", reason="Resources")


def known(*seen: Allocation, at: float = 10.0, before: Allocations = NOT_ASKED) -> Allocations:
    return before.told(AllocationsSeen(at, seen), (POOL,), at)


def agent(allocation: str, *, committed: float | None = 5.0, exited: float | None = None) -> Memory:
    made = Agent(
        Generation("mx2yftgpx2pwl"),
        ONE,
        GPU,
        1,
        "f",
        "i",
        ("GPU-b",),
        1.0,
        committed=committed,
        exited=exited,
        allocation=allocation,
    )
    return Memory(agents={made.generation: made})


def scheduled(
    state: Allocations,
    jobs: int = 0,
    now: float = 10.0,
    memory: Memory | None = None,
    barred: tuple[SlotName, ...] = (),
) -> tuple[Allocations, TendAllocations | None]:
    after, wanted, _ = state.scheduled(CONFIG, HOST, memory or Memory(), {GPU: jobs}, barred, now)
    return after, wanted


@pytest.mark.parametrize(
    ("jobs", "barred", "asks"),
    [(0, (), []), (1, (), [ONE]), (1, (ONE,), [TWO]), (5, (), [ONE, TWO]), (5, (ONE, TWO), [])],
)
def test_as_many_are_asked_for_as_there_are_jobs_that_a_slot_could_do(
    jobs: int, barred: tuple[SlotName, ...], asks: list[SlotName]
) -> None:
    after, wanted = scheduled(known(), jobs, barred=barred)
    assert [ask.slot for ask in (wanted.asks if wanted else ())] == asks
    _, again = scheduled(replace(after, looked=None), jobs, now=11.0, barred=barred)
    assert not (again.asks if again else ()), "once"


def test_a_slot_that_has_one_takes_the_job_and_no_other_is_asked_for() -> None:
    _, wanted = scheduled(known(RUNS), 1)
    assert wanted is None


@pytest.mark.parametrize(
    ("one", "now", "memory", "back"),
    [
        (RUNS, 39.0, None, False),
        (RUNS, 40.0, None, True),  # nothing wanted it for as long as it may be kept
        (RUNS, 40.0, agent("7"), False),
        (RUNS, 40.0, agent("7", exited=20.0), True),
        (RUNS, 4990.0, agent("7"), False),  # its end is near, and a job is at work
        (replace(WAITS, since=-95.0), 10.0, None, True),  # waited for too long
        (replace(RUNS, slot=SlotName("former-0")), 10.0, None, True),
        (replace(RUNS, ends=700.0), 10.0, None, True),  # no job of the pool would fit
    ],
)
def test_one_is_given_back_that_is_of_no_use_and_none_that_somebody_may_be_at_work_on(
    one: Allocation, now: float, memory: Memory | None, back: bool
) -> None:
    state, _ = scheduled(known(one), memory=memory)
    after, _ = scheduled(replace(state, looked=None), now=now, memory=memory)
    assert (one.id in after.returning) is back
    assert (after.of(one.slot) is None) is back, "from then on the slot has no GPU"


def test_of_two_the_slot_keeps_the_one_that_runs() -> None:
    after, _ = scheduled(known(WAITS, RUNS), 1)
    assert after.returning == {"8"}


def test_one_that_was_given_up_or_refused_is_asked_for_again_later() -> None:
    state, _ = scheduled(known(replace(WAITS, since=-95.0)), 1, barred=(TWO,))
    state = known(before=state)
    first, wanted = scheduled(state, 1, now=20.0, barred=(TWO,))
    assert wanted is None or not wanted.asks
    _, wanted = scheduled(replace(first, looked=None), 1, now=61.0, barred=(TWO,))
    assert wanted is not None
    assert [ask.slot for ask in wanted.asks] == [ONE]
    refused = known().told(AllocationsSeen(10.0, (), refused={ONE: "Invalid qos"}), (POOL,), 10.0)
    assert "Invalid qos" in refused.awaits(ONE)
    assert [one.code for one in conditions(refused, CONFIG, 10.0)] == ["slurm.refused"]
    _, wanted = scheduled(refused, 1, now=20.0, barred=(TWO,))
    assert wanted is None or not wanted.asks


def test_a_controller_that_does_not_answer_is_no_lost_allocation_and_gets_no_request() -> None:
    silent = known(RUNS).told(AllocationsSeen(20.0, None, problem="connect failure"), (POOL,), 20.0)
    assert silent.lost(agent("7")) == {}
    assert silent.of(ONE) == RUNS
    _, wanted = scheduled(silent, 5, now=40.0)
    assert wanted is not None
    assert not wanted.asks
    assert [one.code for one in conditions(silent, CONFIG, 20.0)] == ["slurm.unreachable"]
    later, _ = scheduled(replace(silent, looked=None), now=400.0)
    assert not later.returning, "nothing ages while every slot is barred for its silence"
    back = silent.told(AllocationsSeen(30.0, ()), (POOL,), 30.0)
    assert back.lost(agent("7")), "now Slurm says so"


@pytest.mark.parametrize(
    ("memory", "lost"),
    [
        (agent("7"), True),
        (agent("8"), False),
        (agent(""), False),  # its GPUs are not Slurm's
        (agent("7", committed=None), False),  # it stands at its gate, which is not opened
        (agent("7", committed=15.0), False),  # the look began before its gate was opened
        (agent("7", exited=9.0), False),
    ],
)
def test_who_is_at_work_on_one_that_is_gone_has_lost_its_gpus(memory: Memory, lost: bool) -> None:
    seen = AllocationsSeen(
        10.0, (replace(RUNS, id="8"),), ended={"7": "Slurm cancelled allocation 7"}
    )
    found = NOT_ASKED.told(seen, (POOL,), 10.0).lost(memory)
    assert list(found.values()) == (["Slurm cancelled allocation 7"] if lost else [])


def test_a_number_that_is_given_again_is_another_allocation() -> None:
    before, after = identity("7", 1.0), identity("7", 20.0)
    assert known(replace(RUNS, id=before)).lost(agent(before)) == {}
    assert known(replace(RUNS, id=after)).lost(agent(before))
    assert known(replace(RUNS, id=after)).awaits(ONE).startswith("the GPUs of allocation 7 are")


def test_one_that_is_back_in_the_queue_has_no_gpu() -> None:
    queued = replace(RUNS, running=False, state="REQUEUED")
    assert list(known(queued).lost(agent("7")).values()) == [
        "Slurm has taken allocation 7 back, and does not say why"
    ]
    assert known(replace(queued, state="SUSPENDED")).lost(agent("7")) == {}, "it keeps its GPUs"


def test_what_a_pause_keeps_does_not_have_slurm_asked_without_end() -> None:
    paused = Memory(pause=Pause(0.0, "anna"))
    state, _ = scheduled(known(RUNS), memory=paused)
    late = known(RUNS, at=200.0, before=state)
    after, wanted, due = late.scheduled(CONFIG, HOST, paused, {}, (), 201.0)
    assert (after.returning, wanted, due) == (frozenset(), None, 210.0)


def test_its_gpus_are_those_of_the_device_files_and_none_where_one_is_not_known() -> None:
    assert known(RUNS).leases((POOL,), GPUS) == {ONE: (RUNS, ("GPU-b",))}
    assert known(replace(RUNS, minors=(1, 5))).leases((POOL,), GPUS) == {}
    assert known(replace(RUNS, minors=None)).leases((POOL,), GPUS) == {}
    assert known(WAITS).leases((POOL,), GPUS) == {}
    split = (GPUS[0], replace(GPUS[1], split=True))
    assert known(RUNS).leases((POOL,), split) == {}, "a GPU that MIG has split is no one GPU"


def test_what_is_told_while_it_waits_is_slurm_s_word() -> None:
    assert known(WAITS).awaits(ONE) == "waits for Slurm: Resources (allocation 8)"
    (one,) = conditions(known(WAITS), CONFIG, 40.0)
    assert (one.code, one.slots) == ("slurm.waits", (ONE,))
    assert "Resources" in one.text


def test_an_allocation_is_found_by_its_name_and_no_other_host_s_is() -> None:
    name = job_name(HOST, ONE, 1.0)
    assert slot_of(name, HOST) == ONE
    for other in (
        name.replace("abc", "xyz"),
        "mayfly",
        f"mayfly:{HOST}::x",
        f"{name}:more",
        "train",
    ):
        assert slot_of(other, HOST) is None


def test_a_job_fits_where_its_longest_ends_before_the_allocation() -> None:
    assert fits(None, POOL, 0.0)
    assert fits(720.0, POOL, 0.0)
    assert not fits(719.0, POOL, 0.0)
    assert REQUEST.minutes(600.0) == 25
    assert replace(REQUEST, time_limit=3601.0).minutes(600.0) == 61


def test_a_clock_that_is_set_ages_nothing() -> None:
    state, _ = scheduled(known(RUNS))
    moved, _ = scheduled(replace(state.shifted(1000.0), looked=None), now=1020.0)
    assert not moved.returning


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("lost", [True, False])
def test_a_job_whose_gpus_are_gone_is_ended_whether_its_slot_is_configured_still_or_not(
    lost: bool, configured: bool
) -> None:
    manager = Manager(Host(), desire(specs(pool("a"))))
    manager.run()
    busy = manager.own("a-0")
    manager.submit("a")
    manager.run()
    assert manager.memory.agents[busy].busy
    agents = manager.memory.agents
    working = replace(agents[busy], allocation="7")
    manager.remember(replace(manager.memory, agents={**agents, busy: working}))
    manager.pass_time(10)
    seen = () if lost else (replace(RUNS, slot=SlotName("a-0")),)
    manager.state = replace(
        manager.state, allocations=Allocations(seen=seen, at=manager.now, problem="")
    )
    if not configured:
        manager.desired = desire()
    manager.turn()
    doom = manager.memory.agents[busy].doom
    assert (doom.reason if doom else None) is (DoomReason.LEASE_LOST if lost else None)
