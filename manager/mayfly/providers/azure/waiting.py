"""Jobs that wait in an agent pool, and how the build of one is cancelled.

The list of the pool's requests (jobrequests) is not in Microsoft's public reference, though others build
on it; asked for what is unfinished alone it stays short. Which agents a request matches is what the
service says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mayfly.core.quantities import moment
from mayfly.core.waiting import WaitingJob
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, mapping, text
from mayfly.edge.web import clean
from mayfly.providers import BEGUN
from mayfly.providers.azure.agent_pool import AgentPool

GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Waiting:
    """The requests of one agent pool that no agent has."""

    def __init__(self, agents: AgentPool, ours: re.Pattern[str]) -> None:
        """``ours`` is how the names of the pool's agents look."""
        self._agents, self._ours = agents, ours

    def look(self) -> tuple[WaitingJob, ...]:
        """The jobs that wait and that one of our agents matches."""
        requests = [mapping(one) for one in self._agents.unfinished()]
        at_work = _at_work(requests)
        found = []
        for one in requests:
            since, build = moment(one.get("queueTime")), _build(one)
            if one.get("result") is not None or one.get("assignTime") is not None:
                continue
            if since is None or build is None or not self._matches(one):
                continue
            project, number = build
            found.append(
                WaitingJob(
                    id=f"{project}/{number}",
                    name=clean(f"{_name(one, 'definition')} {_name(one, 'owner')}".strip()),
                    since=since - (self._agents.web.skew or 0.0),
                    url=f"{self._agents.url}/{project}/_build/results?buildId={number}",
                    fits=True,
                    alone=build not in at_work,
                )
            )
        return tuple(found)

    def _matches(self, request: Mapping[str, object]) -> bool:
        """Whether the service would give it to one of ours; what it does not say is not known."""
        matched = request.get("matchedAgents")
        names = (
            [text(mapping(one).get("name")) for one in matched] if isinstance(matched, list) else []
        )
        return any(self._ours.fullmatch(name) for name in names)

    def cancel(self, waiting: str) -> None:
        """Cancel the build; one that is over is none that waits."""
        project, _, number = waiting.partition("/")
        what = "cancel a build that waits"
        if (project, int(number)) in _at_work(map(mapping, self._agents.unfinished())):
            raise Refused(BEGUN)
        reply = self._agents.change_build(project, int(number), {"status": "cancelling"}, what)
        if reply.status == 403:
            raise Refused(
                f"give the token of {self._agents.whose} the scope Build (Read & execute) for that"
            )
        if reply.status == 400 and "completed" not in reply.said:
            raise self._agents.web.fault(reply, what)


def _at_work(requests: Iterable[Mapping[str, object]]) -> set[tuple[str, int] | None]:
    """The builds of which an agent has a job."""
    return {_build(one) for one in requests if one.get("assignTime") is not None}


def _build(request: Mapping[str, object]) -> tuple[str, int] | None:
    """The project and the number of the request's build; ``None`` where it is of none."""
    owner, project = request.get("owner"), request.get("scopeId")
    number = owner.get("id") if isinstance(owner, dict) else None
    if str(request.get("planType")).lower() != "build" or not isinstance(number, int):
        return None
    if not isinstance(project, str) or not GUID.fullmatch(project):
        return None
    return project, integer(number)


def _name(request: Mapping[str, object], key: str) -> str:
    one = request.get(key)
    return str(one.get("name", "")) if isinstance(one, dict) else ""
