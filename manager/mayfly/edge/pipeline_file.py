"""A repository's ``.mayfly.toml``: text in, a ``Definition`` out, or every mistake at once.

The models say what each key is for; the reference is made from them. Patterns are read here, templates are
not: what is wrong with one is known when it is filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import BeforeValidator, Field, ValidationError
from pydantic import WithJsonSchema as Shape

from mayfly.core.pipeline.definition import (
    ALL,
    CUDA,
    FILE,
    NOTHING,
    Definition,
    JobRule,
    When,
    mistakes,
)
from mayfly.core.pipeline.pattern import Pattern, PatternError, parse
from mayfly.core.pipeline.plan import NAME
from mayfly.edge.config_types import Duration, Env, Table
from mayfly.edge.flat_keys import Lifted
from mayfly.edge.mistakes import ConfigError, Problem, problem, told
from mayfly.edge.sources import Merged, Tree, Unreadable, Where, merge, read_toml

_LINES = Shape({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
_RESERVED = ("env", "run", "changed", "image", "pool", "tags", "timeout", "artifacts", "needs")


def _listed(value: object) -> object:
    """A text alone is a list of one."""
    if not isinstance(value, str | list):
        raise ValueError(f"must be a text in quotes, or a list of such, not {value!r}")
    return [value] if isinstance(value, str) else value


def _pattern(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse(value)
        except PatternError as error:
            raise ValueError(f"{value!r} {error}") from error
    raise ValueError("must be a path's pattern, in quotes")


PatternText = Annotated[Any, BeforeValidator(_pattern), Shape({"type": "string"})]
Patterns = Annotated[list[PatternText], BeforeValidator(_listed), _LINES]
Texts = Annotated[list[str], BeforeValidator(_listed), _LINES]


def _matrix(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError('must be a table, such as { cuda = ["12.4", "12.8"] }')
    for axis, values in value.items():
        if not axis.isidentifier() or axis != axis.lower() or axis in _RESERVED:
            raise ValueError(
                f"{axis!r} is no axis: lower-case letters, digits and _, none of {', '.join(_RESERVED)}"
            )
        if values == ALL:
            continue
        if not isinstance(values, list) or not values:
            raise ValueError(f'{axis} must be a list of texts, or "{ALL}" for {CUDA}')
        for one in values:
            if not isinstance(one, str):
                raise ValueError(f'{axis} has {one!r}: a value is a text, in quotes: "{one}"')
            if not NAME.fullmatch(one):
                raise ValueError(f"{axis} has {one!r}: a value is letters, digits and ._+-")
        if len(set(values)) < len(values):
            raise ValueError(f"{axis} has a value twice")
    return value


Matrix = Annotated[dict[str, list[str] | str], BeforeValidator(_matrix), Shape({"type": "object"})]


class JobTable(Table):
    """One job, ``[job.NAME]``. ``[job.NAME.SERVICE]`` has what only that service understands, as it is."""

    paths: Patterns = Field(
        default=[], description="which paths it is for: one pattern, or several"
    )
    exclude: Patterns = Field(
        default=[], alias="except", description="which of these it is not for, patterns too"
    )
    when: Literal["changed", "deleted", "nothing", "always"] = Field(
        default="changed",
        description="`changed`: something that its `paths` match changed, and is there; `deleted`: "
        "all that they matched is gone; `nothing`: no job is for what changed; `always`",
    )
    run: Texts = Field(default=[], description="shell lines")
    template: str | None = Field(
        default=None,
        description="a file of the repository that has them; a change of it runs the job",
    )
    name: str | None = Field(
        default=None,
        description="absent: NAME, the captures and the matrix's values, with - between",
    )
    needs: Texts = Field(
        default=[],
        description="jobs that have to succeed before: where they run, with equal captures",
    )
    matrix: Matrix = Field(
        default={}, description='`{ cuda = ["12.4", "12.8"] }`; `cuda = "all"`: what the pools have'
    )
    image: str | None = Field(
        default=None,
        description="a container's image; for the embedded queue one that its pool allows (`job_images`)",
    )
    tags: Texts = Field(
        default=[], description="labels, tags or demands: which runners may take it"
    )
    pool: str | None = Field(
        default=None, description="a pool of the embedded queue, or an agent pool"
    )
    env: Env = Field(default={}, description="variables")
    timeout: Duration | None = Field(
        default=None, description='how long it may run, "90s", "30m", "2h"'
    )
    artifacts: Texts = Field(default=[], description="paths that are kept, also when it fails")


class DefaultsTable(Table):
    """What every job has that does not say otherwise, ``[defaults]``."""

    image: str | None = Field(default=None, description="as of a job")
    tags: Texts = Field(default=[], description="as of a job")
    pool: str | None = Field(default=None, description="as of a job")
    env: Env = Field(default={}, description="as of a job; a job's own are added")
    timeout: Duration | None = Field(default=None, description="as of a job")
    artifacts: Texts = Field(default=[], description="as of a job")


class FileTable(Table):
    """The whole file."""

    all_when: Patterns = Field(
        default=[], description=f"a change of one of these runs every job, as one of `{FILE}` does"
    )
    exclude: Patterns = Field(
        default=[], alias="except", description="a change of these is for no job; patterns"
    )


# What is wrong with a definition beside what its keys say: where it stands, the end of a sentence.
Mistakes: TypeAlias = Iterator[tuple[Where, str]]


def _none(_: Definition) -> Mistakes:
    return iter(())


def read(
    text: str,
    services: Sequence[str],
    origin: str = FILE,
    also: Callable[[Definition], Mistakes] = _none,
) -> Definition:
    """What the file says; ``ConfigError`` with every mistake.

    ``services`` are the names of the tables that a job may have for one of them; ``also`` finds more mistakes
    in those jobs that have none by then.
    """
    try:
        layer = read_toml(Path(origin), text)
    except Unreadable as error:
        raise ConfigError((Problem(origin, "", "", error.text),)) from error
    wrong = [Problem(origin, "", "", sentence, line) for line, sentence in layer.wrong]
    if layer.wrong and not layer.text:
        raise ConfigError(tuple(wrong))
    reader = _Reader(merge([layer]), origin, services)
    definition = reader.definition(also, whole=not wrong)
    lines = {one.line for one in wrong}
    found = [*wrong, *(one for one in reader.wrong if one.line is None or one.line not in lines)]
    if found:
        raise ConfigError(tuple(sorted(dict.fromkeys(found), key=lambda one: one.line or 0)))
    return definition


class _Reader:
    """One file, part by part, so that a mistake in one part hides none in another."""

    def __init__(self, merged: Merged, origin: str, services: Sequence[str]) -> None:
        self._merged = merged
        self._origin = origin
        self._services = services
        self.wrong: list[Problem] = []

    def definition(self, also: Callable[[Definition], Mistakes], *, whole: bool) -> Definition:
        """``whole``: no line is missing, so that what is not there was not written."""
        tree = dict(self._merged.tree)
        jobs = tree.pop("job", {})
        defaults = cast(
            "DefaultsTable", self._table(DefaultsTable, ("defaults",), tree.pop("defaults", {}))
        )
        top = cast("FileTable", self._table(FileTable, (), tree, ("job", "defaults")))
        if not isinstance(jobs, dict):
            self._tell(("job",), "must be a table of tables: [job.NAME]")
            jobs = {}
        rules = []
        for name, table in jobs.items():
            rule = self._job(name, table, defaults)
            if rule is not None:
                rules.append(rule)
        definition = Definition(tuple(rules), tuple(top.all_when), tuple(top.exclude))
        if whole and jobs:
            self._between(definition, jobs, also)
        elif whole and not self.wrong:
            self._tell((), NOTHING)
        return definition

    def _between(
        self, definition: Definition, jobs: Tree, also: Callable[[Definition], Mistakes]
    ) -> None:
        """What is wrong between keys, of the jobs whose own are right; then what is in the rest of these."""
        faults = list(mistakes(definition, tuple(jobs)))
        at_fault = {where[1] for where, _ in faults if where[2:3] != ("needs",)}
        well = tuple(rule for rule in definition.jobs if rule.id not in at_fault)
        for where, text in (*faults, *also(replace(definition, jobs=well))):
            self._tell(where, text)

    def _job(self, name: str, table: object, defaults: DefaultsTable) -> JobRule | None:
        here: Where = ("job", name)
        if not NAME.fullmatch(name):
            self._tell(here, "is no name: letters, digits and ._+-, a letter or digit first")
        if not isinstance(table, dict):
            self._tell(here, f"must be a table: [job.{name}]")
            return None
        own = {key: table[key] for key in self._services if key in table}
        for key, value in own.items():
            if not isinstance(value, dict):
                self._tell((*here, key), "must be a table")
        rest = {key: value for key, value in table.items() if key not in own}
        before = len(self.wrong)
        read = cast("JobTable", self._table(JobTable, here, rest, tuple(self._services)))
        if len(self.wrong) > before:
            return None
        given = read.model_fields_set

        def either(key: str) -> Any:
            return getattr(read if key in given else defaults, key)

        return JobRule(
            id=name,
            run="\n".join(read.run) if "run" in given else None,
            template=read.template,
            name=read.name,
            when=When(read.when),
            paths=_patterns(read.paths),
            exclude=_patterns(read.exclude),
            needs=tuple(read.needs),
            matrix={
                axis: values if isinstance(values, str) else tuple(values)
                for axis, values in read.matrix.items()
            },
            image=either("image"),
            tags=tuple(either("tags")),
            pool=either("pool"),
            env={**defaults.env, **read.env},
            timeout=either("timeout"),
            artifacts=tuple(either("artifacts")),
            own=cast("Mapping[str, Mapping[str, object]]", own),
        )

    def _table(
        self, shape: type[Table], here: Where, said: object, others: tuple[str, ...] = ()
    ) -> Table:
        """One table; where it has mistakes they are told, and it is as if it had no key."""
        try:
            return shape.model_validate(said)
        except ValidationError as error:
            keys = [field.alias or name for name, field in shape.model_fields.items()]
            lifted = Lifted(_nested(here, said))
            for detail in error.errors():
                at: dict[str, Any] = {**detail, "loc": (*here, *detail["loc"])}
                found = problem(at, lifted, self._merged, self._origin, lambda _: (*keys, *others))
                self.wrong.append(_in_its_table(found, (*here, *detail["loc"])))
            return shape.model_construct()

    def _tell(self, where: Where, text: str) -> None:
        self.wrong.append(_in_its_table(told(where, text, self._merged, self._origin), where))


def _nested(here: Where, said: object) -> Tree:
    tree: object = said
    for part in reversed(here):
        tree = {part: tree}
    return cast("Tree", tree if isinstance(tree, dict) else {})


def _in_its_table(found: Problem, where: Where) -> Problem:
    """With the heading that a person has written."""
    if len(where) > 1 and where[0] == "job":
        key = ".".join(_shown(where[2:]))
        return replace(found, table=f"[job.{where[1]}]", key=key)
    return found


def _shown(where: Where) -> Iterator[str]:
    for part in where:
        yield str(part + 1) if isinstance(part, int) else part


def _patterns(found: list[Any]) -> tuple[Pattern, ...]:
    return tuple(found)
