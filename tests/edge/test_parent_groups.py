"""The control groups that hold an agent and its containers together, on a kernel's files as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.core.model import Generation
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.parent_groups import ParentGroups, Together, whose

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
