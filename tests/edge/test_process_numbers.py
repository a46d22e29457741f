"""How many processes begin, by a PID namespace made here and by files that say something else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mayfly.core.model import ContainerId
from mayfly.edge.process_numbers import ASKED, LIMIT, ProcessNumbers, last_number, number_limit
from tests.harness import until

BOX = ContainerId("b" * 64)
NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
# Begins so many that are gone at once, and says by one that stays that it has.
BEGINS = "while read -r n; do while [ $n -gt 0 ]; do (:); n=$((n - 1)); done; sleep 300 & done"
V1 = f"3:name=systemd:/docker/{BOX}\n2:cpu,cpuacct:/docker/{BOX}\n0::/\n"
V2 = f"0::/system.slice/docker-{BOX}.scope\n"


class Host:
    """Process 7 of the box, and those beside it: numbers on the host, and within."""

    def __init__(self, home: Path, groups: str, listed: str) -> None:
        self.proc, self.mounted = home / "proc", home / "sys"
        self._tasks = self.mounted / listed
        self._tasks.parent.mkdir(parents=True)
        (self.proc / "sys/kernel").mkdir(parents=True)
        (self.proc / "sys/kernel/pid_max").write_text(f"{LIMIT}\n")
        self.shows({7: 1}, last=7)
        (self.proc / "7/cgroup").write_text(groups)
        self.numbers = ProcessNumbers(7, BOX, self.proc, self.mounted)

    def shows(self, inner: dict[int, int], last: int) -> None:
        (self.proc / "loadavg").write_text(f"0.1 0.2 0.3 1/99 {last}\n")
        for outer, number in inner.items():
            (self.proc / str(outer)).mkdir(exist_ok=True)
            (self.proc / str(outer) / "status").write_text(f"Name:\tx\nNSpid:\t{outer}\t{number}\n")
        self._tasks.write_text("".join(f"{outer}\n" for outer in inner))


@pytest.fixture(
    params=[
        (V1, f"systemd/docker/{BOX}/tasks"),
        (V2, f"system.slice/docker-{BOX}.scope/cgroup.threads"),
    ],
    ids=["v1", "v2"],
)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, *request.param)


def test_those_that_nobody_saw_count_by_the_newest(host: Host) -> None:
    assert host.numbers.begun() == 0
    host.shows({7: 1, 900: 401}, last=950)
    assert host.numbers.begun() == 400
    host.shows({7: 1, 900: 401}, last=1000)
    assert host.numbers.begun() == 0
    host.shows({7: 1}, last=2000)
    assert host.numbers.begun() == 0
    host.shows({7: 1, 2500: 1201}, last=2600)
    assert host.numbers.begun() == 800


def test_of_many_new_ones_some_are_asked(host: Host) -> None:
    assert host.numbers.begun() == 0
    many = {100 + n: 50 + n for n in range(4 * ASKED)}
    host.shows({7: 1, **many}, last=1000)
    assert host.numbers.begun() == max(many.values()) - 1


def test_nobody_has_begun_more_than_the_whole_host(host: Host) -> None:
    assert host.numbers.begun() == 0
    host.shows({7: 1, 900: 20_000}, last=950)
    assert host.numbers.begun() == 0
    host.shows({7: 1, 900: 20_000, 960: 20_005}, last=970)
    assert host.numbers.begun() == 5


@pytest.mark.parametrize("groups", ["", "0::/\n", "nonsense\n", f"0::/docker/{BOX}\n"])
def test_where_nothing_is_to_be_seen_nothing_was_begun(tmp_path: Path, groups: str) -> None:
    host = Host(tmp_path, groups, "elsewhere/tasks")
    assert host.numbers.begun() == 0
    host.shows({7: 1, 900: 401}, last=950)
    assert host.numbers.begun() == 0
    gone = ProcessNumbers(8, BOX, host.proc, host.mounted)
    assert gone.begun() == 0


def name(process: str) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def test_the_kernel_numbers_them_one_after_the_other(tmp_path: Path) -> None:
    before, limit = last_number(), number_limit()
    with subprocess.Popen(
        (*NAMESPACE, "sh", "-c", BEGINS), stdin=subprocess.PIPE, bufsize=0
    ) as parent:
        assert parent.stdin is not None

        def children(of: int) -> list[str]:
            return Path(f"/proc/{of}/task/{of}/children").read_text().split()

        until(lambda: parent.poll() is not None or children(parent.pid), "it has begun", 20)
        if parent.poll() is not None:
            pytest.skip("no PID namespace can be made here")
        first = int(children(parent.pid)[0])
        groups = Path(f"/proc/{first}/cgroup").read_text().splitlines()[0]
        _, names, path = groups.split(":", 2)
        tasks = tmp_path / names.rpartition("=")[2] / path.lstrip("/") / "tasks"
        tasks.parent.mkdir(parents=True)
        tasks.write_text(f"{first}\n")
        numbers = ProcessNumbers(first, ContainerId(path), mounted=tmp_path)
        assert numbers.begun() == 0
        parent.stdin.write(b"70\n")
        sleeps = until(
            lambda: [one for one in children(first) if name(one) == "sleep"], "one stays"
        )
        tasks.write_text("\n".join([str(first), *sleeps]))
        assert numbers.begun() == 71
        parent.kill()
    after = last_number()
    assert before is not None
    assert after is not None
    assert (after - before) % limit > 0
