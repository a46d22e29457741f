"""What an agent has made is told by its control group, and nothing of anybody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mayfly.core.model import ContainerId, Generation
from mayfly.edge.inner_containers import MOST, InnerContainers

AGENT, OTHER = Generation("mywpiww03hg4s"), Generation("mywpiww04hg4s")
OWN, DB, WEB = (ContainerId(letter * 64) for letter in "abc")


class Host:
    """A kernel's files, with an agent of process 7."""

    def __init__(self, home: Path, group: str, named: str, hierarchy: str) -> None:
        self.inner = InnerContainers(home / "proc", home / "cgroup")
        self.place = home / "cgroup" / hierarchy / group
        self.named, self.lines = named, f"{'0' if not hierarchy else '3'}:{hierarchy}:/{group}/"
        self.has(OWN, 7)
        (home / "proc/7").mkdir(parents=True)
        (home / "proc/7/cgroup").write_text(
            f"9:name=systemd:/{group}/x\n{self.lines}{named.format(OWN)}\n"
        )

    def has(self, container: ContainerId, *processes: int) -> None:
        group = self.place / self.named.format(container)
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text("".join(f"{one}\n" for one in processes))


@pytest.fixture(
    params=[
        (f"mayfly/{AGENT}", "{}", "pids"),
        (f"mayfly/{AGENT}", "{}", ""),
        (f"mayfly.slice/mayfly-{AGENT}.slice", "docker-{}.scope", ""),
    ],
    ids=["version 1", "version 2", "systemd"],
)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, *request.param)


def test_those_that_it_has_made_are_found_with_a_process_each(host: Host) -> None:
    assert host.inner.beside(7, OWN) == []
    assert [*host.inner.groups(AGENT)] == [OWN]
    host.has(DB, 21, 22)
    host.has(WEB)  # it has ended, or not begun
    (host.place / "init.scope").mkdir()
    assert host.inner.beside(7, OWN) == [(DB, 21)]
    assert [*host.inner.groups(AGENT)] == [OWN, DB, WEB]
    assert host.inner.groups(OTHER) == {}


def test_a_number_that_is_another_s_by_now_tells_nothing(host: Host) -> None:
    host.has(DB, 21)
    assert host.inner.beside(7, WEB) == []
    assert host.inner.beside(8, OWN) == []


def test_no_more_are_looked_at_than_an_agent_may_have(host: Host) -> None:
    for number in range(2 * MOST):
        host.has(ContainerId(f"{number:064x}"), 100 + number)
    assert len(host.inner.groups(AGENT)) == MOST


def test_who_has_no_group_with_others_has_made_nothing(tmp_path: Path) -> None:
    inner = InnerContainers(tmp_path / "proc", tmp_path / "cgroup")
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text(f"3:pids:/docker/{OWN}\n")
    (tmp_path / "cgroup/pids/docker" / DB).mkdir(parents=True)
    assert inner.beside(7, OWN) == []
    assert inner.groups(AGENT) == {}
