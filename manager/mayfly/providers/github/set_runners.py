"""The runners of a scale set: made for one agent each, listed, and taken back.

GitHub lists all runners of the place; those of our set bear its number and our names. What it does not list
is asked for one by one, and what it does not say of a runner (whether it is online, or has a job) is not
known, or is what the set's messages told.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from itertools import islice

from mayfly.core import naming
from mayfly.core.model import Generation, PoolName, RosterEntry
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.service_json import Pages, integer, items, mapping, text
from mayfly.edge.web import ServiceReply
from mayfly.providers import Dismissed, Enrolment
from mayfly.providers.github.actions_service import ActionsService
from mayfly.providers.github.runner_place import WORK
from mayfly.providers.github.scale_set import ScaleSet, kind_of, path_of
from mayfly.providers.github.set_messages import lowered

AGENTS = "distributedtask/pools/0/agents"
MOST_BUSY = 10_000  # names that are kept until the next look: a pool has no more slots
SETTLE = 10.0  # seconds until a name is tried again that is taken and not shown


class SetRunners:
    """The runners of one pool's scale set; to be used from any thread."""

    def __init__(
        self, service: ActionsService, scale_set: ScaleSet, host: str, pool: PoolName, whose: str
    ) -> None:
        self._service, self._set = service, scale_set
        self._host, self._pool, self._whose = host, pool, whose
        self._pattern = rf"{re.escape(f'{host}-{pool}')}-([0-9]{{1,4}})-([a-z0-9]{{13}})"
        self._ours: dict[str, str] = {}  # those made by us and not known to be gone: id and name
        self._busy: set[str] = set()  # names
        self._lock = threading.Lock()
        self.versions: frozenset[str] = frozenset()  # at the last look

    def started(self, names: tuple[str, ...]) -> None:
        """Those have begun a job; what bears no name of ours is nothing to us."""
        ours = (name for name in names if self._named(name) is not None)
        with self._lock:
            self._busy |= set(islice(ours, MOST_BUSY - len(self._busy)))

    def over(self, names: tuple[str, ...]) -> None:
        """The jobs of those are over."""
        with self._lock:
            self._busy -= set(names)

    def make(self, name: str) -> Enrolment:
        """A runner under that name, as a file for its gate; one that a lost reply left behind goes first."""
        number = self._set.number()
        reply = self._mint(number, name)
        if reply.status == 409:
            self._clear(name)
            reply = self._mint(number, name)
        if reply.status == 404:
            self._set.forget(number)
            raise Passing(
                f"the scale set {self._set.name} is gone; {self._whose} makes it anew and tries again",
                2.0,
            )
        if reply.status not in (200, 201):
            raise self._service.fault(reply, "make a runner for a job")
        made = lowered(mapping(reply.body))
        runner = lowered(mapping(made.get("runner")))
        identity = str(integer(runner.get("id")))
        with self._lock:
            self._ours[identity] = name
        blob = text(made.get("encodedjitconfig"))
        return Enrolment(files={"jitconfig": blob.encode()}, registration=identity, registered=name)

    def look(self) -> list[RosterEntry]:
        """All of the set, and those of ours that a list leaves out."""
        with self._lock:
            ours = dict(self._ours)
        found: dict[str, RosterEntry] = {}
        versions: set[str] = set()
        for runner in self._listed():
            entry = self._entry(runner)
            if entry is not None:
                found[entry.id] = entry
                version = runner.get("version")
                versions |= {version} if isinstance(version, str) and version else set()
        self.versions = frozenset(versions)
        for identity in ours.keys() - found.keys():
            entry = self._one(identity)
            if entry is not None:
                found[entry.id] = entry
        with self._lock:
            for identity in ours.keys() - found.keys():
                self._ours.pop(identity, None)
            self._busy &= {entry.name for entry in found.values()} | set(self._ours.values())
        return [found[identity] for identity in sorted(found)]

    def one(self) -> None:
        """Something small, for the sake of its being answered: the set itself."""
        number = self._set.known
        if number is None:
            self._set.found()
            return
        self._service.call("GET", path_of(number), "look at its scale set", accept=(200, 404))

    def remove(self, registration: str) -> Dismissed:
        """Take a runner back: 204 proves that it was idle and gets no job. Gone already is success."""
        reply = self._service.call(
            "DELETE",
            f"{AGENTS}/{int(registration)}",
            "remove a runner",
            accept=(200, 204, 400, 404, 409, 422),
        )
        if reply.status in (400, 409, 422):
            if reply.status != 422 and "JobStillRunning" not in kind_of(reply):
                raise self._service.fault(reply, "remove a runner")
            return Dismissed(busy=True)
        with self._lock:
            self._ours.pop(registration, None)
        return Dismissed()

    def _mint(self, number: int, name: str) -> ServiceReply:
        return self._service.call(
            "POST",
            path_of(number, "generatejitconfig"),
            "make a runner for a job",
            body={"name": name, "workFolder": WORK},
            accept=(200, 201, 404, 409),
        )

    def _clear(self, name: str) -> None:
        reply = self._service.call(
            "GET", AGENTS, "look for a lost runner", query={"agentName": name}
        )
        found = [lowered(mapping(one)) for one in items(mapping(reply.body).get("value"))]
        named = [one for one in found if one.get("name") == name]
        if not named:
            raise Passing(f"GitHub has a runner named {name} and does not show it yet", SETTLE)
        for one in named:
            if one.get("runnerscalesetid") != self._set.known:
                raise Refused(
                    f"a runner named {name} that is not of the scale set {self._set.name} is registered: "
                    "remove it, or rename this host (host.name)"
                )
            if self.remove(str(integer(one.get("id")))).busy:
                raise Passing(
                    f"the runner named {name} runs a job before its gate was opened", SETTLE
                )

    def _listed(self) -> Iterator[Mapping[str, object]]:
        reply = self._service.call("GET", AGENTS, "list the runners", accept=(200, 204))
        if reply.status == 200:
            for one in Pages().entries(reply.content, mapping(reply.body).get("value")):
                yield lowered(one)

    def _one(self, identity: str) -> RosterEntry | None:
        reply = self._service.call(
            "GET", f"{AGENTS}/{int(identity)}", "look at a runner", accept=(200, 404)
        )
        return self._entry(lowered(mapping(reply.body))) if reply.status == 200 else None

    def _named(self, name: str) -> re.Match[str] | None:
        return re.fullmatch(self._pattern, name)

    def _entry(self, runner: Mapping[str, object]) -> RosterEntry | None:
        """What it is to us; ``None`` where it bears none of our names."""
        name = text(runner.get("name"))
        named = self._named(name)
        number = self._set.known
        if named is None:
            return None
        ours = number is not None and runner.get("runnerscalesetid") == number
        status = runner.get("status")
        with self._lock:
            begun = name in self._busy
        busy = runner.get("busy")
        return RosterEntry(
            id=str(integer(runner.get("id"))),
            name=name,
            online=status == "online" if isinstance(status, str) else None,
            busy=busy if isinstance(busy, bool) else begun,
            slot=naming.slot(self._pool, int(named.group(1))),
            generation=Generation(named.group(2)),
            foreign=not ours,
        )
