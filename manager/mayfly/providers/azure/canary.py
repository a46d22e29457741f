"""A canary job at Azure DevOps: a pipeline that is there, run as Run pipeline does, on its own branch.

Source: Microsoft's REST reference (projects, build definitions, builds, timeline). The builds' interface is
asked, which older servers have too.
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
from mayfly.providers.azure.agent_pool import AgentPool
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.canary_job import (
    LOOKED_AT,
    BegunRun,
    RunnableJob,
    SeenJob,
    SeenRun,
    may_have_begun,
    ours_first,
    seen_job,
    word,
)

FORM = "PROJECT/PIPELINE, or PROJECT/FOLDER/PIPELINE"
RIGHT = (
    "the token of {} may run no pipeline: it would need the scope Build (Read & execute), and its owner a "
    "place in the project"
)


class Pipelines:
    """The pipelines that can be run for one pool."""

    form = FORM

    def __init__(self, pool: PoolSpec, clock: Callable[[], float] = time.time) -> None:
        settings = cast(AzureSettings, pool.settings)
        self._agents = AgentPool(pool, settings, "", clock, time.sleep)
        self._agents.refuse_plain_http()

    def runnable(self) -> tuple[RunnableJob, ...]:
        """The pipelines of the organisation's projects."""
        return ours_first(self._pipelines())

    def _pipelines(self) -> Iterator[RunnableJob]:
        for project in self._listed("/_apis/projects", "list the projects", LOOKED_AT):
            name = text(project.get("name"))
            below = f"/{quote(name, safe='')}/_apis/build/definitions"
            for entry in self._listed(below, "list the pipelines", 100):
                if entry.get("queueStatus", "enabled") == "enabled":
                    yield RunnableJob(f"{name}/{_named(entry)}", self._asks_for_us(entry))

    def _asks_for_us(self, definition: Mapping[str, object]) -> bool:
        """Whether its jobs go to the agent pool where its text says nothing."""
        queue = definition.get("queue")
        pool = queue.get("pool") if isinstance(queue, dict) else None
        name = pool.get("name") if isinstance(pool, dict) else None
        return isinstance(name, str) and name.casefold() == self._agents.name.casefold()

    def _listed(self, path: str, operation: str, most: int) -> list[Mapping[str, object]]:
        reply = self._call("GET", path, operation, query={"$top": str(most)})
        return [mapping(one) for one in items(mapping(reply.body).get("value"))][:most]

    def begin(self, name: str) -> BegunRun:
        """Run the pipeline on the branch that it has by default."""
        project, _, pipeline = name.partition("/")
        if not project.strip() or not pipeline.strip():
            raise Refused(f"{clean(name)!r} names no pipeline: it is {FORM}")
        at = f"/{quote(project, safe='')}/_apis/build"
        body = {"definition": {"id": self._number(at, project, pipeline)}}
        site = f"{self._agents.url}/{quote(project, safe='')}/_build"
        with may_have_begun(site):
            reply = self._call(
                "POST", f"{at}/builds", f"run {name}", body=body, accept=(200, 201, 400)
            )
            if reply.status == 400:
                raise Refused(f"Azure DevOps does not run {clean(name)}: {reply.said}")
            number = integer(mapping(reply.body).get("id"))
        return BegunRun(f"{at}/builds/{number}", f"{site}/results?buildId={number}")

    def _number(self, at: str, project: str, pipeline: str) -> int:
        """The id of the one pipeline of that name, with its folder or, where no other has it, without.

        (What the service is asked for is a pattern: it answers with more than that.)
        """
        name = pipeline.rpartition("/")[2]
        reply = self._call(
            "GET",
            f"{at}/definitions",
            "find the pipeline",
            query={"name": name},
            accept=(200, 404),
        )
        listed = items(mapping(reply.body).get("value")) if reply.status == 200 else []
        rows = list(map(mapping, listed))
        # Whatever the case: two that differ in it alone are told, and neither is run.
        found = [row for row in rows if _named(row).casefold() == pipeline.casefold()]
        if not found:
            found = [row for row in rows if text(row.get("name")).casefold() == pipeline.casefold()]
        if len(found) > 1:
            there = ", ".join(sorted(f"{clean(project)}/{clean(_named(row))}" for row in found[:5]))
            raise Refused(
                f"{len(found)} pipelines are called {clean(pipeline)}: name one with its folder, as {there}"
            )
        if not found:
            raise Refused(
                f"{self._agents.url} has no pipeline {clean(pipeline)} in a project {clean(project)} that "
                "the token may see"
            )
        return integer(found[0].get("id"))

    def look(self, run: BegunRun) -> SeenRun:
        """The build, and the jobs of its timeline."""
        build = mapping(self._call("GET", run.id, "look at the build").body)
        timeline = self._call(
            "GET", f"{run.id}/timeline", "list the build's jobs", accept=(200, 204, 404)
        )
        records = mapping(timeline.body).get("records") if timeline.status == 200 else []
        ended = build.get("status") == "completed"
        return SeenRun(
            ended,
            word(build.get("result")) if ended else "",
            tuple(
                _job(record)
                for record in map(mapping, items(records or []))
                if record.get("type") == "Job"
            ),
        )

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: tuple[int, ...] = (200,),
    ) -> ServiceReply:
        reply = self._agents.versioned(
            method, path, operation, query=query, body=body, accept=(*accept, 401, 403)
        )
        # (The service says 401 of a token without the scope, too; this one was good for the agent pool.)
        if reply.status in (401, 403):
            raise Refused(RIGHT.format(self._agents.whose))
        return reply


def _named(definition: Mapping[str, object]) -> str:
    """A pipeline's name below its project, with its folder: two folders may have one of a name."""
    path = definition.get("path")
    folders = path.split("\\") if isinstance(path, str) else []
    return "/".join([*filter(None, folders), text(definition.get("name"))])


def _job(record: Mapping[str, object]) -> SeenJob:
    return seen_job(
        record.get("name"),
        record.get("workerName"),
        record.get("result"),
        ended=record.get("state") == "completed",
        succeeded=record.get("result") == "succeeded",
        times=(record.get("startTime"), record.get("finishTime")),
    )


def make(pool: PoolSpec) -> Pipelines:
    """What can be run for that pool."""
    return Pipelines(pool)
