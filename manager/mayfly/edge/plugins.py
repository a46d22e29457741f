"""What other packages have installed beside Mayfly, by their entry points.

Theirs may be broken in any way. What is wrong is a sentence that names their distribution and the entry; it
is told where something asks for that name, and keeps nobody else from anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from mayfly.edge.faults import Fault, Refused

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry of a group that can be asked for by name, and has not been imported yet."""

    name: str
    entries: tuple[EntryPoint, ...]

    def __str__(self) -> str:
        """The entry with its distribution, as a sentence begins."""
        return " and ".join(map(_told, self.entries))

    def load(self) -> object:
        """What it names; ``Refused`` where it is there twice, or cannot be imported."""
        if len(self.entries) > 1:
            raise Refused(f"{self}: there may be one of that name; uninstall all others")
        return self.guarded(self.entries[0].load, "cannot be imported")

    def guarded(self, make: Callable[[], _T], otherwise: str) -> _T:
        """What is made by their code; ``Refused`` where that raises anything but a fault."""
        try:
            return make()
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            raise self.wrong(f"{otherwise} ({type(error).__name__}: {error})") from error

    def wrong(self, what: str) -> Refused:
        """That fault."""
        return Refused(f"{self} {what}")


def plugins(group: str, own: Collection[str]) -> tuple[dict[str, Plugin], tuple[str, ...]]:
    """Those of a group by name, without Mayfly's own, and a sentence for each that can never be used."""
    found: defaultdict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=group):
        found[entry.name].append(entry)
    hidden = tuple(
        f"{_told(entry)} is not used: {name} is Mayfly's own"
        for name in sorted(found.keys() & set(own))
        for entry in found[name]
    )
    return {
        name: Plugin(name, tuple(entries)) for name, entries in found.items() if name not in own
    }, hidden


def _told(entry: EntryPoint) -> str:
    place = (
        "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    )
    return f"{place}: entry point {entry.name} = {entry.value} of {entry.group}"
