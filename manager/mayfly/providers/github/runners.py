"""The runners of a place, as GitHub lists them: which are ours, and taking one back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mayfly.core import naming
from mayfly.core.model import Generation, PoolName, RosterEntry
from mayfly.edge.service_json import Pages, integer, items, mapping, text
from mayfly.providers import Dismissed
from mayfly.providers.github.connection import Connection


class Runners:
    """The runners of the pool's place; ours carry the mark as a label."""

    def __init__(self, connection: Connection, mark: str, host: str, pool: PoolName) -> None:
        self._connection = connection
        self._mark, self._host, self._pool = mark, host, pool
        self.versions: frozenset[str] = frozenset()  # of ours, at the last look
        self.pages = 1  # of the last list
        self.labels: frozenset[frozenset[str]] = frozenset()  # what each had then, in lower case

    def look(self) -> list[RosterEntry]:
        """Ours, and those that bear our names; and which versions ours have."""
        found: list[RosterEntry] = []
        versions: set[str] = set()
        labels: set[frozenset[str]] = set()
        for runner in self.all():
            labels.add(_labels(runner))
            entry = self._entry(runner)
            if entry is None:
                continue
            found.append(entry)
            if not entry.foreign and runner.get("version"):
                versions.add(str(runner["version"]))
        self.versions, self.labels = frozenset(versions), frozenset(labels)
        return found

    def one(self) -> None:
        """Any runner of the place: one conditional call, for the sake of its being answered."""
        path = f"{self._connection.place.path}/actions/runners?per_page=1"
        self._connection.call("GET", path, "list one runner", conditional=True)

    def all(self) -> Iterator[Mapping[str, object]]:
        """Every runner of the place: one conditional call per hundred."""
        pages = Pages()
        yield from self._connection.listed("runners", "runners", "list the runners", pages)
        self.pages = pages.count

    def _entry(self, runner: Mapping[str, object]) -> RosterEntry | None:
        """One of our names or with our mark, as the roster has it; ``None`` where it is another's."""
        name = text(runner.get("name"))
        ours = self.ours(runner)
        prefix = ".+" if ours else re.escape(self._host)
        named = re.fullmatch(
            rf"(?:{prefix})-{re.escape(self._pool)}-([0-9]{{1,4}})-([0-9a-z]{{13}})", name
        )
        if not ours and named is None:
            return None
        return RosterEntry(
            id=str(integer(runner.get("id"))),
            name=name,
            online=runner.get("status") == "online",
            busy=runner.get("busy") is True,
            slot=naming.slot(self._pool, int(named.group(1))) if named else None,
            generation=Generation(named.group(2)) if named else None,
            foreign=not ours,
        )

    def ours(self, runner: Mapping[str, object]) -> bool:
        """Whether it carries our mark."""
        labels = runner.get("labels")
        return isinstance(labels, list) and any(
            isinstance(label, dict) and str(label.get("name")).lower() == self._mark
            for label in labels
        )

    def named(self, name: str) -> list[Mapping[str, object]]:
        """The runners of that name."""
        reply = self._connection.call(
            "GET",
            f"{self._connection.place.path}/actions/runners",
            "look for a lost registration",
            query={"name": name},
        )
        return [mapping(runner) for runner in items(mapping(reply.body).get("runners"))]

    def remove(self, registration: str) -> Dismissed:
        """Remove a registration: 204 proves that it was idle and will get no job."""
        reply = self._connection.call(
            "DELETE",
            f"{self._connection.place.path}/actions/runners/{int(registration)}",
            "remove a runner",
            accept=(204, 404, 422),
        )
        return Dismissed(busy=reply.status == 422)


def _labels(runner: Mapping[str, object]) -> frozenset[str]:
    listed = runner.get("labels")
    found = (mapping(label) for label in listed) if isinstance(listed, list) else ()
    return frozenset(str(label.get("name")).lower() for label in found)
