"""A canary job at GitHub: a workflow that is there, run by hand as its button does (`workflow_dispatch`).

GitHub answers a dispatch with nothing (204), so the run is found as the workflow's next one. Source: GitHub's
REST reference (workflows, workflow runs, workflow jobs, repository contents).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import cast
from urllib.parse import quote

from mayfly.core.model import PoolSpec
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import ServiceReply, clean
from mayfly.providers.canary_job import (
    LOOKED_AT,
    BegunRun,
    RunnableJob,
    SeenRun,
    file_text,
    may_have_begun,
    ours_first,
    word,
)
from mayfly.providers.canary_workflows import FORM, parts, with_button, workflow_job
from mayfly.providers.github.connection import Connection
from mayfly.providers.github.settings import GitHubSettings
from mayfly.providers.github.waiting import NAME

FOLDER = ".github/workflows/"
RIGHT = "the token of {} may run no workflow: it would need the repository right Actions: Read and write"


class Workflows:
    """The workflows that can be run for one pool."""

    form = FORM

    def __init__(self, pool: PoolSpec, clock: Callable[[], float] = time.time) -> None:
        settings = cast(GitHubSettings, pool.settings)
        self._pool = pool
        # An App's token for runners may do nothing else.
        self._connection = Connection(pool, settings, clock, {"actions": "write"}, ("contents",))
        self._known: set[int] = set()  # runs that there were before

    def runnable(self) -> tuple[RunnableJob, ...]:
        """The workflows of the place's repositories that have a button."""
        return ours_first(with_button(self._workflows(), self._text, self._pool))

    def _workflows(self) -> Iterator[tuple[str, str, Mapping[str, object]]]:
        for repository in self._repositories():
            reply = self._call(
                "GET", f"repos/{repository}/actions/workflows?per_page=100", "list the workflows"
            )
            for workflow in map(mapping, items(mapping(reply.body).get("workflows"))):
                yield repository, text(workflow.get("path")).removeprefix(FOLDER), workflow

    def _repositories(self) -> Iterator[str]:
        place = self._connection.place
        if place.kind == "repository":
            yield place.name
        if place.kind == "organisation":
            path = f"{place.path}/repos?sort=pushed&per_page={LOOKED_AT}"
            for entry in map(mapping, items(self._call("GET", path, "list the repositories").body)):
                if NAME.fullmatch(text(entry.get("full_name"))) and not entry.get("archived"):
                    yield text(entry.get("full_name"))

    def _text(self, repository: str, path: str) -> str | None:
        """What a file says; ``None`` where the token may not read it, or it is not on that branch."""
        reply = self._connection.call(
            "GET",
            f"repos/{repository}/contents/{quote(path)}",
            "read a workflow",
            accept=(200, 403, 404),
        )
        return file_text(mapping(reply.body)) if reply.status == 200 else None

    def begin(self, name: str) -> BegunRun:
        """Run it on the repository's default branch."""
        repository, file = parts(name)
        about = mapping(self._call("GET", f"repos/{repository}", "look at the repository").body)
        branch = text(about.get("default_branch"))
        path = f"repos/{repository}/actions/workflows/{file}"
        self._known = {integer(run.get("id")) for run in self._runs(path)}
        site = self._connection.place.web.removesuffix(f"/{self._connection.place.name}")
        page = f"{site}/{repository}/actions/workflows/{file}"
        with may_have_begun(page):
            reply = self._call(
                "POST",
                f"{path}/dispatches",
                f"run {name}",
                body={"ref": branch},
                accept=(200, 204, 404, 422),
            )
        if reply.status == 404:
            raise Refused(f"{repository} has no workflow {file} on {clean(branch)}")
        if reply.status == 422:
            raise Refused(
                f"GitHub does not run {name} by hand: {reply.said}; it needs `on: workflow_dispatch` on "
                f"{clean(branch)}, and no input that has to be given"
            )
        return BegunRun(path, page)

    def look(self, run: BegunRun) -> SeenRun:
        """The run, once GitHub shows it, and its jobs."""
        new = [one for one in self._runs(run.id) if integer(one.get("id")) not in self._known]
        if not new:
            return SeenRun(False, "", ())
        found = min(new, key=lambda one: integer(one.get("id")))
        repository = run.id.partition("/actions/")[0]
        path = (
            f"{repository}/actions/runs/{integer(found.get('id'))}/jobs?filter=latest&per_page=100"
        )
        jobs = items(mapping(self._call("GET", path, "list the run's jobs").body).get("jobs"))
        ended = found.get("status") == "completed"
        return SeenRun(
            ended,
            word(found.get("conclusion")) if ended else "",
            tuple(workflow_job(job, job.get("runner_name")) for job in map(mapping, jobs)),
            text(found.get("html_url")),
        )

    def _runs(self, workflow: str) -> list[Mapping[str, object]]:
        path = f"{workflow}/runs?event=workflow_dispatch&per_page=50"
        reply = self._call("GET", path, "list the workflow's runs", accept=(200, 404))
        if reply.status == 404:
            return []
        return [mapping(one) for one in items(mapping(reply.body).get("workflow_runs"))]

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        body: object = None,
        accept: tuple[int, ...] = (200,),
    ) -> ServiceReply:
        reply = self._connection.call(method, path, operation, body=body, accept=(*accept, 403))
        if reply.status == 403:
            fault = self._connection.web.fault(reply, operation)
            if isinstance(fault, Refused):
                raise Refused(RIGHT.format(self._connection.whose))
            raise fault
        return reply


def make(pool: PoolSpec) -> Workflows:
    """What can be run for that pool."""
    return Workflows(pool)
