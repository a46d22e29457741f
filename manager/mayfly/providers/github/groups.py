"""The runner groups of a place, and which one the pool's runners belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mayfly.edge.faults import Refused
from mayfly.edge.service_json import Pages, integer, text
from mayfly.edge.web import clean
from mayfly.providers.github.connection import Connection

FIRST_GROUP = 1  # of a repository the only one, elsewhere "Default"


class Groups:
    """The runner groups that a pool may choose from."""

    def __init__(self, connection: Connection, wanted: str | None) -> None:
        self._connection, self._wanted = connection, wanted
        self.found: int | None = None  # the one that is wanted, once it was looked up

    def number(self) -> int:
        """The runner group's number; ``Refused`` names those that there are."""
        if self._wanted is None or self._connection.place.kind == "repository":
            return FIRST_GROUP
        if self.found is None:
            there: list[str] = []
            wanted = self._wanted.lower()
            for group in self.all():
                there.append(text(group.get("name")))
                if there[-1].lower() == wanted:
                    self.found = integer(group.get("id"))
                    return self.found
            names = ", ".join(f'"{name}"' for name in there)
            raise Refused(
                f'there is no runner group "{self._wanted}" at {self._connection.place.web}; there are '
                f"{clean(names)}: correct `runner_group`, or make the group"
            )
        return self.found

    def all(self) -> Iterator[Mapping[str, object]]:
        """Every runner group of the place."""
        return self._connection.listed(
            "runner-groups", "runner_groups", "list the runner groups", Pages()
        )

    def check(self, number: int) -> None:
        """See that there is one of that number."""
        if number not in [integer(group.get("id")) for group in self.all()]:
            raise Refused(
                f"{self._connection.place.web} has no runner group {number}: name one as `runner_group`"
            )
