"""What an agent's own containers come to together with it: how much they hold, what they print, that they
stand still and end with it.

They are told by their control groups, which costs the Engine nothing, and none where an agent has made none;
only their layers, and which have a health check, are the Engine's to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mayfly.core.model import ContainerId, Generation
from mayfly.core.naming import work_volume
from mayfly.edge.disk_use import disk_use
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.inner_containers import InnerContainers
from mayfly.edge.parent_groups import ParentGroups
from mayfly.engines.docker import wire
from mayfly.engines.docker.belonging_to import belonging_to, is_called
from mayfly.engines.docker.container import layer_size
from mayfly.engines.protocol import Gone, Unmeasured

RECORD = 71  # bytes that the Engine's log has beside what was printed, for each line
SO_ALREADY = ("already paused", "is not paused", "is not running")
TAIL = 16 * 1024  # bytes of a log by which its lines are counted


@dataclass(frozen=True, slots=True)
class _Log:
    """How far a container's log had come."""

    inode: int
    size: int


@dataclass(slots=True)
class AgentsContainers:
    """Those of one Engine's agents; may be used from any thread, for one agent by one at a time."""

    base_url: str
    timeout: float
    parents: ParentGroups
    inner: InnerContainers
    # Of agents that were frozen: which of their containers the Engine was told of, to have no health checked.
    _paused: dict[Generation, tuple[ContainerId, ...]] = field(default_factory=dict)
    _logs: dict[Generation, dict[ContainerId, _Log]] = field(default_factory=dict)

    # -- disk --

    def size(self, generation: Generation, root: Path, within: float, *, made: bool) -> int:
        """Bytes on the disk of the volume that it works in and, where it has ``made`` something, of its
        containers' layers and logs and its volumes. ``root``: the directory of the Engine's files.

        ``Unmeasured`` where that takes longer, or the Engine cannot count them.
        """
        last = time.monotonic() + within
        if not (root / "volumes").is_dir():
            raise Unmeasured(f"the Engine's files in {root} are not to be seen from here")
        places = [root / "volumes" / work_volume(generation) / "_data"]
        written = 0
        if made:
            for entry in self._measured(generation, within):
                written += layer_size(entry)
                written += _kept_for(root / "containers" / str(entry["Id"]))
            places += self._volumes(generation)
        left = last - time.monotonic()
        held = disk_use([*dict.fromkeys(places)], left) if left > 0 else None
        if held is None:
            raise Unmeasured(
                f"counting the files of agent {generation} takes more than {within:g} s"
            )
        return written + held

    def _measured(self, generation: Generation, within: float) -> list[Mapping[str, Any]]:
        """Its containers with the sizes of their layers."""
        began = time.monotonic()
        try:
            return self._listed(generation, "?all=1&size=1", within)
        except Passing as fault:
            if time.monotonic() - began < within:
                raise
            raise Unmeasured(str(fault)) from fault

    def _volumes(self, generation: Generation) -> list[Path]:
        listed = belonging_to(
            self.base_url,
            generation,
            "/volumes",
            f"looking for the volumes of agent {generation}",
            self.timeout,
        )
        found = listed.get("Volumes") or ()
        return [Path(one["Mountpoint"]) for one in found if one.get("Mountpoint")]

    # -- frozen and ended with it --

    def freeze(self, generation: Generation) -> None:
        """Have them stand still, and with them whatever the agent's group has or gets.

        The kernel does it to all at once, and first: the Engine's word on one of them may fail, or take long.
        The Engine is told of those whose health it looks at, and would find ill; and of all, where the kernel
        cannot. (It pauses who stands still with its group already, as it does any other.)
        """
        held = self.parents.freeze(generation)
        if self._are_there(generation):
            self._pause(generation, self._running(generation, checked=held))

    def thaw(self, generation: Generation) -> None:
        """Let them go on, but whom the job itself has paused."""
        self.parents.thaw(generation)
        if not self._are_there(generation):
            self._paused.pop(generation, None)
            return
        known = self._paused.get(generation)
        # Of who was frozen by an earlier manager it is not known which the job had paused.
        paused = self._frozen_by_whom(generation) if known is None else known
        left, failed = self._told_each(paused, "unpause", "thawing")
        self._paused[generation] = left
        if failed is not None:
            raise failed

    def are_frozen(self, generation: Generation) -> bool:
        """Whether the agent's group is."""
        return self.parents.is_frozen(generation)

    def kill(self, generation: Generation, but: ContainerId | None = None) -> None:
        """End them at once, also frozen ones; ``but``: the agent's own, with which nothing is done."""
        self.parents.thaw(generation)
        self.parents.kill(generation, but)

    def forget(self, generation: Generation) -> None:
        """The agent is gone."""
        self._paused.pop(generation, None)
        self._logs.pop(generation, None)

    def _are_there(self, generation: Generation) -> bool:
        """Whether any has a control group beside the agent's own."""
        return len(self.inner.groups(generation)) > 1

    def _running(self, generation: Generation, *, checked: bool) -> list[ContainerId]:
        more: dict[str, list[str]] = {"status": ["running"]}
        if checked:
            more["health"] = ["starting", "healthy", "unhealthy"]
        return [one["Id"] for one in self._listed(generation, "", self.timeout, **more)]

    def _frozen_by_whom(self, generation: Generation) -> list[ContainerId]:
        listed = self._listed(generation, "", self.timeout, status=["paused"])
        return [one["Id"] for one in listed]

    def _pause(self, generation: Generation, containers: Iterable[ContainerId]) -> None:
        done = self._paused.get(generation) or ()
        wanted = [cid for cid in containers if cid not in done]
        left, failed = self._told_each(wanted, "pause", "freezing")
        self._paused[generation] = (*done, *(cid for cid in wanted if cid not in left))
        if failed is not None:
            raise failed

    def _told_each(
        self, containers: Iterable[ContainerId], word: str, doing: str
    ) -> tuple[tuple[ContainerId, ...], Fault | None]:
        """Have the Engine do it to each; to whom it did not, and the first fault. One that fails keeps no
        other from it, as long as the Engine answers in time.
        """
        last = time.monotonic() + self.timeout
        left: list[ContainerId] = []
        failed: Fault | None = None
        for cid in containers:
            if failed is not None and time.monotonic() > last:
                left.append(cid)
                continue
            try:
                self._told(cid, word, doing)
            except Fault as fault:
                left.append(cid)
                failed = failed or fault
        return tuple(left), failed

    def _told(self, cid: ContainerId, word: str, doing: str) -> None:
        """Have the Engine do it; done already, or not there or not running any more, is a success."""
        with suppress(Gone):
            try:
                wire.do(
                    self.base_url,
                    "POST",
                    f"/containers/{cid}/{word}",
                    f"{doing} container {cid[:12]}",
                    timeout=self.timeout,
                )
            except (Passing, Refused) as fault:
                if not any(said in str(fault) for said in SO_ALREADY):
                    raise

    def _listed(
        self, generation: Generation, query: str, within: float, **filters: list[str]
    ) -> list[Mapping[str, Any]]:
        """Its containers."""
        listed = belonging_to(
            self.base_url,
            generation,
            f"/containers/json{query}",
            f"looking for the containers of agent {generation}",
            within,
            **filters,
        )
        return [one for one in listed if is_called(one, generation)]

    # -- what they print --

    def printed(self, generation: Generation, root: Path) -> tuple[int, int]:
        """How many lines and bytes they have printed since the last time, as their logs have grown; at least:
        of a log that was turned over more than once, or is gone, less is counted.
        """
        before = self._logs.get(generation)  # None: what there is was not printed now
        now: dict[ContainerId, _Log] = {}
        lines = size = 0
        groups = self.inner.groups(generation)
        for cid in groups if len(groups) > 1 else ():
            path = root / "containers" / cid / f"{cid}-json.log"
            seen = _seen(path)
            if seen is None:  # the agent's own is of another driver
                continue
            now[cid] = seen
            grown = _grown(path, before.get(cid), seen) if before is not None else 0
            if grown > 0:
                number = _lines(path, grown)
                lines += number
                size += max(0, grown - RECORD * number)
        self._logs[generation] = now
        return lines, size


def _seen(path: Path) -> _Log | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Log(found.st_ino, found.st_size)


def _grown(path: Path, before: _Log | None, now: _Log) -> int:
    """Bytes that were added since; of a log that was not seen before all of it was."""
    if before is None:
        return now.size
    if before.inode == now.inode and before.size <= now.size:
        return now.size - before.size
    turned = _seen(path.with_name(f"{path.name}.1"))
    rest = turned.size - before.size if turned is not None else 0
    return max(0, rest) + now.size


def _lines(path: Path, grown: int) -> int:
    """How many lines so many bytes at a log's end are, about."""
    with suppress(OSError), path.open("rb") as file:
        size = file.seek(0, 2)
        part = min(TAIL, grown, size)
        file.seek(size - part)
        said = file.read(part)
        if said:
            return round(said.count(b"\n") * grown / len(said))
    return 0


def _kept_for(place: Path) -> int:
    """Bytes of what the Engine keeps for a container beside its layer: its log, and files of its root's."""
    with suppress(OSError):
        return sum(one.lstat().st_blocks * 512 for one in place.iterdir() if not one.is_dir())
    return 0
