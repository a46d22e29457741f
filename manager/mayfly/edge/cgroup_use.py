"""What a container uses, read from its control group by the number of its first process (cgroups(7)).

A file or two of the kernel's a container, no question to an engine. The number is another process's by the
time that it is read, perhaps: the group has to be the container's by name. Where nothing can be seen (an
engine on another machine, or its processes hidden) nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mayfly.core.model import ContainerId
from mayfly.core.quantities import whole_number
from mayfly.core.use import Use
from mayfly.edge.parent_groups import text_of, whose


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """The kernel's account of all of them; both versions."""

    proc: Path = Path("/proc")
    mounted: Path = Path("/sys/fs/cgroup")

    def use(self, process: int, container: ContainerId) -> Use | None:
        """What the container of that first process uses; ``None`` where it is not to be seen."""
        lines = text_of(self.proc / str(process) / "cgroup").splitlines()
        places: dict[str, str] = {}
        for line in lines:
            _, names, path = (*line.split(":", 2), "", "")[:3]
            if container in path:
                together = whose(path)  # an agent's containers count as its own
                of = together.group if together is not None else path
                places |= dict.fromkeys(names.split(","), of.lstrip("/"))
        if "cpuacct" in places or "memory" in places:
            return self._first(places)
        if "" in places:
            return self._second(self.mounted / places[""])
        return None

    def _first(self, places: dict[str, str]) -> Use:
        def place(controller: str) -> Path:
            return self.mounted / controller / places.get(controller, "")

        spent = _number(place("cpuacct") / "cpuacct.usage") if "cpuacct" in places else None
        memory = place("memory")
        held = _number(memory / "memory.usage_in_bytes") if "memory" in places else None
        idle = _entry(memory / "memory.stat", "total_inactive_file")
        number = _number(place("pids") / "pids.current") if "pids" in places else None
        return Use(spent / 1e9 if spent is not None else None, _less(held, idle), number)

    def _second(self, place: Path) -> Use | None:
        spent = _entry(place / "cpu.stat", "usage_usec")
        held = _number(place / "memory.current")
        if spent is None and held is None:
            return None
        idle = _entry(place / "memory.stat", "inactive_file")
        number = _number(place / "pids.current")
        return Use(spent / 1e6 if spent is not None else None, _less(held, idle), number)


def _less(held: int | None, idle: int | None) -> int | None:
    """What is held, without files that the kernel drops before it is short of memory."""
    return max(0, held - (idle or 0)) if held is not None else None


def _number(path: Path) -> int | None:
    return whole_number(text_of(path).strip())


def _entry(path: Path, name: str) -> int | None:
    for line in text_of(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return whole_number(value)
    return None
