"""Control groups that hold an agent and its own containers together, with its pool's limits (cgroups(7)).

An engine puts each container into a group below the one that it is told; the kernel then keeps the limits of
the lower one and of the upper one. Three ways: the files of version 1, those of version 2, and, where the
engine has systemd make its groups, a slice, which is a unit file that systemd reads when the first container
comes. Whether the limits are in force is looked at where a container runs, whichever way it was.

A group is frozen whole: whatever comes into it stands still, too.

It must never touch a group that is not named for an agent of Mayfly's, nor remove one in which anybody runs.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.model import ContainerId, Generation
from mayfly.core.naming import born, is_generation
from mayfly.core.quantities import whole_number
from mayfly.edge.faults import Passing, Refused

FOLDER = "mayfly"  # the group above those of all agents
PERIOD = 100_000  # microseconds, of which a share of the processors is a part
MOST = 64 * 1024  # bytes of one file of the kernel's
SHARES, LEAST_SHARES = (
    1024,
    2,
)  # of a group of version 1 of which nothing is said, and the kernel's least
WEIGHT = 100  # of one of version 2
CONTROLLERS = ("memory", "cpu", "pids")  # those whose limits are said
FREEZERS = ("", "freezer")  # hierarchies whose groups can be frozen
OVER = 24 * 3600.0  # seconds after which an agent whose group is empty is over, whoever made it
_OF_AN_AGENT = re.compile(
    rf"^(?P<group>(?:/.*)?/{FOLDER}(?:-(?P<unit>[0-9a-z]{{13}})\.slice|/(?P<folder>[0-9a-z]{{13}})))/",
    re.MULTILINE,
)
UNIT = """# Of an agent of Mayfly's and its containers; goes with them.
[Unit]
Description=Mayfly agent {generation} and its containers
StopWhenUnneeded=yes
[Slice]
{limits}
"""


@dataclass(frozen=True, slots=True)
class Together:
    """What an agent and its containers may take together; ``None``: no limit."""

    memory: int | None  # bytes, swap not added
    cpus: float | None
    pids: int | None

    @property
    def weight(self) -> float:
        """What they count for where processors are short, 1 being any one's; who may use a tenth of one
        counts for a tenth.
        """
        return min(1.0, self.cpus) if self.cpus is not None else 1.0


@dataclass(frozen=True, slots=True)
class ParentGroups:
    """Those of one host."""

    mounted: Path = Path("/sys/fs/cgroup")
    units: Path = Path("/run/systemd/system")
    proc: Path = Path("/proc")

    def make(self, generation: Generation, limits: Together, driver: str, version: str) -> str:
        """Make an agent's, its limits in force; what the engine is told. There already is a success.

        ``driver`` and ``version`` are the engine's words. ``Refused`` where this host does not let it.
        """
        try:
            if driver == "systemd":
                return self._slice(generation, limits)
            if version == "2":
                self._second(generation, limits)
            else:
                self._first(generation, limits)
        except OSError as error:
            raise Refused(
                f"no control group can be made for an agent and its containers ({error.filename}: "
                f"{error.strerror}): `sudo systemctl edit mayfly`, and there, under [Service], "
                "ProtectControlGroups=no"
            ) from error
        return f"/{FOLDER}/{generation}"

    def hold(self, process: int, generation: Generation, limits: Together) -> bool:
        """Whether the process of that number is in the agent's group, and the group has the limits."""
        kept: set[str] = set()
        for place in self._groups_of(process):
            here = next((one for one in place.parents if _is_of(one.name, generation)), None)
            if here is not None:
                kept |= _kept(here, limits)
        return kept >= {
            name
            for name, wanted in (("memory", limits.memory), ("pids", limits.pids))
            if wanted is not None
        }

    def weigh(self, generation: Generation, weight: float) -> None:
        """Say what an agent and its containers count for together where processors are short; one that is not
        there is a success, and so is a slice, which is systemd's to change.
        """
        for place, value in (
            (self.mounted / "cpu" / FOLDER / generation / "cpu.shares", _shares(weight)),
            (self.mounted / FOLDER / generation / "cpu.weight", max(1, round(weight * WEIGHT))),
        ):
            with suppress(FileNotFoundError, NotADirectoryError):
                if place.parent.is_dir():
                    place.write_text(str(value), encoding="ascii")

    def freeze(self, generation: Generation) -> bool:
        """Stop all that runs in an agent's group where it is, and all that comes there; whether that can be
        done here.
        """
        return self._set_frozen(generation, frozen=True)

    def thaw(self, generation: Generation) -> None:
        """Let it go on; not frozen, or not there, is a success."""
        self._set_frozen(generation, frozen=False)

    def is_frozen(self, generation: Generation) -> bool:
        """Whether an agent's group is, as it was said of itself."""
        said = ("cgroup.freeze", "freezer.self_freezing")
        return any(
            text_of(place / name).strip() == "1"
            for place in group_places(self.mounted, generation, FREEZERS)
            for name in said
        )

    def kill(self, generation: Generation, but: ContainerId | None = None) -> None:
        """End all that runs in an agent's group at once, but for the container that is its own, as far as the
        kernel lets us; whoever is left the engine ends.
        """
        for place in group_places(self.mounted, generation):
            with suppress(OSError):
                for group in [one for one in place.iterdir() if one.is_dir()]:
                    if but is None or but not in group.name:
                        _killed(group, generation, self.proc)
            return  # the others have the same in them

    def sweep(self, now: float) -> None:
        """Remove the groups of agents that are long over, in which nobody runs: whoever should have may be
        gone for good. In one that is empty and as old nobody will ever run.
        """
        last = now - OVER
        for root in _roots(self.mounted):
            for place in _named(root / FOLDER, "*"):
                if _was_made_before(last, place.name) and not _is_used(place):
                    _empty_groups_removed(place)
                    with suppress(OSError):  # it is not ours to remove
                        place.rmdir()
        for unit in _named(self.units, f"{FOLDER}-*.slice"):
            name = unit.name.removeprefix(f"{FOLDER}-").removesuffix(".slice")
            there = group_places(self.mounted, Generation(name))
            if _was_made_before(last, name) and next(there, None) is None:
                with suppress(OSError):
                    unit.unlink()

    def remove(self, generation: Generation) -> None:
        """Remove an agent's; gone already is a success, ``Passing`` where something runs in it yet."""
        with suppress(FileNotFoundError):
            (self.units / _slice_name(generation)).unlink()
        places = [self.mounted / FOLDER / generation]
        with suppress(OSError):
            places += [one / FOLDER / generation for one in self.mounted.iterdir() if one.is_dir()]
        for place in places:
            _empty_groups_removed(place)
            try:
                place.rmdir()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise Passing(f"removing the control group {place}: {error.strerror}") from error

    # -- the files of the kernel --

    def _first(self, generation: Generation, limits: Together) -> None:
        said: dict[str, Mapping[str, int | None]] = {
            "memory": {
                "memory.limit_in_bytes": limits.memory,
                # of memory and swap together; it is not there where the kernel does not count swap
                "memory.memsw.limit_in_bytes": limits.memory,
            },
            "cpu": {
                "cpu.cfs_period_us": PERIOD,
                "cpu.cfs_quota_us": _quota(limits.cpus),
                "cpu.shares": _shares(limits.weight),
            },
            "pids": {"pids.max": limits.pids},
        }
        for controller in CONTROLLERS:
            root = self.mounted / controller
            if not root.is_dir():
                raise FileNotFoundError(0, f"the kernel has no controller {controller}", str(root))
            upper = root / FOLDER
            place = upper / generation
            for one in (upper, place):
                one.mkdir(exist_ok=True)
                _write_if_there(one / "memory.use_hierarchy", "1")
            for name, value in said[controller].items():
                if value is not None and (place / name).exists():
                    (place / name).write_text(str(value), encoding="ascii")

    def _second(self, generation: Generation, limits: Together) -> None:
        upper = self.mounted / FOLDER
        place = upper / generation
        for above, below in ((self.mounted, upper), (upper, place)):
            _delegate(above)
            below.mkdir(exist_ok=True)
        _delegate(place)  # the engine's groups are made in it
        quota = _quota(limits.cpus)
        said = {
            "memory.max": limits.memory,
            "memory.swap.max": None if limits.memory is None else 0,
            "pids.max": limits.pids,
            "cpu.max": None if quota is None else f"{quota} {PERIOD}",
            "cpu.weight": max(1, round(limits.weight * WEIGHT)),
        }
        for name, value in said.items():
            if value is not None:
                if name == "memory.swap.max" and not (place / name).exists():
                    continue  # a kernel that does not count swap
                (place / name).write_text(str(value), encoding="ascii")

    def _slice(self, generation: Generation, limits: Together) -> str:
        said = {
            "MemoryMax": limits.memory,
            "MemorySwapMax": None if limits.memory is None else 0,
            "TasksMax": limits.pids,
            "CPUQuota": None if limits.cpus is None else f"{limits.cpus * 100:.2f}%",
            "CPUWeight": max(1, round(limits.weight * WEIGHT)),
        }
        lines = "\n".join(f"{name}={value}" for name, value in said.items() if value is not None)
        name = _slice_name(generation)
        text = UNIT.format(generation=generation, limits=lines)
        self.units.mkdir(parents=True, exist_ok=True)
        (self.units / name).write_text(text, encoding="utf-8")
        return name

    def _set_frozen(self, generation: Generation, *, frozen: bool) -> bool:
        said = {
            "cgroup.freeze": "1" if frozen else "0",
            "freezer.state": "FROZEN" if frozen else "THAWED",
        }
        done = False
        for place in group_places(self.mounted, generation, FREEZERS):
            for name, text in said.items():
                with suppress(OSError):  # no such file: not of that version; or it went meanwhile
                    if (place / name).exists():
                        (place / name).write_text(text, encoding="ascii")
                        done = True
        return done

    def _groups_of(self, process: int) -> Iterator[Path]:
        """The directories of the groups that a process is in."""
        for line in text_of(self.proc / str(process) / "cgroup").splitlines():
            _, names, path = (*line.split(":", 2), "", "")[:3]
            for name in names.split(",") if names else ("",):
                yield self.mounted / name / path.lstrip("/")


@dataclass(frozen=True, slots=True)
class Whose:
    """Of what a process is."""

    agent: Generation
    group: str  # the path of the agent's


def whose(path: str) -> Whose | None:
    """Whose the control group of that path is; ``None`` where it is in none of an agent's."""
    found = _OF_AN_AGENT.match(path)
    if found is None:
        return None
    return Whose(Generation(found["unit"] or found["folder"]), found["group"])


def group_places(
    mounted: Path, generation: Generation, controllers: Iterable[str] = ("", *CONTROLLERS)
) -> Iterator[Path]:
    """The directories of an agent's group that are there, of these hierarchies; ``""`` is version 2's."""
    if not is_generation(generation):  # as a label may have it
        return
    unit = _slice_name(generation)
    for controller in controllers:
        for path in (f"{FOLDER}/{generation}", f"{FOLDER}.slice/{unit}"):
            place = mounted / controller / path
            if place.is_dir():
                yield place


def _roots(mounted: Path) -> list[Path]:
    """The hierarchies: that of version 2, and each of the first."""
    with suppress(OSError):
        return [mounted, *(one for one in mounted.iterdir() if one.is_dir())]
    return [mounted]


def _named(folder: Path, pattern: str) -> list[Path]:
    with suppress(OSError):
        return [*folder.glob(pattern)]
    return []


def _was_made_before(time: float, name: str) -> bool:
    """Whether an agent is called so, and was made before."""
    return is_generation(name) and born(name) < time


def _is_used(place: Path) -> bool:
    """Whether anybody runs in that group or below."""
    files = (Path(folder, "cgroup.procs") for folder, _, _ in os.walk(place))
    return any(text_of(file).strip() for file in files)


def _killed(group: Path, generation: Generation, proc: Path) -> None:
    """End all in one container's group: by one word to the kernel, or, of version 1, one by one."""
    if (group / "cgroup.kill").exists():
        (group / "cgroup.kill").write_text("1", encoding="ascii")
        return
    for file in [group / "cgroup.procs", *group.glob("**/cgroup.procs")]:
        for line in text_of(file).splitlines():
            number = whole_number(line.strip())
            if number:
                _kill(number, generation, proc)


def _kill(process: int, generation: Generation, proc: Path) -> None:
    """End a process of the agent's. Its number may be another's by now: who has it is looked at once it is
    held.
    """
    with suppress(OSError, AttributeError):
        held = os.pidfd_open(process)
        try:
            lines = text_of(proc / str(process) / "cgroup").splitlines()
            found = map(whose, (line.split(":", 2)[-1] for line in lines))
            if any(one is not None and one.agent == generation for one in found):
                signal.pidfd_send_signal(held, signal.SIGKILL)
        finally:
            os.close(held)


def _empty_groups_removed(place: Path) -> None:
    """Those below in which nobody runs: an engine that was killed leaves the groups of its containers."""
    for folder, below, _ in os.walk(place, topdown=False):
        for name in below:
            with suppress(OSError):  # the kernel keeps one in which somebody runs
                Path(folder, name).rmdir()


def _slice_name(generation: Generation) -> str:
    return f"{FOLDER}-{generation}.slice"


def _is_of(name: str, generation: Generation) -> bool:
    return name in (generation, _slice_name(generation))


def _delegate(place: Path) -> None:
    """What is below it may have limits, of the controllers that are there."""
    there = set(text_of(place / "cgroup.controllers").split())
    if wanted := [f"+{name}" for name in CONTROLLERS if name in there]:
        (place / "cgroup.subtree_control").write_text(" ".join(wanted), encoding="ascii")


def _kept(place: Path, limits: Together) -> set[str]:
    """Which of the limits are in force in that directory of a group's."""
    files = (
        ("memory", "memory.max", limits.memory),
        ("memory", "memory.limit_in_bytes", limits.memory),
        ("pids", "pids.max", limits.pids),
    )
    kept = set()
    for what, name, wanted in files:
        found = whole_number(text_of(place / name).strip())
        if wanted is not None and found is not None and found <= wanted:
            kept.add(what)
    return kept


def _quota(cpus: float | None) -> int | None:
    """Microseconds of each period; the kernel takes no less than a thousand."""
    return None if cpus is None else max(1000, round(cpus * PERIOD))


def _shares(weight: float) -> int:
    return max(LEAST_SHARES, round(weight * SHARES))


def _write_if_there(path: Path, text: str) -> None:
    if path.exists() and text_of(path).strip() != text:
        path.write_text(text, encoding="ascii")


def text_of(path: Path) -> str:
    """What one of the kernel's files says, up to ``MOST`` bytes; nothing where it is not to be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST).decode(errors="replace")
    except OSError:
        return ""
