"""A pipeline's jobs for the embedded queue: one JSON object a line, of what ``mayfly submit`` is given."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from mayfly.core.pipeline.definition import CUDA
from mayfly.core.pipeline.task import Task
from mayfly.edge.faults import Refused
from mayfly.providers import PipelineForm


def submission(task: Task) -> dict[str, object]:
    """What one job is to the queue, by the options of ``mayfly submit``.

    ``after``: names of jobs that have to succeed before it. ``Refused`` where a path to bring back is a
    pattern.
    """
    for path in task.artifacts:
        if path.startswith("!") or any(sign in path for sign in "*?["):
            raise Refused(
                f"job {queue_name(task.name)}: artifacts {path!a}: the embedded queue brings paths and knows "
                "no patterns: name the file, or the folder that it is in"
            )
    # What is not asked for is not said to a manager of before.
    image = {"image": task.image} if task.image is not None else {}
    return {
        "name": task.name,
        "argv": ["sh", "-ec", task.script],
        "env": dict(task.env),
        "pool": task.pool,
        # An image has the CUDA that is in it: the matrix has filled it in.
        "cuda": task.values.get(CUDA) if task.image is None else None,
        "timeout": task.timeout,
        "after": list(task.needs),
        "out": list(task.artifacts),
        **image,
    }


NAME_MAX = 64  # characters of a job's name in the queue
_UNNAMED = re.compile(r"[^A-Za-z0-9._/-]+")


def queue_name(name: str) -> str:
    """A job's name as the queue takes it: other characters are hyphens, a long one ends in a digest."""
    found = _UNNAMED.sub("-", name).lstrip("._/-") or "job"
    if len(found) <= NAME_MAX:
        return found
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{found[: NAME_MAX - 9]}-{digest}"


def places(tasks: Sequence[Task]) -> tuple[list[Task], list[list[int]]]:
    """The jobs, those first that others wait for, and of each the places of what has to succeed before it.

    What is not among them is not waited for.
    """
    ordered = sorted(tasks, key=lambda task: task.wave)
    at = {task.name: place for place, task in enumerate(ordered)}
    return ordered, [[at[name] for name in task.needs if name in at] for task in ordered]


def write(tasks: Sequence[Task]) -> str:
    """A line a job, those first that others wait for."""
    ordered = sorted(tasks, key=lambda task: task.wave)
    return "".join(f"{json.dumps(submission(task))}\n" for task in ordered)


def queued(tasks: Sequence[Task]) -> list[dict[str, object]]:
    """The jobs of one run; ``after``: the places of those that have to succeed before it."""
    ordered, after = places(tasks)
    return [
        {
            **submission(task),
            "name": queue_name(task.name),
            "after": before,
            "out": list(task.artifacts) or None,
        }
        for task, before in zip(ordered, after, strict=True)
    ]


FORM = PipelineForm(write, ordered=True, queued=queued)
