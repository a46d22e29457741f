"""The containers that an agent has made, as its control group shows them: by id, with a process of each.

An engine puts the group of each container into that of the agent (``edge/parent_groups.py``), so the kernel
tells them without a question to the engine, and of nobody else's. Where an agent has no such group, or the
host none that can be seen, it has made none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.model import ContainerId, Generation
from mayfly.core.quantities import whole_number
from mayfly.edge.parent_groups import group_places, text_of, whose

MOST = 64  # of one agent that are looked at; a door lets fewer be made
# As an engine calls a container's group, and systemd for it.
_CONTAINER = re.compile(r"^(?:docker-)?([0-9a-f]{64})(?:\.scope)?$")


@dataclass(frozen=True, slots=True)
class InnerContainers:
    """Those of one host."""

    proc: Path = Path("/proc")
    mounted: Path = Path("/sys/fs/cgroup")

    def groups(self, generation: Generation) -> dict[ContainerId, Path]:
        """The control group of each container in an agent's, its own too, as one hierarchy has it."""
        for place in group_places(self.mounted, generation):
            return _containers(place)
        return {}

    def beside(self, process: int, container: ContainerId) -> list[tuple[ContainerId, int]]:
        """The containers that the agent of that container and first process has made, and in which something
        runs, each with the number of a process in it.
        """
        for line in text_of(self.proc / str(process) / "cgroup").splitlines():
            _, names, path = (*line.split(":", 2), "", "")[:3]
            together = whose(path) if container in path else None
            if together is None or names.startswith("name="):
                continue
            place = self.mounted / names / together.group.lstrip("/")
            found = _containers(place)
            if container in found:
                return [
                    (one, first)
                    for one, group in found.items()
                    if one != container and (first := _first(group)) is not None
                ]
        return []


def _containers(place: Path) -> dict[ContainerId, Path]:
    found: dict[ContainerId, Path] = {}
    try:
        with_names = sorted(place.iterdir())
    except OSError:
        return {}
    for one in with_names:
        named = _CONTAINER.match(one.name)
        if named is not None and len(found) < MOST and one.is_dir():
            found[ContainerId(named[1])] = one
    return found


def _first(group: Path) -> int | None:
    """The number of a process that runs there; of the second version 0 is one that this host does not see."""
    for line in text_of(group / "cgroup.procs").splitlines():
        return whole_number(line.strip()) or None
    return None
