"""What the first and the last lines of a job's log say, of each kind of slot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mayfly.core.gpu_health import Reading, Vitals
from mayfly.core.gpu_metering import Throttle
from mayfly.core.gpu_use import DeviceSum, Tally
from mayfly.core.gpus import Gpus
from mayfly.core.job_lines import first, last
from mayfly.core.leases import Gpu, Mig
from mayfly.core.memory import Agent
from mayfly.core.model import (
    ContainerId,
    Generation,
    Limits,
    Phase,
    PoolName,
    PoolSpec,
    SlotName,
    SlotSpec,
)
from mayfly.core.xids import Xid

GIB = 1024**3
H100 = Gpu("GPU-5a1f", 0, "NVIDIA H100 80GB HBM3", 80 * GIB)
SPLIT = Gpu("GPU-77aa", 1, "NVIDIA A100", 40 * GIB, (Mig("MIG-1", "1g.5gb", 5 * GIB),), split=True)
IMAGE = "sha256:4f0c"
NOW = 1000.0


def agent(*lease: str, opened: float | None = None) -> Agent:
    """Of slot gpu-1; ``opened``: since when its job runs."""
    made = Agent(
        Generation("0" * 13),
        SlotName("gpu-1"),
        PoolName("gpu"),
        1,
        "f",
        IMAGE,
        lease,
        NOW - 100,
        embedded=False,
        container=ContainerId("c"),
        memory=64 * GIB,
    )
    if opened is None:
        return made
    return replace(made, opened=opened, confirmed=Phase.BUSY, confirmed_at=opened)


def spec(**more: object) -> SlotSpec:
    pool = PoolSpec(PoolName("gpu"), provider="github", embedded=False, limits=Limits(cpus=8))
    named = SlotSpec(
        SlotName("gpu-1"), 1, pool, IMAGE, "f", reference="mayfly/github:cuda12.8", embedded=False
    )
    return replace(named, **more)  # type: ignore[arg-type]


def read(at: float, *xids: Xid, **vitals: Vitals) -> Reading:
    seen = {uuid.replace("_", "-"): one for uuid, one in vitals.items()}
    return Reading(at, at, "570.86.15", (12, 8), (H100, SPLIT), seen, xids)


def known(working: Agent, *readings: Reading) -> Gpus:
    """What is known of the GPUs after those readings."""
    none = {uuid: DeviceSum() for uuid in working.lease}
    tally = Tally(agents={working.generation: working}, sums={working.generation: none})
    for reading in readings:
        tally = tally.add(reading)
    return Gpus(known=(H100, SPLIT), reading=readings[-1], tally=tally)


def busy(at: float, load: int = 80, used: int = 61 * GIB) -> Vitals:
    """A GPU that takes 200 W and is at its power cap."""
    millijoules = int(at * 200 * 1000)
    return Vitals(used, 80 * GIB, load, energy=millijoules, throttles=(Throttle.POWER_CAP,))


def test_the_first_lines_say_slot_image_gpus_and_driver() -> None:
    one = agent("GPU-5a1f", "MIG-1", "GPU-gone")
    assert first(one, spec(), "box1", known(one, read(NOW))).splitlines() == [
        "mayfly: slot gpu-1 of box1: 8 processors, 64GiB memory",
        "mayfly: image mayfly/github:cuda12.8 (sha256:4f0c)",
        "mayfly: GPU GPU-5a1f: NVIDIA H100 80GB HBM3, 80GiB",
        "mayfly: GPU MIG-1: 1g.5gb of NVIDIA A100, 5GiB",
        "mayfly: GPU GPU-gone",
        "mayfly: driver 570.86.15, which runs CUDA 12.8 at most",
    ]


def test_without_gpus_they_say_slot_image_processors_and_memory_alone() -> None:
    free = replace(agent(), memory=None)
    unlimited = spec(pool=PoolSpec(PoolName("gpu"), embedded=False), reference="")
    assert first(free, unlimited, "box1", Gpus()).splitlines() == [
        "mayfly: slot gpu-1 of box1: all processors, no limit of memory",
        "mayfly: image sha256:4f0c",
    ]
    assert last(free, Gpus()) == ""


def test_the_last_lines_say_what_was_used_until_the_last_reading() -> None:
    one = agent("GPU-5a1f", opened=NOW)
    readings = [read(NOW + n, GPU_5a1f=busy(NOW + n, 80 + n)) for n in range(0, 9, 2)]
    assert last(one, known(one, *readings)).splitlines() == [
        (
            "mayfly: GPU GPU-5a1f: 61GiB of 80GiB at most, 84 % busy on average, 0.44 Wh, "
            "throttled for 8s by power cap, no XID"
        ),
        "mayfly: measured until 1970-01-01T00:16:48.000Z, from outside of the job",
    ]


def test_they_say_each_xid_of_its_own_gpu_and_how_often_it_came() -> None:
    one = agent("GPU-5a1f", opened=NOW)
    codes = [31, 31, 43]
    later = read(
        NOW + 2,
        *(Xid("GPU-5a1f", code, NOW + 1) for code in codes),
        Xid("GPU-77aa", 79, NOW + 1),
        GPU_5a1f=busy(NOW + 2),
    )
    told = last(one, known(one, read(NOW, GPU_5a1f=busy(NOW)), later))
    assert ", XID 31 (2 times), 43\n" in told
    assert "79" not in told
    # One that answers nothing any more has its XIDs told all the same.
    lost = read(NOW + 4, Xid("GPU-5a1f", 79, NOW + 3), GPU_5a1f=Vitals(problem="lost"))
    assert ", XID 31 (2 times), 43, 79\n" in last(
        one, known(one, read(NOW, GPU_5a1f=busy(NOW)), later, lost)
    )


def test_a_storm_of_different_xids_is_bounded() -> None:
    one = agent("GPU-5a1f", opened=NOW)
    storm = tuple(Xid("GPU-5a1f", code, NOW) for code in range(1000))
    (use,) = (
        known(one, read(NOW + 1, *storm, GPU_5a1f=busy(NOW + 1))).tally.use_of(one, NOW + 1) or ()
    )
    assert use.xids is not None
    assert len(use.xids) == 32


@pytest.mark.parametrize("share", [True, False])
def test_what_is_the_whole_gpu_s_is_said_of_a_part_and_of_one_that_is_shared(share: bool) -> None:
    uuid = "GPU-5a1f" if share else "MIG-1"
    one = agent(uuid, opened=NOW)
    seen = {uuid.replace("-", "_"): busy(NOW + 1)}
    gpus = known(one, read(NOW, **seen), read(NOW + 1, **seen))
    if share:
        gpus = replace(gpus, tally=replace(gpus.tally, sharing=frozenset({PoolName("gpu")})))
    said = "which other agents share" if share else "of a MIG device cannot be told"
    assert said in last(one, gpus)


def test_a_measured_job_s_gpu_is_said_not_to_have_been_looked_at() -> None:
    one = agent("GPU-5a1f", opened=NOW)
    gpus = known(one, read(NOW + 1, GPU_5a1f=busy(NOW + 1)))
    gpus = replace(gpus, tally=replace(gpus.tally, undisturbed=frozenset({PoolName("gpu")})))
    assert "was not looked at, so as not to disturb the job" in last(one, gpus)


def test_nothing_is_said_of_a_job_that_has_not_begun_or_where_nvml_does_not_answer() -> None:
    waiting = replace(agent("GPU-5a1f"), opened=NOW, confirmed=Phase.IDLE)
    assert last(waiting, known(waiting, read(NOW, GPU_5a1f=busy(NOW)))) == ""
    one = agent("GPU-5a1f", opened=NOW)
    silent = replace(read(NOW + 2), problem="NVML does not answer")
    assert last(one, known(one, silent)) == ""
    assert "was not looked at yet" in last(one, known(one, read(NOW + 2)))


def test_a_name_from_outside_stays_on_one_line_of_bounded_length() -> None:
    rogue = spec(reference="lab/a\nmayfly: forged \x1b[31m" + "x" * 1000)
    lines = first(agent(), rogue, "box1", Gpus()).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 310 and line.isprintable() for line in lines)


def test_a_name_from_outside_is_no_command_to_a_runner() -> None:
    """GitHub's and Azure's take these for commands wherever in a line they stand."""
    rogue = spec(
        reference="lab/a ##vso[task.setvariable variable=x]y ####[add-path]/tmp ::debug::z"
    )
    for line in first(agent(), rogue, "box1", Gpus()).splitlines():
        assert "##" not in line
        assert line.startswith("mayfly: ")
