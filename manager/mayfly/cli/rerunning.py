"""A run once more: its jobs are worked out from the commit again, by whoever wants that and may read it.

Of a job that has ended the manager keeps no command, and it reads no repository.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote

from mayfly.cli.client import Client, segment
from mayfly.cli.following import NOT_WELL
from mayfly.cli.pipeline_tasks import Asked, definition_of, offered_by, queue, queued, tasks_of
from mayfly.cli.run_submission import Submitted, submitted, tree_of
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble
from mayfly.core.plain_text import clean
from mayfly.core.runs import Origin
from mayfly.edge.repository import Repository


def submitted_again(manager: Client, run: str, *, failed: bool) -> Submitted:
    """The jobs of a run as a new one; with ``failed`` those that did not succeed."""
    row = manager.get(f"/v1/runs/{segment(run)}")
    folder, base = clean(str(row["repository"])), row.get("base")
    if row.get("commit") is None:
        raise Trouble(
            f"run {run} is of a folder with what nobody had committed: mayfly push {quote(folder)}"
        )
    where = Repository(Path(folder))
    commit = where.commit(str(row["commit"]))
    changes = None if base is None else where.changes(where.commit(str(base)), commit)
    asked = Asked(where, commit, changes, base)
    read = definition_of(asked)
    offers = partial(offered_by, partial(manager.get, "/v1/status"))
    tasks = () if read is None else tasks_of(read, asked, queue(), offers)
    if failed:
        rows = manager.get("/v1/jobs", {"group": run, "limit": 10_000})["jobs"]
        wanted = {job.get("name") for job in rows if job.get("state") in NOT_WELL}
        tasks = tuple(task for task in tasks if queued([task])[0]["name"] in wanted)
    if not tasks:
        raise Trouble(f"run {run} has no job to run again: see mayfly runs {run}")
    origin = Origin(where.place, row.get("ref"), commit, base, where.subject(commit))
    return submitted(manager, origin, tasks, partial(tree_of, asked), say)
