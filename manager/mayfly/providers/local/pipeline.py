"""A pipeline's jobs for the embedded queue: one JSON object a line, of what ``mayfly submit`` is given."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mayfly.core.pipeline.definition import CUDA
from mayfly.core.pipeline.task import Task
from mayfly.providers import PipelineForm


def submission(task: Task) -> dict[str, object]:
    """What one job is to the queue, by the options of ``mayfly submit``.

    ``after``: names of jobs that have to succeed before it.
    """
    return {
        "name": task.name,
        "argv": ["sh", "-ec", task.script],
        "env": dict(task.env),
        "pool": task.pool,
        "cuda": task.values.get(CUDA),
        "timeout": task.timeout,
        "after": list(task.needs),
    }


def write(tasks: Sequence[Task]) -> str:
    """A line a job, those first that others wait for."""
    ordered = sorted(tasks, key=lambda task: task.wave)
    return "".join(f"{json.dumps(submission(task))}\n" for task in ordered)


FORM = PipelineForm(write, ordered=True)
