"""A pipeline's jobs as a matrix of GitHub Actions: the JSON that a workflow reads with ``fromJSON``.

A cell has no ``needs``: a workflow has one job a wave. At most 256 cells (GitHub's usage limits).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mayfly.core.pipeline.task import Task
from mayfly.edge.faults import Refused
from mayfly.providers import PipelineForm

CELLS_MAX = 256


def write(tasks: Sequence[Task]) -> str:
    """One line, for ``$GITHUB_OUTPUT``."""
    if len(tasks) > CELLS_MAX:
        raise Refused(
            f"{len(tasks)} jobs are more than the {CELLS_MAX} that a matrix of GitHub takes"
        )
    cells = [_cell(task) for task in tasks]
    return json.dumps({"include": cells}, separators=(",", ":")) + "\n"


def _cell(task: Task) -> dict[str, object]:
    cell: dict[str, object] = {
        "name": task.name,
        "run": task.script,
        "runs_on": list(task.tags) or ["self-hosted"],
        "env": dict(task.env),
        "timeout": 360 if task.minutes is None else task.minutes,
    }
    if task.image is not None:
        cell["image"] = task.image
    if task.artifacts:
        cell["artifacts"] = "\n".join(task.artifacts)
    for key, value in {**task.values, **task.own}.items():
        if key in cell:
            raise Refused(f"job {task.name}: {key} means something else in a matrix: rename it")
        cell[key] = value
    return cell


FORM = PipelineForm(write, ordered=False)
