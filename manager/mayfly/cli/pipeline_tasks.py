"""The jobs that a repository's ``.mayfly.toml`` has for what changed: printed, or run for a push.

Reads the repository as whoever asks, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from mayfly.cli.trouble import Trouble
from mayfly.core.pipeline.definition import ALL, CUDA, FILE
from mayfly.edge.own_limits import OwnLimits

if TYPE_CHECKING:
    from mayfly.core.pipeline.changes import Change
    from mayfly.core.pipeline.definition import Definition
    from mayfly.core.pipeline.task import Task
    from mayfly.edge.pipeline_templates import Templates
    from mayfly.edge.repository import Repository
    from mayfly.providers import PipelineForm

    Read: TypeAlias = tuple[Definition, Templates]

SENTENCES_MAX = 10
# Templates are a stranger's: of a push, or of a repository that somebody has cloned.
SECONDS = 60.0  # of a processor, in which the jobs of one command are worked out
MEMORY = 2 * 1024**3  # bytes, for the same
TOO_MUCH = "these jobs take too much to work out"


def own_limits() -> OwnLimits:
    """What working out the jobs of one command may take."""
    return OwnLimits(SECONDS, MEMORY, TOO_MUCH)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked at: a commit of a repository or its folder, and what of it changed."""

    where: Repository
    head: str | None  # None: the folder as it is
    changes: tuple[Change, ...] | None  # None: everything counts as changed
    base: str | None = None  # the commit that it was compared with; None: everything, or a list
    limits: OwnLimits = field(default_factory=own_limits)

    @property
    def named(self) -> str:
        """It, in a sentence."""
        return str(self.where.top) if self.head is None else f"commit {self.head[:12]}"


def services() -> Mapping[str, Callable[[], PipelineForm]]:
    """By name, everything that a pipeline can be written for."""
    from mayfly.providers.installed import packages  # noqa: PLC0415

    return {
        name: package.pipeline
        for name, package in packages().items()
        if package.pipeline is not None
    }


def queue() -> str:
    """The name of the embedded queue's provider."""
    from mayfly.providers.installed import packages  # noqa: PLC0415

    return next(name for name, package in packages().items() if package.embedded)


def queued(tasks: Sequence[Task]) -> list[dict[str, object]]:
    """The jobs as ``POST /v1/runs`` takes them."""
    write = services()[queue()]().queued
    assert write is not None
    return write(tasks)


def definition_of(asked: Asked) -> Read | None:
    """What the file says, and its templates; ``None``: there is none; a ``Refused`` has every mistake."""
    with asked.limits.kept():
        return _definition_of(asked)


def _definition_of(asked: Asked) -> Read | None:
    from mayfly.edge.mistakes import ConfigError, Problem  # noqa: PLC0415
    from mayfly.edge.pipeline_file import read  # noqa: PLC0415
    from mayfly.edge.pipeline_templates import Templates  # noqa: PLC0415

    text = asked.where.file(asked.head, FILE)
    if text is None:
        return None

    def templates(definition: Definition) -> Templates:
        return Templates(definition, lambda path: asked.where.file(asked.head, path))

    try:
        told = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        sentence = f"is not UTF-8 text (byte {error.start})"
        raise ConfigError((Problem(FILE, "", "", sentence),)) from error
    definition = read(told, tuple(services()), also=lambda some: templates(some).mistakes())
    return definition, templates(definition)


def tasks_of(
    read: Read, asked: Asked, service: str, offers: Callable[[], tuple[str, ...]]
) -> tuple[Task, ...]:
    """The jobs for what changed; ``offers`` says what ``cuda = "all"`` means, where it is asked for."""
    with asked.limits.kept():
        return _tasks_of(read, asked, service, offers)


def _tasks_of(
    read: Read, asked: Asked, service: str, offers: Callable[[], tuple[str, ...]]
) -> tuple[Task, ...]:
    from mayfly.core.pipeline.plan import planned  # noqa: PLC0415

    definition, templates = read
    asks = any(rule.matrix.get(CUDA) == ALL for rule in definition.jobs)
    offered = {CUDA: offers()} if asks else {}
    paths = asked.where.paths(asked.head)
    plan = planned(definition, asked.changes, paths, offered, templates.file_of)
    if plan.refused:
        more = len(plan.refused) - SENTENCES_MAX
        shown = (*plan.refused[:SENTENCES_MAX], *([f"and {more} more"] if more > 0 else []))
        raise Trouble("\n".join(shown))
    return templates.tasks(plan, service)


def offered_by(status: Callable[[], object]) -> tuple[str, ...]:
    """The CUDA versions of a manager's pools, which `status` asks."""
    from mayfly.core.pipeline.offered import cuda_versions  # noqa: PLC0415

    try:
        found = cuda_versions(status())
    except Trouble as trouble:
        raise type(trouble)(
            f'{FILE} says cuda = "{ALL}", and nobody here knows what the pools have: {trouble}\n'
            "  give it as a file: --cuda-from FILE, what `mayfly status --json` prints on the host"
        ) from trouble
    if not found:
        raise Trouble(f'{FILE} says cuda = "{ALL}", and no slot of this manager has a CUDA image')
    return found
