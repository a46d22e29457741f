"""The control groups that hold an agent and its containers together, on a kernel's files as they are."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.model import ContainerId, Generation
from mayfly.core.naming import born, generation
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.parent_groups import OVER, ParentGroups, Together, whose

AGENT = Generation("mywpiww03hg4s")
LIMITS = Together(memory=512 * 1024**2, cpus=1.5, pids=100)


def groups(tmp_path: Path) -> ParentGroups:
    return ParentGroups(tmp_path / "cgroup", tmp_path / "units", tmp_path / "proc")


def first(tmp_path: Path) -> ParentGroups:
    """A host with version 1, whose kernel makes the files of each group."""
    of = groups(tmp_path)
    for name in ("memory", "cpu", "pids", "devices"):
        (of.mounted / name / "mayfly" / AGENT).mkdir(parents=True)
    (of.mounted / "memory/mayfly/memory.use_hierarchy").write_text("0\n")
    for name in (
        "memory/mayfly/{}/memory.use_hierarchy",
        "memory/mayfly/{}/memory.limit_in_bytes",
        "memory/mayfly/{}/memory.memsw.limit_in_bytes",
        "cpu/mayfly/{}/cpu.cfs_period_us",
        "cpu/mayfly/{}/cpu.cfs_quota_us",
        "cpu/mayfly/{}/cpu.shares",
        "pids/mayfly/{}/pids.max",
    ):
        (of.mounted / name.format(AGENT)).write_text("-1\n")
    return of


def second(tmp_path: Path) -> ParentGroups:
    of = groups(tmp_path)
    place = of.mounted / "mayfly" / AGENT
    place.mkdir(parents=True)
    for one in (of.mounted, place.parent, place):
        (one / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (one / "cgroup.subtree_control").write_text("")
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight"):
        (place / name).write_text("max\n")
    return of


def at_work(of: ParentGroups, lines: str, process: int = 7) -> None:
    place = of.proc / str(process)
    place.mkdir(parents=True, exist_ok=True)
    (place / "cgroup").write_text(lines)


def test_version_1_has_each_limit_in_its_own_place(tmp_path: Path) -> None:
    of = first(tmp_path)
    assert of.make(AGENT, LIMITS, "cgroupfs", "1") == f"/mayfly/{AGENT}"
    memory = of.mounted / "memory/mayfly"
    assert (memory / "memory.use_hierarchy").read_text() == "1"
    assert (memory / AGENT / "memory.limit_in_bytes").read_text() == str(LIMITS.memory)
    assert (memory / AGENT / "memory.memsw.limit_in_bytes").read_text() == str(LIMITS.memory)
    cpu = of.mounted / "cpu/mayfly" / AGENT
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"
    assert (cpu / "cpu.cfs_period_us").read_text() == "100000"
    assert (of.mounted / "pids/mayfly" / AGENT / "pids.max").read_text() == "100"


def test_version_2_lets_the_engine_make_groups_below(tmp_path: Path) -> None:
    of = second(tmp_path)
    assert of.make(AGENT, LIMITS, "cgroupfs", "2") == f"/mayfly/{AGENT}"
    place = of.mounted / "mayfly" / AGENT
    for one in (of.mounted, place.parent, place):
        assert (one / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert (place / "memory.max").read_text() == str(LIMITS.memory)
    assert (place / "memory.swap.max").read_text() == "0"
    assert (place / "cpu.max").read_text() == "150000 100000"
    assert (place / "pids.max").read_text() == "100"


def test_systemd_gets_a_slice(tmp_path: Path) -> None:
    of = groups(tmp_path)
    of.units.mkdir()
    name = of.make(AGENT, LIMITS, "systemd", "2")
    assert name == f"mayfly-{AGENT}.slice"
    said = (of.units / name).read_text().splitlines()
    assert {"MemoryMax=536870912", "MemorySwapMax=0", "TasksMax=100", "CPUQuota=150.00%"} <= {*said}
    of.remove(AGENT)
    assert not (of.units / name).exists()


def test_what_is_not_limited_is_not_said(tmp_path: Path) -> None:
    of = second(tmp_path)
    of.make(AGENT, Together(None, None, 100), "cgroupfs", "2")
    place = of.mounted / "mayfly" / AGENT
    assert (place / "memory.max").read_text() == "max\n"
    assert (place / "cpu.max").read_text() == "max\n"


def test_a_host_that_does_not_let_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no controller memory"):
        groups(tmp_path).make(AGENT, LIMITS, "cgroupfs", "1")


V1 = "12:memory:/mayfly/{0}/c0ffee\n5:pids:/mayfly/{0}/c0ffee\n4:cpu,cpuacct:/docker/c0ffee\n"


def test_that_the_limits_are_in_force_is_looked_at_where_a_container_runs(tmp_path: Path) -> None:
    of = first(tmp_path)
    of.make(AGENT, LIMITS, "cgroupfs", "1")
    at_work(of, V1.format(AGENT))
    assert of.hold(7, AGENT, LIMITS)
    assert not of.hold(8, AGENT, LIMITS), "no such process"
    assert not of.hold(7, Generation("mywpiww04hg4s"), LIMITS), "another's"
    (of.mounted / "pids/mayfly" / AGENT / "pids.max").write_text("max\n")
    assert not of.hold(7, AGENT, LIMITS)
    at_work(of, "12:memory:/docker/c0ffee\n5:pids:/docker/c0ffee\n")
    assert not of.hold(7, AGENT, LIMITS), "the engine puts it elsewhere"


def test_in_version_2_and_in_a_slice_too(tmp_path: Path) -> None:
    of = second(tmp_path)
    of.make(AGENT, LIMITS, "cgroupfs", "2")
    at_work(of, f"0::/mayfly/{AGENT}/c0ffee\n")
    assert of.hold(7, AGENT, LIMITS)
    place = of.mounted / "mayfly.slice" / f"mayfly-{AGENT}.slice"
    place.mkdir(parents=True)
    (place / "memory.max").write_text(f"{LIMITS.memory}\n")
    (place / "pids.max").write_text("100\n")
    at_work(of, f"0::/mayfly.slice/mayfly-{AGENT}.slice/docker-c0ffee.scope\n", 9)
    assert of.hold(9, AGENT, LIMITS)


def test_a_group_goes_everywhere_and_not_before_it_is_empty(tmp_path: Path) -> None:
    of = groups(tmp_path)
    places = [of.mounted / name / "mayfly" / AGENT for name in ("memory", "devices")]
    for place in places:
        place.mkdir(parents=True)
    # A file stands for whoever runs in it: the kernel removes no such group. An empty one below, as an engine
    # that was killed leaves, keeps nothing.
    (places[0] / "c0ffee/inner").mkdir(parents=True)
    (places[1] / "c0ffee").mkdir()
    (places[1] / "c0ffee/tasks").touch()
    with pytest.raises(Passing, match="control group"):
        of.remove(AGENT)
    (places[1] / "c0ffee/tasks").unlink()
    of.remove(AGENT)
    of.remove(AGENT)
    assert not any(place.exists() for place in places)


@pytest.mark.parametrize(
    ("path", "group"),
    [
        (f"/mayfly/{AGENT}/c0ffee", f"/mayfly/{AGENT}"),
        (f"/outer/mayfly/{AGENT}/c0ffee", f"/outer/mayfly/{AGENT}"),
        (
            f"/mayfly.slice/mayfly-{AGENT}.slice/docker-c0ffee.scope",
            f"/mayfly.slice/mayfly-{AGENT}.slice",
        ),
        (f"/mayfly/{AGENT}", None),  # nothing runs in the group itself
        ("/docker/c0ffee", None),
        ("/mayfly/short/c0ffee", None),
        ("/system.slice/mayfly-refresh.service", None),
    ],
)
def test_whose_a_process_is_stands_in_its_groups_path(path: str, group: str | None) -> None:
    found = whose(path)
    assert (found.group if found is not None else None) == group
    assert found is None or found.agent == AGENT


@pytest.mark.parametrize(
    ("version", "name", "values"),
    [
        ("1", "cpu/mayfly/{}/cpu.shares", ("1024", "512", "102")),
        ("2", "mayfly/{}/cpu.weight", ("100", "50", "10")),
    ],
)
def test_who_may_use_little_counts_for_little_and_long_jobs_for_less(
    tmp_path: Path, version: str, name: str, values: tuple[str, str, str]
) -> None:
    of = first(tmp_path) if version == "1" else second(tmp_path)
    place = of.mounted / name.format(AGENT)
    of.make(AGENT, LIMITS, "cgroupfs", version)
    assert place.read_text() == values[0]
    of.make(AGENT, Together(None, 0.5, None), "cgroupfs", version)
    assert place.read_text() == values[1]
    of.weigh(AGENT, 0.1)
    assert place.read_text() == values[2]
    of.weigh(Generation("mywpiww04hg4s"), 0.1)  # not there


def frozen_files(of: ParentGroups, version: str) -> tuple[Path, str, str]:
    """Where an agent's group is frozen: the file, and what is said there of one that is, and is not."""
    place = of.mounted / ("freezer/mayfly" if version == "1" else "mayfly") / AGENT
    place.mkdir(parents=True, exist_ok=True)
    if version == "1":
        (place / "freezer.state").write_text("THAWED\n")
        return place / "freezer.state", "FROZEN", "THAWED"
    (place / "cgroup.freeze").write_text("0\n")
    return place / "cgroup.freeze", "1", "0"


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_group_is_frozen_whole_and_goes_on(tmp_path: Path, version: str) -> None:
    of = groups(tmp_path)
    assert not of.freeze(AGENT), "there is none"
    of.thaw(AGENT)
    file, frozen, thawed = frozen_files(of, version)
    assert not of.is_frozen(AGENT)
    assert of.freeze(AGENT)
    assert file.read_text() == frozen
    if version == "1":  # the kernel's own word for it
        (file.parent / "freezer.self_freezing").write_text("1\n")
    assert of.is_frozen(AGENT)
    assert not of.is_frozen(Generation("mywpiww04hg4s"))
    of.thaw(AGENT)
    assert file.read_text() == thawed


def test_a_slice_of_systemd_s_is_frozen_too(tmp_path: Path) -> None:
    of = groups(tmp_path)
    place = of.mounted / "mayfly.slice" / f"mayfly-{AGENT}.slice"
    place.mkdir(parents=True)
    (place / "cgroup.freeze").write_text("0\n")
    assert of.freeze(AGENT)
    assert of.is_frozen(AGENT)


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    made = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
    yield made
    for one in made:
        one.kill()
        one.wait()


def test_what_runs_in_a_group_is_ended_but_for_the_agent_s_own_and_whoever_has_its_number_now(
    tmp_path: Path, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    of = groups(tmp_path)
    own, inner, strange = sleepers
    for name, process in (("a" * 64, own), ("b" * 64, inner), ("c" * 64, strange)):
        place = of.mounted / "memory/mayfly" / AGENT / name / "deeper"
        place.mkdir(parents=True)
        (place / "cgroup.procs").write_text(f"{process.pid}\n0\n")
        at_work(of, f"7:memory:/mayfly/{AGENT}/{name}/deeper\n", process.pid)
    at_work(of, "7:memory:/docker/somebody\n", strange.pid)
    of.kill(AGENT, but=ContainerId("a" * 64))
    assert inner.wait(30) == -signal.SIGKILL
    assert (own.poll(), strange.poll()) == (None, None)
    of.kill(AGENT)
    assert own.wait(30) == -signal.SIGKILL
    assert strange.poll() is None
    of.kill(Generation("mywpiww04hg4s"))  # not there


def test_the_kernel_ends_a_group_of_version_2_by_one_word(tmp_path: Path) -> None:
    of = groups(tmp_path)
    files = [of.mounted / "mayfly" / AGENT / name / "cgroup.kill" for name in ("a" * 64, "b" * 64)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("")
    of.kill(AGENT, but=ContainerId("a" * 64))
    assert [file.read_text() for file in files] == ["", "1"]


def test_empty_groups_of_agents_that_are_long_over_go_and_nothing_else(tmp_path: Path) -> None:
    of = groups(tmp_path)
    now = born(AGENT) + OVER + 1
    young, used = generation(now - OVER + 60, 5), generation(born(AGENT), 7)
    of.units.mkdir()
    for root in ("memory", "freezer", ""):
        for name in (AGENT, young, used, "somebody", "MYWPIWW03HG4S"):
            (of.mounted / root / "mayfly" / name / "c0ffee").mkdir(parents=True)
        # In one that is long at work the engine may be making a group.
        (of.mounted / root / "mayfly" / used / "f00d").mkdir()
        (of.mounted / root / "mayfly" / used / "c0ffee/cgroup.procs").write_text("7\n")
    for name in (AGENT, young):
        (of.units / f"mayfly-{name}.slice").touch()
    (of.units / "mayfly-refresh.slice").touch()
    of.sweep(now)
    of.sweep(now)
    for root in ("memory", "freezer", ""):
        left = {one.name for one in (of.mounted / root / "mayfly").iterdir()}
        assert left == {young, used, "somebody", "MYWPIWW03HG4S"}
        assert (of.mounted / root / "mayfly" / used / "f00d").is_dir()
    assert {one.name for one in of.units.iterdir()} == {
        f"mayfly-{young}.slice",
        "mayfly-refresh.slice",
    }


def test_a_slice_s_file_stays_while_its_group_is_there(tmp_path: Path) -> None:
    of = groups(tmp_path)
    of.units.mkdir()
    unit = of.units / f"mayfly-{AGENT}.slice"
    unit.touch()
    place = of.mounted / "mayfly.slice" / unit.name
    place.mkdir(parents=True)
    of.sweep(born(AGENT) + OVER + 1)
    assert unit.exists()
    place.rmdir()
    of.sweep(born(AGENT) + OVER + 1)
    assert not unit.exists()
