"""A pool's scale set at GitHub: made where it is not there, found by its name, made anew where it went.

Only a set that carries our mark, or none but its own name, is taken for ours. A set without a connection for
a week is deleted by GitHub; nothing is lost with it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import quote

from mayfly.edge.faults import Passing, Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import ServiceReply, clean
from mayfly.providers.github.actions_service import ActionsService
from mayfly.providers.github.place import GitHubAddress
from mayfly.providers.github.set_messages import lowered

SETS = "runtime/runnerscalesets"
FIRST_GROUP = 1
MARK = "mayfly-"  # how every Mayfly's mark begins
KIND = "System"


class ScaleSet:
    """One pool's scale set; to be used from any thread."""

    def __init__(
        self,
        service: ActionsService,
        place: GitHubAddress,
        whose: str,
        name: str,
        mark: str,
        group: str | None,
    ) -> None:
        self._service, self._place, self._whose = service, place, whose
        self.name, self._mark, self._group = name, mark, group
        self._id: int | None = None
        self._labels: tuple[str, ...] = ()  # what jobs may ask for, as it was last said
        self._given: tuple[str, ...] | None = None  # which of these it was seen to; None: none yet
        self.lacking: tuple[str, ...] = ()  # labels that it was to have and has not
        # The listener makes it while workers enrol agents in it.
        self._lock = threading.Lock()

    @property
    def known(self) -> int | None:
        """Its number; ``None``: it has not been looked for, or is gone."""
        return self._id

    def forget(self, number: int | None = None) -> None:
        """It is gone, if it is still that one: look for it again."""
        with self._lock:
            if number is None or self._id == number:
                self._id = None

    def number(self, labels: tuple[str, ...] | None = None) -> int:
        """Its number; it is made where it is not there, and sees to its ``labels`` where they are said.

        ``Refused`` where its name is somebody else's.
        """
        with self._lock:
            if labels is not None:
                self._labels = labels
            if self._id is None or self._given not in (None, self._labels):
                group = self._group_number()
                found = self.found(group) or self._make(group)
                self._id = self._taken(found)
                self._given = self._labels
            return self._id

    def found(self, group: int | None = None) -> Mapping[str, object] | None:
        """The set of that name; ``None``: there is none."""
        number = self._group_number() if group is None else group
        reply = self._call(
            "GET",
            SETS,
            "look for its scale set",
            query={"runnerGroupId": str(number), "name": self.name},
        )
        for one in items(mapping(reply.body).get("value")):
            known = lowered(mapping(one))
            if known.get("name") == self.name:
                return known
        return None

    def see_ours(self, found: Mapping[str, object]) -> None:
        """``Refused`` where it may be somebody else's."""
        have = set(labels_of(found))
        if self._mark in have or have <= {self.name.lower()}:
            return
        other = next((one for one in sorted(have) if one.startswith(MARK)), None)
        owner = f"another Mayfly's ({clean(other)})" if other else "not made by Mayfly"
        raise Refused(
            f'the scale set "{self.name}" at {self._place.web} is {owner}: give {self._whose} another '
            "`scale_set`, or delete that one there"
        )

    def _call(self, method: str, path: str, operation: str, **given: object) -> ServiceReply:
        accept = given.pop("accept", (200,))
        assert isinstance(accept, tuple)
        reply = self._service.call(
            method,
            path,
            operation,
            accept=(*accept, 404),
            **given,  # type: ignore[arg-type]
        )
        if reply.status == 404 and 404 not in accept:
            # The whole table of sets is not there: an old server, or one that never had them.
            raise self._service.unsupported(404)
        return reply

    def _group_number(self) -> int:
        """The runner group's; a repository has one alone."""
        wanted = self._group
        if wanted is None or self._place.kind == "repository":
            return FIRST_GROUP
        reply = self._call(
            "GET", "runtime/runnergroups/", "look for its runner group", query={"groupName": wanted}
        )
        found = [mapping(one) for one in items(mapping(reply.body).get("value"))]
        named = [one for one in found if text(one.get("name")).lower() == wanted.lower()]
        if len(named) != 1:
            raise Refused(
                f'there is no runner group "{wanted}" at {self._place.web}: correct `runner_group`, or make '
                "the group"
            )
        return integer(named[0].get("id"))

    def _wanted(self) -> list[str]:
        kept: dict[str, str] = {}
        for label in (self.name, *self._labels, self._mark):
            kept.setdefault(label.lower(), label)
        return list(kept.values())

    def _make(self, group: int) -> Mapping[str, object]:
        body = {
            "name": self.name,
            "runnerGroupId": group,
            "labels": [{"type": KIND, "name": label} for label in self._wanted()],
            "RunnerSetting": {"disableUpdate": True},
        }
        reply = self._call(
            "POST", SETS, "make its scale set", body=body, accept=(200, 201, 400, 409)
        )
        if reply.status in (200, 201):
            return lowered(mapping(reply.body))
        if "ExistsException" not in kind_of(reply):
            raise self._service.fault(reply, "make its scale set")
        found = self.found(group)  # a lost reply made it, or somebody else just now
        if found is None:
            raise Passing(f"GitHub has a scale set {self.name} and does not show it yet", 5.0)
        return found

    def _taken(self, found: Mapping[str, object]) -> int:
        self.see_ours(found)
        number = integer(found.get("id"))
        wanted = self._wanted()
        have = set(labels_of(found))
        # One that it has too many promises what its agents are not, such as the driver of before.
        if {label.lower() for label in wanted} != have:
            body = {
                "labels": [{"type": KIND, "name": label} for label in wanted],
                "RunnerSetting": {"disableUpdate": True},
            }
            reply = self._call(
                "PATCH",
                f"{SETS}/{number}",
                "give its scale set its labels",
                body=body,
                accept=(200, 400, 403, 404, 405, 409, 422),
            )
            if reply.status == 200 and isinstance(reply.body, dict):
                have = set(labels_of(lowered(reply.body)))
        missing = [one for one in wanted if one.lower() not in have and one != self._mark]
        self.lacking = tuple(missing)
        return number


def labels_of(found: Mapping[str, object]) -> list[str]:
    """The names of its labels, in lower case."""
    listed = found.get("labels")
    names = []
    for one in listed if isinstance(listed, list) else ():
        name = lowered(one).get("name") if isinstance(one, dict) else None
        if isinstance(name, str):
            names.append(name.lower())
    return names


def kind_of(reply: ServiceReply) -> str:
    """Which exception of the service's it is, as far as it says."""
    body = lowered(reply.body) if isinstance(reply.body, dict) else {}
    kind = body.get("typename")
    return kind if isinstance(kind, str) else ""


def path_of(number: int, rest: str = "") -> str:
    """The path of what belongs to a set."""
    return f"{SETS}/{number}/{quote(rest, safe='/')}" if rest else f"{SETS}/{number}"
