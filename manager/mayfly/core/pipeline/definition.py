"""What a repository's ``.mayfly.toml`` says: its jobs, and the paths that each is for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mayfly.core.pipeline.pattern import Pattern

FILE = ".mayfly.toml"
ALL = "all"
CUDA = "cuda"
NOTHING = "there is no [job.NAME], so there is nothing to run"


class When(StrEnum):
    """What a job is for."""

    CHANGED = "changed"  # what its patterns match has changed, and is there
    DELETED = "deleted"  # what its patterns matched is gone
    NOTHING = "nothing"  # no job is for what has changed
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class JobRule:
    """One job of the file, and whatever it may become: one for each capture, and each cell of its matrix.

    Every text but a pattern may be a template.
    """

    id: str
    run: str | None = None  # None: ``template`` has it
    template: str | None = None  # a file of the repository; None: ``run`` has it
    name: str | None = None  # None: made of id, captures and the matrix's values
    when: When = When.CHANGED
    paths: tuple[Pattern, ...] = ()
    exclude: tuple[Pattern, ...] = ()
    needs: tuple[str, ...] = ()
    # by axis, its values; ``ALL``: what the pools offer
    matrix: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)
    image: str | None = None
    tags: tuple[str, ...] = ()
    pool: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None  # seconds; None: whatever the service has
    artifacts: tuple[str, ...] = ()
    # by provider, what only that one understands, as it is
    own: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def captures(self) -> tuple[str, ...]:
        """The names that every one of its patterns captures."""
        return tuple(sorted(self.paths[0].names)) if self.paths else ()


@dataclass(frozen=True, slots=True)
class Definition:
    """The whole file."""

    jobs: tuple[JobRule, ...]
    # a change of these asks for every job
    all_when: tuple[Pattern, ...] = ()
    # a change of these asks for none
    exclude: tuple[Pattern, ...] = ()

    def waves(self) -> Mapping[str, int]:
        """By job, how many others at most have to end before it, one after the other."""
        found: dict[str, int] = {}
        by_id = {job.id: job for job in self.jobs}

        def depth(job: JobRule) -> int:
            if job.id not in found:
                found[job.id] = 1 + max((depth(by_id[one]) for one in job.needs), default=-1)
            return found[job.id]

        for job in self.jobs:
            depth(job)
        return found


def mistakes(
    definition: Definition, others: Collection[str] = ()
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong between keys each of which is right by itself: where it stands, the end of a sentence.

    ``others`` are jobs that are written down, and of which no more is known.
    """
    ids = {*others, *(job.id for job in definition.jobs)}
    if not ids:
        yield (), NOTHING
    for job in definition.jobs:
        here = ("job", job.id)
        yield from (((*here, *key), text) for key, text in _of_job(job))
        for number, other in enumerate(job.needs):
            if other not in ids:
                yield (*here, "needs", number), f"there is no job {other}"
            elif other == job.id:
                yield (*here, "needs", number), "names the job itself"
    for circle in _circles(definition):
        yield ("job", circle[0], "needs"), f"goes round in a circle: {' needs '.join(circle)}"


def _of_job(job: JobRule) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if (job.run is None) == (job.template is None):
        yield (), "wants one of run and template"
    with_paths = job.when in (When.CHANGED, When.DELETED)
    if with_paths and not job.paths:
        yield (), f'wants paths: it is for what is {job.when}, and `when = "always"` wants none'
    if not with_paths and (job.paths or job.exclude):
        key = "paths" if job.paths else "except"
        yield (key,), f"has no meaning where when is {job.when.value!r}"
    for number, pattern in enumerate(job.paths[1:], start=1):
        if tuple(sorted(pattern.names)) != job.captures:
            yield (
                ("paths", number),
                "captures other names than the first: all of one job's capture the same",
            )
    for axis, values in job.matrix.items():
        if axis in job.captures:
            yield ("matrix", axis), "is the name of a capture, too"
        if values == ALL and axis != CUDA:
            yield ("matrix", axis), f'"{ALL}" is for {CUDA} alone: write the values'


def _circles(definition: Definition) -> Iterator[tuple[str, ...]]:
    needs = {job.id: [one for one in job.needs if one != job.id] for job in definition.jobs}
    done: set[str] = set()

    def walk(at: str, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if at in above:
            yield (*above[above.index(at) :], at)
        elif at not in done:
            for other in needs.get(at, ()):
                yield from walk(other, (*above, at))
            done.add(at)

    for one in needs:
        yield from walk(one, ())
