"""Jobs that wait at GitLab: which of them an agent of the pool could take, and how one is cancelled.

GitLab lists jobs by project alone: of a group those projects are looked at where something happened last, of
an instance likewise. What no runner at all can take it drops by itself after an hour. Source: GitLab's REST
reference (jobs, groups, projects).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from mayfly.core.waiting import WaitingJob
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import clean
from mayfly.providers import BEGUN
from mayfly.providers.gitlab.access import Access
from mayfly.providers.gitlab.service import insufficient, moment

PROJECTS = 10  # of a group or an instance
PATH = re.compile(r"[A-Za-z0-9_./-]{1,500}")


class Waiting:
    """The pending jobs that wait for one pool."""

    def __init__(
        self,
        access: Access,
        tags_of: Callable[[tuple[str, ...]], list[str]],
        clock: Callable[[], float],
    ) -> None:
        self._access, self._tags_of, self._clock = access, tags_of, clock

    def look(self, given: tuple[tuple[str, ...], ...]) -> tuple[WaitingJob, ...]:
        """The jobs that wait for an agent of the pool."""
        if self._access.shared:
            raise Refused(
                "a runner's own token lists no jobs: give a personal access token for that"
            )
        ours = [frozenset(self._tags_of(labels)) for labels in given or ((),)]
        found: list[WaitingJob] = []
        for number, path in self._projects():
            for job in self._read(f"projects/{number}/jobs?scope[]=pending&per_page=100"):
                asked = frozenset(text(tag) for tag in items(job.get("tag_list")))
                # One that was handed out and not taken up yet is pending, too.
                if job.get("runner") is None and asked and any(asked <= tags for tags in ours):
                    found += self._waits(number, path, job)
        return tuple(found)

    def _projects(self) -> Iterator[tuple[int, str]]:
        place = self._access.place
        if place.kind == "project":
            project = self._access.service.web.call("GET", f"projects/{place.id}", "look at it")
            listed = [mapping(project.body)]
        else:
            above = f"groups/{place.id}/" if place.kind == "group" else ""
            more = "&include_subgroups=true" if above else ""
            query = f"order_by=last_activity_at&archived=false&per_page={PROJECTS}{more}"
            listed = list(self._read(f"{above}projects?{query}"))
        for project_row in listed:
            path = text(project_row.get("path_with_namespace"))
            if PATH.fullmatch(path):
                yield integer(project_row.get("id")), path

    def _read(self, path: str) -> Iterator[Mapping[str, object]]:
        web, what = self._access.service.web, "list the jobs that wait"
        reply = web.call("GET", path, what, accept=(200, 403))
        if reply.status == 403:
            if insufficient(reply):
                raise Refused(f"give the token of {self._access.whose} the scope read_api for that")
            raise web.fault(reply, what)
        for one in items(reply.body):
            yield mapping(one)

    def _waits(self, number: int, path: str, job: Mapping[str, object]) -> Iterator[WaitingJob]:
        queued, born = job.get("queued_duration"), moment(job.get("created_at"))
        now = self._clock()
        if isinstance(queued, int | float):
            since = now - queued
        elif born is not None:
            since = born - (self._access.service.web.skew or 0.0)
        else:
            return
        yield WaitingJob(
            id=f"{number}/{integer(job.get('id'))}",
            name=clean(text(job.get("name"))),
            since=since,
            url=f"{self._access.service.base}/{path}/-/jobs/{integer(job.get('id'))}",
            fits=True,
        )

    def cancel(self, waiting: str) -> None:
        """Cancel the job; one that is gone is none that waits."""
        project, _, job = waiting.partition("/")
        web, what = self._access.service.web, "cancel a job that waits"
        path = f"projects/{int(project)}/jobs/{int(job)}"
        now = web.call("GET", path, "look at a job that waits", accept=(200, 403, 404))
        if now.status == 200 and mapping(now.body).get("status") == "running":
            raise Refused(BEGUN)
        reply = web.call("POST", f"{path}/cancel", what, accept=(200, 201, 403, 404))
        if reply.status == 403:
            if insufficient(reply):
                raise Refused(f"the token of {self._access.whose} needs the scope api for that")
            raise web.fault(reply, what)
