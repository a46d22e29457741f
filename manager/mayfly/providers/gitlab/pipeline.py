"""A pipeline's jobs as a child pipeline of GitLab: the YAML that a job of the parent keeps as an artifact.

https://docs.gitlab.com/ci/pipelines/downstream_pipelines/#dynamic-child-pipelines
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mayfly.core.pipeline.task import Task
from mayfly.edge.faults import Refused
from mayfly.edge.yaml_text import yaml_text
from mayfly.providers import PipelineForm

# What means something else at the top of such a file.
RESERVED = frozenset(
    {
        "after_script", "before_script", "cache", "default", "false", "image", "include", "nil", "pages",
        "services", "spec", "stages", "true", "types", "variables", "workflow",
    }
)  # fmt: skip
NEEDS_MAX = 50  # of one job, where nobody has changed GitLab's limit
# GitLab refuses a pipeline without a job.
IDLE = {"nothing-to-do": {"script": ["echo 'no job is for what changed'"]}}


def write(tasks: Sequence[Task]) -> str:
    """The whole file; its jobs run for merge requests as for branches."""
    taken = [task.name for task in tasks if task.name in RESERVED]
    if taken:
        raise Refused(f"GitLab has another meaning for {taken[0]}: give that job another `name`")
    head: dict[str, object] = {"workflow": {"rules": [{"when": "always"}]}}
    waves = max((task.wave for task in tasks), default=0)
    # Where a job waits for more than a list of needs may hold, it waits for all that are before it.
    staged = any(len(task.needs) > NEEDS_MAX for task in tasks)
    if staged:
        head["stages"] = [_stage(wave) for wave in range(waves + 1)]
    jobs = {task.name: _merged(_job(task, staged), task.own) for task in tasks} or IDLE
    return yaml_text({**head, **jobs})


def _stage(wave: int) -> str:
    return f"wave-{wave}"


def _job(task: Task, staged: bool) -> dict[str, object]:
    said: dict[str, object] = {
        "stage": _stage(task.wave) if staged else None,
        "image": task.image,
        "tags": list(task.tags),
        "needs": list(task.needs) if len(task.needs) <= NEEDS_MAX else None,
        "variables": {key: _variable(value) for key, value in task.env.items()},
        "timeout": None if task.minutes is None else _timeout(task.minutes),
        "script": [task.script],
        "artifacts": {"when": "always", "paths": list(task.artifacts)} if task.artifacts else None,
    }
    return {key: value for key, value in said.items() if value}


def _variable(value: str) -> object:
    """As it is, whatever stands in it: a $ is no variable."""
    return {"value": value, "expand": False} if "$" in value else value


def _timeout(minutes: int) -> str:
    hours, minutes = divmod(minutes, 60)
    return " ".join([f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(minutes))


def _merged(job: dict[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """With what the file says of GitLab alone; a table is added to what is there, all else replaces it."""
    for key, value in own.items():
        here = job.get(key)
        both = isinstance(here, Mapping) and isinstance(value, Mapping)
        job[key] = {**here, **value} if both else value  # type: ignore[dict-item]
    return job


FORM = PipelineForm(write, ordered=True)
