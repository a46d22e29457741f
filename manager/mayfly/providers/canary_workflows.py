"""Workflows that lie in a repository's files and have a button (`workflow_dispatch`), as canary jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from mayfly.core.model import PoolSpec
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import text
from mayfly.edge.web import clean
from mayfly.providers.canary_job import READ, RunnableJob, SeenJob, asks_for, seen_job

FORM = "OWNER/REPOSITORY/FILE.yml"
REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_WORKFLOW = re.compile(rf"({REPOSITORY.pattern})/([A-Za-z0-9_.-]{{1,200}}\.ya?ml)")
_BUTTON = re.compile(r"^[^#\n]*\bworkflow_dispatch\b", re.MULTILINE)


def parts(name: str) -> tuple[str, str]:
    """The repository and the file that are named so; ``Refused`` where that names no workflow."""
    found = _WORKFLOW.fullmatch(name)
    if found is None:
        raise Refused(f"{clean(name)!r} names no workflow: it is {FORM}")
    return found[1], found[2]


def with_button(
    workflows: Iterable[tuple[str, str, Mapping[str, object]]],
    read: Callable[[str, str], str | None],
    pool: PoolSpec,
) -> Iterator[RunnableJob]:
    """Those that can be run by hand, of (repository, file, the service's row).

    The files of the first ``READ`` are read for that, by repository and path; where one is not to be had
    (``None``) it may have a button.
    """
    looked = 0
    for repository, file, row in workflows:
        name = f"{repository}/{file}"
        if row.get("state") != "active" or not _WORKFLOW.fullmatch(name):
            continue
        words = read(repository, text(row.get("path"))) if looked < READ else None
        looked += 1
        if words is None or _BUTTON.search(words):
            yield RunnableJob(name, words is not None and asks_for(words, pool))


def workflow_job(job: Mapping[str, object], agent: object) -> SeenJob:
    """A job of a run, by the service's row; ``agent`` is the name of the runner that has it."""
    return seen_job(
        job.get("name"),
        agent,
        job.get("conclusion"),
        ended=job.get("status") == "completed",
        succeeded=job.get("conclusion") == "success",
        times=(job.get("started_at"), job.get("completed_at")),
    )
