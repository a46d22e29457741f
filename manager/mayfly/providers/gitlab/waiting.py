"""Jobs that wait at GitLab: which of them an agent of the pool could take, and how one is cancelled.

GitLab lists jobs by project alone: of a group those projects are looked at where something happened last, of
an instance likewise. What no runner at all can take it drops by itself after an hour. Source: GitLab's REST
reference (jobs, groups, projects).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mayfly.core.quantities import in_calendar, moment
from mayfly.core.waiting import WaitingJob
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import clean
from mayfly.providers import BEGUN
from mayfly.providers.gitlab.access import Access
from mayfly.providers.gitlab.projects import Projects
from mayfly.providers.gitlab.service import insufficient


class Waiting:
    """The pending jobs that wait for one pool."""

    def __init__(
        self,
        access: Access,
        tags_of: Callable[[tuple[str, ...]], list[str]],
        clock: Callable[[], float],
    ) -> None:
        self._access, self._tags_of, self._clock = access, tags_of, clock
        self._projects = Projects(access, "list the jobs that wait")

    def look(self, given: tuple[tuple[str, ...], ...]) -> tuple[WaitingJob, ...]:
        """The jobs that wait for an agent of the pool."""
        if self._access.shared:
            raise Refused(
                "a runner's own token lists no jobs: give a personal access token for that"
            )
        ours = [frozenset(self._tags_of(labels)) for labels in given or ((),)]
        found: list[WaitingJob] = []
        for project in self._projects.listed():
            number, path = project.id, project.path
            for job in self._projects.read(f"projects/{number}/jobs?scope[]=pending&per_page=100"):
                asked = frozenset(text(tag) for tag in items(job.get("tag_list")))
                # One that was handed out and not taken up yet is pending, too.
                if job.get("runner") is None and asked and any(asked <= tags for tags in ours):
                    found += self._waits(number, path, job)
        return tuple(found)

    def _waits(self, number: int, path: str, job: Mapping[str, object]) -> Iterator[WaitingJob]:
        queued, born, now = job.get("queued_duration"), moment(job.get("created_at")), self._clock()
        since = in_calendar(now - queued) if isinstance(queued, int | float) else None
        if since is None and born is not None:
            since = in_calendar(born - (self._access.service.web.skew or 0.0))
        if since is None:
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
