"""What a container uses, from the kernel's files of both versions, and from files that say something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.core.model import ContainerId
from mayfly.core.use import Use
from mayfly.edge.cgroup_use import ControlGroups

BOX = ContainerId("b" * 64)
FIRST = {
    "proc/7/cgroup": f"9:name=systemd:/docker/{BOX}\n8:pids:/docker/{BOX}\n4:memory:/docker/{BOX}\n"
    f"2:cpu,cpuacct:/docker/{BOX}\n0::/\n",
    f"sys/cpuacct/docker/{BOX}/cpuacct.usage": "2500000000\n",
    f"sys/memory/docker/{BOX}/memory.usage_in_bytes": "1000\n",
    f"sys/memory/docker/{BOX}/memory.stat": "cache 5\ntotal_inactive_file 300\n",
    f"sys/pids/docker/{BOX}/pids.current": "4\n",
}
PLACE = f"sys/system.slice/docker-{BOX}.scope"
SECOND = {
    "proc/7/cgroup": f"0::/system.slice/docker-{BOX}.scope\n",
    f"{PLACE}/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
    f"{PLACE}/memory.current": "1000\n",
    f"{PLACE}/memory.stat": "anon 9\ninactive_file 300\n",
    f"{PLACE}/pids.current": "4\n",
}


def use(home: Path, files: dict[str, str]) -> Use | None:
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return ControlGroups(home / "proc", home / "sys").use(7, BOX)


@pytest.mark.parametrize("files", [FIRST, SECOND], ids=["v1", "v2"])
def test_processors_memory_and_processes_are_read(tmp_path: Path, files: dict[str, str]) -> None:
    assert use(tmp_path, files) == Use(2.5, 700, 4)


@pytest.mark.parametrize("files", [FIRST, SECOND], ids=["v1", "v2"])
def test_an_agent_counts_with_the_containers_that_it_has(
    tmp_path: Path, files: dict[str, str]
) -> None:
    agent = "mywpiww03hg4s"
    moved = {}
    for name, text in files.items():
        for alone, beside, group in (
            (f"/docker/{BOX}", f"/mayfly/{agent}/{BOX}", f"/mayfly/{agent}"),
            (
                f"/system.slice/docker-{BOX}.scope",
                f"/mayfly.slice/mayfly-{agent}.slice/docker-{BOX}.scope",
                f"/mayfly.slice/mayfly-{agent}.slice",
            ),
        ):
            name, text = name.replace(alone, group), text.replace(alone, beside)  # noqa: PLW2901
        moved[name] = text
    assert use(tmp_path, moved) == Use(2.5, 700, 4)


@pytest.mark.parametrize("files", [FIRST, SECOND], ids=["v1", "v2"])
@pytest.mark.parametrize("text", ["max\n", "", "-3\n", "²\n", "9" * 30 + "x"])
def test_what_is_no_number_is_not_known(tmp_path: Path, files: dict[str, str], text: str) -> None:
    changed = {name: text if name.endswith("pids.current") else had for name, had in files.items()}
    found = use(tmp_path, changed)
    assert found is not None
    assert (found.memory, found.processes) == (700, None)


@pytest.mark.parametrize(
    "groups", ["", "0::/\n", "nonsense\n", "0::/docker/cccc\n", f"0::/docker/{BOX}\n"]
)
def test_another_process_or_one_that_is_not_seen_says_nothing(tmp_path: Path, groups: str) -> None:
    assert use(tmp_path, {"proc/7/cgroup": groups}) is None
    assert ControlGroups(tmp_path / "proc", tmp_path).use(8, BOX) is None


def test_this_host_says_what_it_can_without_harm() -> None:
    assert ControlGroups().use(1, BOX) is None
