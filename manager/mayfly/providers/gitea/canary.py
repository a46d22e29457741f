"""A canary job at Gitea: a workflow that is there, run by hand as its button does (`workflow_dispatch`).

Gitea forgets the name of a runner for one job as the job ends, so the names are read while they are there.
Source: Gitea's own description of its REST (1.26).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import cast
from urllib.parse import quote

from mayfly.core.model import PoolSpec
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.service_json import integer, items, mapping, text
from mayfly.edge.web import ServiceReply, clean
from mayfly.providers.canary_job import (
    LOOKED_AT,
    BegunRun,
    RunnableJob,
    SeenJob,
    SeenRun,
    file_text,
    may_have_begun,
    ours_first,
    word,
)
from mayfly.providers.canary_workflows import (
    FORM,
    REPOSITORY,
    parts,
    with_button,
    workflow_job,
)
from mayfly.providers.gitea.service import GiteaApi
from mayfly.providers.gitea.settings import GiteaSettings

SCOPE = "the token of {} may run no workflow: it would need the scope write:repository"


class Workflows:
    """The workflows that can be run for one pool."""

    form = FORM

    def __init__(self, pool: PoolSpec, clock: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._service = GiteaApi(pool, cast(GiteaSettings, pool.settings), clock)
        self._names: dict[int, str] = {}  # of the place's runners, by their number

    def runnable(self) -> tuple[RunnableJob, ...]:
        """The workflows of the place's repositories that have a button."""
        return ours_first(with_button(self._workflows(), self._text, self._pool))

    def _workflows(self) -> Iterator[tuple[str, str, Mapping[str, object]]]:
        for repository in self._repositories():
            at = f"repos/{repository}"
            reply = self._call("GET", f"{at}/actions/workflows", "list the workflows", (200, 404))
            listed = mapping(reply.body).get("workflows") if reply.status == 200 else []
            for workflow in map(mapping, items(listed or [])):
                yield repository, text(workflow.get("id")), workflow

    def _repositories(self) -> Iterator[str]:
        place = self._service.place
        if place.kind == "repo":
            yield place.name
            return
        above = f"orgs/{place.name}" if place.kind == "org" else "user"
        path = f"{above}/repos?limit={LOOKED_AT}"
        for entry in map(mapping, items(self._call("GET", path, "list the repositories").body)):
            if REPOSITORY.fullmatch(text(entry.get("full_name"))):
                yield text(entry.get("full_name"))

    def _text(self, repository: str, path: str) -> str | None:
        """What a file says; ``None`` where it is not to be had."""
        path = f"repos/{repository}/contents/{quote(path)}"
        reply = self._call("GET", path, "read a workflow", (200, 404))
        return file_text(mapping(reply.body)) if reply.status == 200 else None

    def begin(self, name: str) -> BegunRun:
        """Run it on the repository's default branch."""
        repository, file = parts(name)
        at = f"repos/{repository}"
        about = self._call("GET", at, "look at the repository", (200, 404))
        if about.status == 404:
            raise Refused(f"Gitea has no repository {repository} that the token may see")
        branch = text(mapping(about.body).get("default_branch"))
        self._read_names()
        path = f"{at}/actions/workflows/{file}/dispatches?return_run_details=true"
        page = f"{self._service.place.site}/{repository}/actions"
        with may_have_begun(page):
            accept = (200, 204, 400, 404, 422)
            reply = self._call("POST", path, f"run {name}", accept, {"ref": branch})
            if reply.status == 204:
                raise Passing("Gitea took it, and does not say which run it is (1.26 does)")
            if reply.status != 200:
                raise Refused(
                    f"Gitea does not run {name} ({reply.status}): {reply.said or 'it says no more'}; it has "
                    f"to be on {clean(branch)}"
                )
            made = mapping(reply.body)
            number = integer(made.get("workflow_run_id"))
        address = made.get("html_url")
        return BegunRun(
            f"{at}/actions/runs/{number}", address if isinstance(address, str) else page
        )

    def look(self, run: BegunRun) -> SeenRun:
        """The run and its jobs."""
        found = mapping(self._call("GET", run.id, "look at the run").body)
        jobs = mapping(self._call("GET", f"{run.id}/jobs", "list the run's jobs").body).get("jobs")
        ended = found.get("status") == "completed"
        shown = tuple(self._job(mapping(job)) for job in items(jobs or []))
        if any(not job.ended for job in shown):
            self._read_names()
        address = found.get("html_url")
        return SeenRun(
            ended,
            word(found.get("conclusion")) if ended else "",
            shown,
            address if isinstance(address, str) else "",
        )

    def _read_names(self) -> None:
        for runner in self._service.runners():
            self._names[integer(runner.get("id"))] = text(runner.get("name"))

    def _job(self, job: Mapping[str, object]) -> SeenJob:
        number, agent = job.get("runner_id"), job.get("runner_name")
        if not agent:
            agent = self._names.get(number) if isinstance(number, int) else None
        return workflow_job(job, agent)

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        accept: tuple[int, ...] = (200,),
        body: object = None,
    ) -> ServiceReply:
        web = self._service.web
        reply = web.call(method, f"api/v1/{path}", operation, body=body, accept=(*accept, 403))
        if reply.status == 403:
            fault = web.fault(reply, operation)
            raise (
                fault
                if isinstance(fault, Passing)
                else Refused(f"{SCOPE.format(self._service.whose)} ({reply.said})")
            )
        return reply


def make(pool: PoolSpec) -> Workflows:
    """What can be run for that pool."""
    return Workflows(pool)
