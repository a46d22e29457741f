"""The jobs of a pipeline as one run of the embedded queue."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mayfly.cli.allowance import Progress, at_terminal, most_of, quiet
from mayfly.cli.client import Client
from mayfly.cli.pipeline_tasks import queued
from mayfly.cli.trouble import Trouble
from mayfly.core.plain_text import clean
from mayfly.core.runs import JOBS_MOST, PATH_MAX, REF_MAX, SUBJECT_MAX, Origin

if TYPE_CHECKING:
    from mayfly.cli.pipeline_tasks import Asked
    from mayfly.cli.workspace import Tree
    from mayfly.core.pipeline.task import Task

Say = Callable[[str], None]
BODY_MAX = 1024 * 1024  # bytes that the control socket takes at once
ROOM = 1024  # for what is not yet in a body: which tree it starts in
NAMES = 3  # of jobs that a sentence names


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that was taken."""

    run: str
    names: tuple[str, ...]  # of its jobs

    def __str__(self) -> str:
        """A run and its jobs, in a sentence."""
        shown = ", ".join(clean(name) for name in self.names[:NAMES])
        more = len(self.names) - NAMES
        jobs = "1 job" if len(self.names) == 1 else f"{len(self.names)} jobs"
        return f"run {self.run}, {jobs}: {shown}" + (f" and {more} more" if more > 0 else "")


def submitted(
    manager: Client,
    origin: Origin,
    tasks: Sequence[Task],
    tree: Callable[[int | None, Progress], Tree],
    say: Say,
) -> Submitted:
    """Submit them, each to start in the tree, which gets the most bytes that it may have (``None``: nobody
    knows); ``Trouble`` where the manager does not take them, and then none is there. What cannot go with them
    is said, and at a terminal how far it is where that lasts, and what was sent.
    """
    from mayfly.cli import workspace  # noqa: PLC0415  costs 20 ms

    body = body_of(origin, tasks)
    _see_that_it_is_no_more_than_may_be(body)
    progress = at_terminal(say)
    code = tree(most_of(manager), progress)
    for sentence in code.left_out:
        say(f"not sent: {sentence}")
    sending = workspace.Sending(progress=progress)
    found = workspace.send(manager, code, sending)
    if sys.stderr.isatty():
        say(workspace.told(code, sending))
    answer = manager.post("/v1/runs", {**body, "workspace": found})
    return Submitted(clean(str(answer["run"])), tuple(task.name for task in tasks))


def _see_that_it_is_no_more_than_may_be(body: Mapping[str, object]) -> None:
    """Before anything is sent."""
    tasks = body["tasks"]
    many = len(tasks) if isinstance(tasks, list) else 0
    if many > JOBS_MOST:
        raise Trouble(
            f"that makes {many} jobs, and a run has at most {JOBS_MOST}: narrow the change"
        )
    if len(json.dumps(body)) + ROOM > BODY_MAX:
        raise Trouble(f"what these {many} jobs run is longer than the 1 MiB that one run may have")


def tree_of(asked: Asked, most: int | None = None, progress: Progress = quiet) -> Tree:
    """The commit that is looked at, or the folder as it is; ``Trouble`` where it has more bytes than that."""
    from mayfly.cli import workspace  # noqa: PLC0415  costs 20 ms

    if asked.head is None:
        return workspace.of_folder(asked.where.top, most=most, progress=progress)
    return workspace.of_commit(asked.where.place, asked.head, most, progress)


def body_of(origin: Origin, tasks: Sequence[Task]) -> dict[str, object]:
    """What ``POST /v1/runs`` is given."""
    return {
        "repository": kept(origin.repository, PATH_MAX),
        "ref": None if origin.ref is None else kept(origin.ref, REF_MAX),
        "commit": origin.commit,
        "base": origin.base,
        "subject": kept(origin.subject, SUBJECT_MAX) or None,
        "tasks": queued(tasks),
    }


def kept(text: str, most: int) -> str:
    """A text that is Unicode and no longer than may be, without what would move a cursor."""
    return clean(text.encode("utf-8", "replace").decode("utf-8"))[:most]
