"""A pipeline's jobs as a matrix of Azure Pipelines: the JSON for ``strategy: matrix: $[ … ]``.

A leg is a table of variables, all of them texts, and its name letters, digits and _. A leg waits for no
other: a pipeline has one job a wave.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from mayfly.core.pipeline.task import Task
from mayfly.edge.faults import Refused
from mayfly.providers import PipelineForm

NAME_MAX = 90  # characters; Azure takes 100


def write(tasks: Sequence[Task]) -> str:
    """One line, for a logging command."""
    legs: dict[str, dict[str, str]] = {}
    for task in tasks:
        legs[_free(_leg(task.name), legs)] = _variables(task)
    return json.dumps(legs, separators=(",", ":")) + "\n"


def _leg(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]", "_", name)[:NAME_MAX]
    return plain if plain[0].isalpha() else f"job_{plain}"


def _free(name: str, taken: dict[str, dict[str, str]]) -> str:
    """The name, or with a number where two names differ in what Azure does not take; case does not count."""
    small = {one.lower() for one in taken}
    number, found = 1, name
    while found.lower() in small:
        number += 1
        found = f"{name}_{number}"
    return found


def _variables(task: Task) -> dict[str, str]:
    said: dict[str, object] = {"name": task.name, "run": task.script}
    if task.image is not None:
        said["image"] = task.image
    if task.pool is not None:
        said["pool"] = task.pool
    if task.tags:
        said["tags"] = ",".join(task.tags)
    if task.minutes is not None:
        said["timeout"] = task.minutes
    if task.artifacts:
        said["artifacts"] = "\n".join(task.artifacts)
    known = {key.upper() for key in said}
    for key, value in (*task.values.items(), *task.env.items(), *task.own.items()):
        if key.upper() in known:
            raise Refused(
                f"job {task.name}: Azure has one variable {key}, and it would be two: rename it"
            )
        known.add(key.upper())
        said[key] = value
    return {key: _text(task, key, value) for key, value in said.items()}


def _text(task: Task, key: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise Refused(f"job {task.name}: {key} is no text, and a variable of Azure is one")
    return str(value)


FORM = PipelineForm(write, ordered=False)
