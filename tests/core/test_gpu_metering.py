"""What a GPU's counter of energy and the reasons for its clocks come to for a job, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.apply import apply
from mayfly.core.codec import decoded, encoded
from mayfly.core.facts import AgentConfirmed, AgentCreated, Fact
from mayfly.core.gpu_health import Process, Reading, Vitals
from mayfly.core.gpu_metering import MOST_WATTS, Meter, Metered, Throttle
from mayfly.core.gpu_use import Tally
from mayfly.core.gpus import PACE, PACE_AT_WORK, Gpus
from mayfly.core.memory import Agent, Memory
from mayfly.core.model import (
    Bench,
    ContainerId,
    Generation,
    GpuUse,
    Phase,
    PoolName,
    SlotName,
    UseOf,
    World,
)
from mayfly.core.requests import PaceGpus
from tests.core.simulator import desire, pool, specs

GPU = "GPU-a"
T = 1000.0
AGENT = Agent(
    generation=Generation("g1"),
    slot=SlotName("p-0"),
    pool=PoolName("p"),
    serial=1,
    fingerprint="f",
    image="i",
    lease=(GPU,),
    born=T - 10,
    container=ContainerId("c"),
    ready=T - 5,
    committed=T - 1,
    opened=T,
)
THERMAL = (Throttle.THERMAL,)


def busy_from(at: float) -> Agent:
    """A service's agent that waited for its job until then."""
    waits = replace(AGENT, embedded=False)
    facts: list[Fact] = [
        AgentCreated(T, waits, ""),
        AgentConfirmed(at, waits.generation, Phase.BUSY),
    ]
    return apply(Memory(), facts).agents[waits.generation]


def read(tally: Tally, at: float, uuid: str = GPU, **vitals: Any) -> Tally:
    """The tally after one more reading of one device."""
    return tally.add(Reading(at, at, vitals={uuid: Vitals(**vitals)}))


def working(agent: Agent, before: Tally | None = None, **more: Any) -> Tally:
    """A tally of that agent alone."""
    return (before or Tally()).assigned((), Memory(agents={agent.generation: agent}), **more)


def used(tally: Tally, agent: Agent, ended: float) -> GpuUse:
    """What it did."""
    (use,) = tally.use_of(agent, ended) or ()
    return use


def test_energy_is_what_the_counter_grew_by_while_the_job_ran() -> None:
    tally = read(Tally(), T - 2, energy=1_000_000, throttles=())
    tally = working(AGENT, tally)
    # 100 W until the job began in the middle of an interval, and after that, too.
    tally = read(tally, T + 2, energy=1_400_000, throttles=THERMAL)
    tally = read(tally, T + 4, energy=2_000_000, throttles=())
    use = used(tally, AGENT, T + 5)
    assert (use.energy, use.metered) == (800.0, 4.0)
    assert (use.throttled, use.watched) == ({"thermal": 2.0}, 4.0)
    assert (use.use_of, use.partial) == (UseOf.GPU, False)


def test_a_service_s_agent_that_waits_for_its_job_uses_no_energy() -> None:
    waits = replace(AGENT, embedded=False)
    tally = working(waits)
    for at in range(0, 3600, 10):
        tally = read(tally, T + at, energy=at * 50_000, throttles=())
    busy = busy_from(T + 3595)
    tally = read(working(busy, tally), T + 3600, energy=3600 * 50_000, throttles=())
    assert (used(tally, busy, T + 3601).energy, used(tally, busy, T + 3601).metered) == (250.0, 5.0)


@pytest.mark.parametrize(
    ("energies", "energy", "metered"),
    [
        ([100_000, 200_000, 300_000], 200.0, 20.0),
        ([9_000_000, 50_000, 150_000], 100.0, 10.0),  # the driver was loaded again
        ([0, 10_000_000_000, 10_000_100_000], 100.0, 10.0),  # it jumped
        ([2**64 - 1, 100_000, 200_000], 100.0, 10.0),
        ([None, None, None], None, 0.0),
        ([100_000, None, 200_000], None, 0.0),  # nothing for two intervals together
        ([5, 5, 5], 0.0, 20.0),
    ],
    ids=["grows", "anew", "jumped", "at its end", "none", "silent", "still"],
)
def test_a_counter_that_begins_anew_or_jumps_tells_nothing_of_that_time(
    energies: list[int | None], energy: float | None, metered: float
) -> None:
    tally = working(AGENT)
    for number, value in enumerate(energies):
        tally = read(tally, T + 10 * number, energy=value, throttles=())
    use = used(tally, AGENT, T + 20)
    assert (use.energy, use.metered) == (energy, metered)
    assert use.partial is (energy is not None and metered < 20)


def test_a_gpu_that_did_not_answer_for_a_while_is_metered_over_that_and_not_watched() -> None:
    tally = read(working(AGENT), T, energy=0, throttles=())
    tally = read(tally, T + 30, problem="it hangs")
    tally = read(tally, T + 60, energy=6_000_000, throttles=THERMAL)
    use = used(tally, AGENT, T + 61)
    assert (use.energy, use.metered) == (6000.0, 60.0)
    assert (use.throttled, use.watched, use.partial) == (None, 0.0, False)


def test_a_job_that_the_manager_was_away_for_is_metered_and_said_to_be_watched_in_part() -> None:
    tally = read(working(AGENT), T, energy=0, throttles=())
    tally = read(tally, T + 2, energy=200_000, throttles=THERMAL)
    kept = decoded(encoded(tally.kept))
    assert isinstance(kept, Tally)
    assert kept.agents == {}
    again = kept.resumed(Memory(agents={AGENT.generation: AGENT}))
    again = read(again, T + 100, energy=10_000_000, throttles=THERMAL)
    again = read(working(AGENT, again), T + 102, energy=10_200_000, throttles=THERMAL)
    use = used(again, AGENT, T + 103)
    assert (use.energy, use.metered) == (10_200.0, 102.0)
    assert (use.throttled, use.watched, use.partial) == ({"thermal": 4.0}, 4.0, True)


def test_a_job_of_a_manager_that_died_is_measured_in_part_and_says_so() -> None:
    tally = working(AGENT)  # nothing was kept
    tally = read(tally, T + 100, energy=10_000_000, throttles=())
    tally = read(tally, T + 110, energy=11_000_000, throttles=())
    use = used(tally, AGENT, T + 111)
    assert (use.energy, use.metered, use.partial) == (1000.0, 10.0, True)


def test_a_clock_that_jumps_adds_no_second() -> None:
    tally = read(working(AGENT), T, energy=0, throttles=())
    later = replace(AGENT, opened=T + 3600)
    tally = working(later, tally.shifted(3600.0))
    tally = read(tally, T + 3602, energy=200_000, throttles=THERMAL)
    use = used(tally, later, T + 3603)
    assert (use.energy, use.metered, use.throttled) == (200.0, 2.0, {"thermal": 2.0})


def test_of_a_mig_device_only_memory_is_told_and_nothing_is_zero() -> None:
    agent = replace(AGENT, lease=("MIG-b",))
    tally = working(agent)
    for at in (T, T + 2):
        tally = read(tally, at, "MIG-b", used=7)
    use = used(tally, agent, T + 60)
    assert (use.use_of, use.peak_memory, use.partial) == (UseOf.MIG, 7, False)
    assert (use.utilisation, use.energy, use.throttled) == (None, None, None)


def test_agents_that_share_a_gpu_have_their_own_memory_and_its_energy() -> None:
    shared = specs(replace(pool("p", 2), share=True), leases=((GPU,), (GPU,)))
    other = replace(AGENT, generation=Generation("g2"), slot=SlotName("p-1"), serial=2)
    other = replace(other, container=ContainerId("d"))
    memory = Memory(agents={one.generation: one for one in (AGENT, other)})
    tally = Tally().assigned(shared, memory)
    processes = (
        Process(1, 100, ContainerId("c")),
        Process(2, 50, ContainerId("x"), agent=AGENT.generation),  # of a container that it made
        Process(3, 7, ContainerId("d")),
    )
    for at in (T, T + 2):
        energy = int(at - T) * 100_000
        tally = read(tally, at, used=999, processes=processes, energy=energy, throttles=THERMAL)
    uses = [used(tally, one, T + 2) for one in (AGENT, other)]
    assert [use.peak_memory for use in uses] == [150, 7]
    assert [use.energy for use in uses] == [200.0, 200.0]
    assert {use.use_of for use in uses} == {UseOf.SHARED}


def test_memory_that_nvml_does_not_tell_of_a_process_is_not_taken_for_none() -> None:
    for processes in ((Process(1, None, ContainerId("c")),), ()):
        tally = read(working(AGENT), T, used=999, processes=processes)
        assert used(tally, AGENT, T + 1).peak_memory == 999


def test_a_job_that_is_not_to_be_disturbed_is_not_looked_at() -> None:
    quiet = frozenset({AGENT.pool})
    tally = working(AGENT, undisturbed=quiet)
    assert not tally.working, "NVML is asked no more often for it"
    for at in (T, T + 2):
        tally = read(tally, at, used=5, utilisation=9, energy=int(at), throttles=THERMAL)
    use = used(tally, AGENT, T + 60)
    assert use == GpuUse(GPU, None, None, use_of=UseOf.BENCH)


def test_a_pool_with_bench_is_not_looked_at_more_often_while_its_job_runs() -> None:
    for bench, pace in ((None, PACE_AT_WORK), (Bench(), PACE)):
        desired = desire(specs(replace(pool("p"), bench=bench), leases=((GPU,),)))
        memory = Memory(agents={AGENT.generation: AGENT})
        gpus, requests, _ = Gpus().scheduled(desired, memory, World({}), T)
        assert PaceGpus(pace, resting=False) in requests
        (use,) = gpus.read(Reading(T, T, vitals={GPU: Vitals()})).tally.use_of(AGENT, T + 9) or ()
        assert (use.use_of is UseOf.BENCH) is (bench is not None)


METERS = st.builds(
    Meter,
    st.floats(0, 1e6),
    st.none() | st.integers(0, 2**64 - 1),
    st.none() | st.frozensets(st.sampled_from(Throttle)).map(tuple),
)


@given(st.lists(METERS, max_size=20), st.floats(0, 1e6))
def test_no_figure_is_ever_below_nought_or_above_what_a_gpu_can_take(
    meters: list[Meter], since: float
) -> None:
    found = Metered()
    for before, after in pairwise(meters):
        found = found.add(before, after, since)
    assert 0 <= found.energy <= found.metered * MOST_WATTS * 1000 * (1 + 1e-9)
    assert all(0 <= seconds <= found.watched for seconds in found.throttled.values())
