"""Templates of a repository, filled in: a plan's jobs with every text as it will run.

The templates come from whoever may propose a change. They run in Jinja's sandbox, know the captures and
nothing else, read no file but the repository's, and make no more than a bounded text.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from mayfly.core.pipeline.definition import Definition, JobRule
from mayfly.core.pipeline.pattern import Captures
from mayfly.core.pipeline.plan import NAME, Order, Plan, PlannedJob
from mayfly.core.pipeline.task import Task
from mayfly.edge.faults import Refused
from mayfly.edge.sources import Where

TEXT_MAX = 1024 * 1024  # characters of one text
CHANGED = "changed"  # the paths that asked for a job, as its templates know them

# A file of the repository; ``None``: there is none.
Files = Callable[[str], bytes | None]


class Templates:
    """The texts of one repository's jobs."""

    def __init__(self, definition: Definition, files: Files) -> None:
        self._definition = definition
        self._files = cache(files)  # one script may be that of hundreds of jobs
        self._environment = ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined,
            loader=jinja2.FunctionLoader(self._text),
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # it is shell: for that there is the filter `sh`
        )
        self._environment.filters["sh"] = lambda value: shlex.quote(str(value))
        self._compiled = cache(self._environment.from_string)

    def mistakes(self) -> Iterator[tuple[Where, str]]:
        """What can be known to be wrong before a job runs: where it stands, the end of a sentence."""
        for rule in self._definition.jobs:
            known = {CHANGED, *rule.captures, *rule.matrix}
            for where, text in _texts(rule):
                wrong = self._mistake(text, known)
                if wrong is not None:
                    yield ("job", rule.id, *where), wrong

    def _mistake(self, text: str, known: set[str]) -> str | None:
        try:
            tree = self._environment.parse(text)
            asked = meta.find_undeclared_variables(tree)
        except jinja2.TemplateSyntaxError as error:
            return f"is no template: {error.message} (line {error.lineno} of it)"
        except RecursionError:
            return "is nested too deeply"
        missing = sorted(asked - known - self._environment.globals.keys())
        if missing:
            return f"knows no {missing[0]}; there are {', '.join(sorted(known))}"
        inner = (one.attr for one in tree.find_all(nodes.Getattr) if one.attr.startswith("__"))
        return next((f"does what no template may: it asks for {name}" for name in inner), None)

    def file_of(self, rule: JobRule, captures: Captures) -> str | None:
        """The file that a job's script is written in."""
        if rule.template is None:
            return None
        # Which one it is cannot hang on the matrix: the change of one file is a change of all its cells.
        return self._filled(rule, "template", rule.template, {**dict(captures), CHANGED: ()})

    def tasks(self, plan: Plan, service: str) -> tuple[Task, ...]:
        """The plan's jobs, as they are written for one service."""
        waves = self._definition.waves()
        order = Order(plan.jobs)
        names = {id(job): self._name(job) for job in plan.jobs}
        found: dict[str, Task] = {}
        for job in plan.jobs:
            name = names[id(job)]
            if name in found:
                raise Refused(
                    f"two jobs are called {name}: give job {job.rule.id} a `name` of its own"
                )
            waits = tuple(names[id(other)] for other in order.before(job))
            found[name] = self._task(job, name, waits, waves[job.rule.id], service)
        return tuple(found.values())

    def _name(self, job: PlannedJob) -> str:
        if job.rule.name is None:
            return job.default_name
        name = self._filled(job.rule, "name", job.rule.name, _known(job))
        if not NAME.fullmatch(name):
            raise Refused(
                f"job {job.rule.id}: name makes {name!a}, and a name is letters, digits and ._+-"
            )
        return name

    def _task(
        self, job: PlannedJob, name: str, needs: tuple[str, ...], wave: int, service: str
    ) -> Task:
        rule = job.rule
        values = _known(job)

        def filled(key: str, text: str) -> str:
            return self._filled(rule, key, text, values)

        def maybe(key: str, text: str | None) -> str | None:
            return None if text is None else filled(key, text)

        return Task(
            name=name,
            job=rule.id,
            script=filled(*self._script(job)).rstrip("\n"),
            wave=wave,
            values=job.values,
            image=maybe("image", rule.image),
            tags=tuple(filled("tags", tag) for tag in rule.tags),
            pool=maybe("pool", rule.pool),
            env={key: filled("env", value) for key, value in rule.env.items()},
            timeout=rule.timeout,
            artifacts=tuple(filled("artifacts", path) for path in rule.artifacts),
            needs=needs,
            own=_each(rule.own.get(service, {}), partial(filled, service)),
        )

    def _script(self, job: PlannedJob) -> tuple[str, str]:
        """The key that a job's script stands under, and its template."""
        if job.rule.run is not None:
            return "run", job.rule.run
        path = self.file_of(job.rule, job.captures)
        assert path is not None  # one of both is there
        text = self._text(path)
        if text is None:
            raise Refused(
                f"job {job.default_name}: there is no file {path}, which its template names"
            )
        return path, text

    def _text(self, path: str) -> str | None:
        found = self._files(path)
        try:
            return None if found is None else found.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused(f"{path} is not UTF-8 text (byte {error.start})") from error

    def _filled(self, rule: JobRule, key: str, text: str, values: Mapping[str, object]) -> str:
        if "{" not in text:
            return text
        where = f"job {rule.id}: {key}"
        parts: list[str] = []
        try:
            size = 0
            for part in self._compiled(text).generate(**values):
                size += len(part)
                if size > TEXT_MAX:
                    raise Refused(f"{where} makes more than 1 MiB")
                parts.append(part)
        except jinja2.TemplateSyntaxError as error:
            raise Refused(
                f"{where} is no template: {error.message} (line {error.lineno})"
            ) from error
        except SecurityError as error:
            raise Refused(f"{where} does what no template may: {error}") from error
        except jinja2.TemplateNotFound as error:
            raise Refused(f"{where}: there is no file {error.name}") from error
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Refused(f"{where} cannot be filled in: {error}") from error
        except (MemoryError, RecursionError) as error:
            raise Refused(f"{where} takes more memory than there is") from error
        made = "".join(parts)
        if "\0" in made or not _encodable(made):
            raise Refused(f"{where} has bytes that are no text, out of a path that is no UTF-8")
        return made


def _known(job: PlannedJob) -> dict[str, object]:
    return {**job.values, CHANGED: job.changed}


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _texts(rule: JobRule) -> Iterator[tuple[Where, str]]:
    """Every template of a job, and where it stands."""
    for key in ("run", "template", "name", "image", "pool"):
        text = getattr(rule, key)
        if text is not None:
            yield (key,), text
    for key in ("tags", "artifacts"):
        yield from (((key, number), text) for number, text in enumerate(getattr(rule, key)))
    yield from ((("env", key), text) for key, text in rule.env.items())
    for service, table in rule.own.items():
        yield from _inside((service,), table)


def _inside(where: Where, value: object) -> Iterator[tuple[Where, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _inside((*where, key), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _inside((*where, number), inner)


def _each(table: Mapping[str, object], filled: Callable[[str], str]) -> dict[str, object]:
    """The same with every text in it filled in."""

    def one(value: object) -> object:
        if isinstance(value, str):
            return filled(value)
        if isinstance(value, Mapping):
            return {key: one(inner) for key, inner in value.items()}
        return [one(inner) for inner in value] if isinstance(value, list) else value

    return {key: one(value) for key, value in table.items()}
