"""The projects that a pool's runners take jobs of: GitLab lists jobs and pipelines by project alone.

Of a group those are looked at where something happened last, of an instance likewise. Source: GitLab's REST
reference (groups, projects).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.providers.gitlab.access import Access
from mayfly.providers.gitlab.service import insufficient

PROJECTS = 10  # of a group or an instance
PATH = re.compile(r"[A-Za-z0-9_./-]{1,500}")


@dataclass(frozen=True, slots=True)
class Project:
    """A project, as the list has it."""

    id: int
    path: str
    row: Mapping[str, object]


class Projects:
    """Those of one pool; ``operation`` is what they are asked for."""

    def __init__(self, access: Access, operation: str) -> None:
        self._access, self._operation = access, operation

    def listed(self) -> Iterator[Project]:
        """The projects, a bounded number."""
        place = self._access.place
        if place.kind == "project":
            project = self._access.service.web.call("GET", f"projects/{place.id}", "look at it")
            rows = [mapping(project.body)]
        else:
            above = f"groups/{place.id}/" if place.kind == "group" else ""
            more = "&include_subgroups=true" if above else ""
            query = f"order_by=last_activity_at&archived=false&per_page={PROJECTS}{more}"
            rows = list(self.read(f"{above}projects?{query}"))
        for row in rows:
            path = text(row.get("path_with_namespace"))
            if PATH.fullmatch(path):
                yield Project(integer(row.get("id")), path, row)

    def read(self, path: str) -> Iterator[Mapping[str, object]]:
        """The objects of a list."""
        web = self._access.service.web
        reply = web.call("GET", path, self._operation, accept=(200, 403))
        if reply.status == 403:
            if insufficient(reply):
                raise Refused(f"give the token of {self._access.whose} the scope read_api for that")
            raise web.fault(reply, self._operation)
        for one in items(reply.body):
            yield mapping(one)
