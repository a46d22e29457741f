"""The runners of a place, as Gitea lists them: which are ours, which have a job, and letting go of one.

Gitea has no guard: it deletes a runner in the middle of a job. So a runner is disabled first, which Gitea
looks at before it gives it a job, and then looked at.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping

from mayfly.core import naming
from mayfly.core.model import Generation, PoolName, RosterEntry
from mayfly.edge.faults import Passing
from mayfly.edge.service_json import integer, text
from mayfly.providers import Cordoned, Dismissed
from mayfly.providers.gitea.service import GiteaApi

SETTLE = 15.0  # seconds until a runner that is online before its gate was opened is looked at again


class Runners:
    """The runners of the pool's place; ours carry the mark as a label."""

    def __init__(self, service: GiteaApi, mark: str, host: str, pool: PoolName) -> None:
        self._service, self._mark, self._host, self._pool = service, mark, host, pool
        self._lock = threading.Lock()
        # Ours that were there at the last look. Its pages are cut from a list that moves meanwhile, so that
        # one which is missing need not be gone.
        self._seen: frozenset[int] = frozenset()

    def look(self) -> Iterator[RosterEntry]:
        """Ours, and others that bear our names."""
        at_work = self._service.at_work()
        listed = {integer(one.get("id")): one for one in self._service.runners()}
        with self._lock:
            seen = self._seen
        for number in sorted(seen - listed.keys()):
            found = self._service.runner(number)
            if found is not None:
                listed[number] = found
        ours = frozenset(number for number, one in listed.items() if self.ours(one))
        with self._lock:
            self._seen = ours | (self._seen - seen)
        for runner in listed.values():
            entry = self._entry(runner, at_work)
            if entry is not None:
                yield entry

    def know(self, number: int) -> None:
        """One of ours is there from now on."""
        with self._lock:
            self._seen |= {number}

    def _entry(self, runner: Mapping[str, object], at_work: frozenset[int]) -> RosterEntry | None:
        """One of our names or with our mark, as the roster has it; ``None`` where it is another's."""
        number, name, ours = integer(runner.get("id")), text(runner.get("name")), self.ours(runner)
        prefix = ".+" if ours else re.escape(self._host)
        pattern = rf"(?:{prefix})-{re.escape(self._pool)}-([0-9]{{1,4}})-([0-9a-z]{{13}})"
        named = re.fullmatch(pattern, name)
        if not ours and named is None:
            return None
        return RosterEntry(
            id=str(number),
            name=name,
            online=runner.get("status") == "online",
            busy=number in at_work or runner.get("busy") is True,
            slot=naming.slot(self._pool, int(named.group(1))) if named else None,
            generation=Generation(named.group(2)) if named else None,
            foreign=not ours,
        )

    def ours(self, runner: Mapping[str, object]) -> bool:
        """Whether it carries our mark."""
        labels = runner.get("labels")
        return isinstance(labels, list) and any(
            isinstance(label, dict) and label.get("name") == self._mark for label in labels
        )

    def clear_name(self, name: str) -> None:
        """Delete what a lost reply has left behind under an agent's name: nobody has its key."""
        for runner in self._service.runners():
            if runner.get("name") != name or not self.ours(runner):
                continue
            if runner.get("status") == "online":
                raise Passing(f"a runner named {name} is online before its gate was opened", SETTLE)
            self._service.delete(integer(runner.get("id")))

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Give a runner no new job, or give it jobs again; gone already is success."""
        number = int(registration)
        runner = self._service.disable(number, on)
        return Cordoned(busy=on and runner is not None and self._has_job(number, runner))

    def dismiss(self, registration: str) -> Dismissed:
        """Delete a runner: gone already is success, one that has a job is left to it."""
        if self.cordon(registration, on=True).busy:
            return Dismissed(busy=True)
        self._service.delete(int(registration))
        return Dismissed()

    def _has_job(self, number: int, runner: Mapping[str, object]) -> bool:
        return runner.get("busy") is True or number in self._service.at_work()
