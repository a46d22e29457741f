"""A canary job at GitLab: the pipeline of a project's default branch, as New pipeline runs it.

Source: GitLab's REST reference (pipelines, jobs, repository files).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import cast
from urllib.parse import quote

from mayfly.core.model import PoolSpec
from mayfly.core.quantities import number
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import ServiceReply, clean
from mayfly.providers.canary_job import (
    BegunRun,
    RunnableJob,
    SeenJob,
    SeenRun,
    asks_for,
    file_text,
    may_have_begun,
    ours_first,
)
from mayfly.providers.gitlab.access import Access
from mayfly.providers.gitlab.projects import Project, Projects
from mayfly.providers.gitlab.service import insufficient
from mayfly.providers.gitlab.settings import GitLabSettings

FORM = "GROUP/PROJECT"
PATH = re.compile(r"[A-Za-z0-9_.-]{1,200}(/[A-Za-z0-9_.-]{1,200}){1,20}")
FILE = ".gitlab-ci.yml"
FINAL = frozenset({"success", "failed", "canceled", "skipped", "manual"})
ENDED = frozenset({"success", "failed", "canceled"})
SCOPE = "the token of {} may run no pipeline: it would need the scope api"


class Pipelines:
    """The pipelines that can be run for one pool."""

    form = FORM

    def __init__(self, pool: PoolSpec, clock: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._access = Access(pool, cast(GitLabSettings, pool.settings), clock)
        if self._access.shared:
            raise Refused(
                f"a runner's own token runs no pipeline, and {self._access.whose} has no other"
            )
        self._projects = Projects(self._access, "list the projects")

    def runnable(self) -> tuple[RunnableJob, ...]:
        """The projects that have a pipeline; ``Refused`` where the token could not run it anyway."""
        reply = self._call(
            "GET",
            "personal_access_tokens/self",
            "see what the token may",
            accept=(200, 400, 404),
        )
        if reply.status == 200 and "api" not in items(mapping(reply.body).get("scopes")):
            raise Refused(SCOPE.format(self._access.whose))
        return ours_first(self._with_pipeline())

    def _with_pipeline(self) -> Iterator[RunnableJob]:
        for project in self._projects.listed():
            words = self._text(project)
            if words is not None and PATH.fullmatch(project.path):
                yield RunnableJob(project.path, asks_for(words, self._pool))

    def _text(self, project: Project) -> str | None:
        """What its pipeline's file says; "" where that is elsewhere, ``None`` where there is none."""
        file = project.row.get("ci_config_path") or FILE
        if not isinstance(file, str) or "@" in file or "://" in file:
            return ""
        path = f"projects/{project.id}/repository/files/{quote(file, safe='')}?ref=HEAD"
        reply = self._call("GET", path, "read the pipeline", accept=(200, 404))
        return (file_text(mapping(reply.body)) or "") if reply.status == 200 else None

    def begin(self, name: str) -> BegunRun:
        """Run the pipeline of the project's default branch."""
        if not PATH.fullmatch(name):
            raise Refused(f"{clean(name)!r} names no project: it is {FORM}")
        at = f"projects/{quote(name, safe='')}"
        about = self._call("GET", at, "look at the project", accept=(200, 404))
        if about.status == 404:
            raise Refused(f"GitLab has no project {name} that the token may see")
        row = mapping(about.body)
        branch = row.get("default_branch")
        if not isinstance(branch, str):
            raise Refused(f"the project {name} has no branch yet, so no pipeline")
        path = f"projects/{integer(row.get('id'))}"
        site = row.get("web_url")
        page = f"{site if isinstance(site, str) else name}/-/pipelines"
        with may_have_begun(page):
            reply = self._call(
                "POST",
                f"{path}/pipeline",
                f"run the pipeline of {name}",
                body={"ref": branch},
                accept=(201, 400),
            )
            if reply.status == 400:
                raise Refused(
                    f"GitLab runs no pipeline of {name} on {clean(branch)}: {reply.said}; it needs a "
                    f"{FILE} there"
                )
            made = mapping(reply.body)
            number = integer(made.get("id"))
        address = made.get("web_url")
        return BegunRun(f"{path}/pipelines/{number}", address if isinstance(address, str) else page)

    def look(self, run: BegunRun) -> SeenRun:
        """The pipeline and its jobs."""
        status = text(mapping(self._call("GET", run.id, "look at the pipeline").body).get("status"))
        jobs = self._call("GET", f"{run.id}/jobs?per_page=100", "list the pipeline's jobs")
        ended = status in FINAL
        return SeenRun(
            ended,
            clean(status) if ended else "",
            tuple(_job(mapping(one)) for one in items(jobs.body)),
        )

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        body: object = None,
        accept: tuple[int, ...] = (200,),
    ) -> ServiceReply:
        web = self._access.service.web
        reply = web.call(method, path, operation, body=body, accept=(*accept, 403))
        if reply.status == 403:
            if insufficient(reply):
                raise Refused(SCOPE.format(self._access.whose))
            raise web.fault(reply, operation)
        return reply


def _job(job: Mapping[str, object]) -> SeenJob:
    status, runner = text(job.get("status")), job.get("runner")
    description = runner.get("description") if isinstance(runner, dict) else None
    took = job.get("duration")
    ended = status in ENDED
    return SeenJob(
        clean(text(job.get("name"))),
        description if isinstance(description, str) and description else None,
        ended,
        clean(status) if ended else "",
        status == "success",
        number(took) if ended else None,
    )


def make(pool: PoolSpec) -> Pipelines:
    """What can be run for that pool."""
    return Pipelines(pool)
