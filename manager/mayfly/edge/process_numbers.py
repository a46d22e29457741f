"""How many processes and threads a container begins, by the numbers that the kernel gives them
(pid_namespaces(7)).

No counter of the kernel's tells it. But a container has a PID namespace of its own, in which numbers are
given one after the other, and ``NSpid`` of a process (proc(5), ``status``) is its number there: that of the
newest says how many were begun before it, whether they are still there or not.
"""

from __future__ import annotations

from pathlib import Path

from mayfly.core.activity import advanced
from mayfly.core.model import ContainerId
from mayfly.core.quantities import whole_number

PROC = Path("/proc")
MOUNTED = Path("/sys/fs/cgroup")
BYTES = 256 * 1024  # of the list of a container's threads
ASKED = 32  # of the oldest and of the newest threads that were not there before
LIMIT = 32768  # numbers that a kernel gives by default


def last_number(proc: Path = PROC) -> int | None:
    """The number of the host's newest process (proc(5), ``loadavg``)."""
    return whole_number(_text(proc / "loadavg").strip().rpartition(" ")[2])


def number_limit(proc: Path = PROC) -> int:
    """Below which numbers are given."""
    return whole_number(_text(proc / "sys/kernel/pid_max").strip()) or LIMIT


class ProcessNumbers:
    """Those of one container, whose first process is given; where nothing can be seen, nothing was begun."""

    def __init__(
        self, process: int, container: ContainerId, proc: Path = PROC, mounted: Path = MOUNTED
    ) -> None:
        self._proc = proc
        self._level = len(_numbers(proc, str(process))) - 1
        self._tasks = _tasks(proc / str(process) / "cgroup", container, mounted)
        self._limit = number_limit(proc)
        self._known: frozenset[str] = frozenset()
        self._cursor: int | None = None
        self._host: int | None = None  # the newest of all, as of the cursor

    def begun(self) -> int:
        """Processes and threads since the last time; 0 at the first."""
        if self._tasks is None or self._level < 1:
            return 0
        listed = _text(self._tasks, BYTES).splitlines()
        before, host = self._host, last_number(self._proc)
        new = [one for one in listed if one not in self._known]
        new = new if len(new) <= 2 * ASKED else [*new[:ASKED], *new[-ASKED:]]
        numbers = [
            n[self._level] for one in new if len(n := _numbers(self._proc, one)) > self._level
        ]
        self._known = frozenset(listed)
        if not numbers:
            return 0  # who was begun meanwhile counts with the next that is seen
        self._host = host
        if self._cursor is None or before is None or host is None:
            self._cursor = numbers[-1]
            return 0
        ahead = advanced(self._cursor, numbers, (host - before) % self._limit, self._limit)
        self._cursor = numbers[-1] if ahead is None else (self._cursor + ahead) % self._limit
        return ahead or 0


def _tasks(groups: Path, container: ContainerId, mounted: Path) -> Path | None:
    """The list of the threads in that container's control group; of the second version, or one of the
    first."""
    for line in _text(groups).splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if container in path:
            named, _, controller = names.rpartition("=")
            place = mounted / (controller if named else names) / path.lstrip("/")
            for file in ("cgroup.threads", "tasks"):
                if (place / file).is_file():
                    return place / file
    return None


def _numbers(proc: Path, task: str) -> list[int]:
    """Of a process or thread, in each namespace from the outermost on; empty: it has gone."""
    for line in _text(proc / task / "status").splitlines():
        if line.startswith("NSpid:"):
            found = (whole_number(word) for word in line.split()[1:])
            return [number for number in found if number is not None]
    return []


def _text(file: Path, most: int = 16 * 1024) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(most).decode(errors="replace")
    except OSError:
        return ""
