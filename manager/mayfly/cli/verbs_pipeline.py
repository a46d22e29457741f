"""``pipeline render``: the jobs that a repository's ``.mayfly.toml`` has for what changed, for a CI service.

Asks git, reads, prints; changes nothing. Needs no manager, unless a matrix asks what its pools offer.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.options import ConfigOption, SocketOption, client, say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.pipeline.definition import ALL, CUDA, FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mayfly.core.pipeline.changes import Change
    from mayfly.core.pipeline.definition import Definition
    from mayfly.core.pipeline.task import Task
    from mayfly.edge.pipeline_templates import Templates
    from mayfly.edge.repository import Repository
    from mayfly.providers import PipelineForm

pipeline_app = typer.Typer(
    help="CI jobs for what changed in a repository.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
LIST_MAX = 64 * 1024 * 1024  # bytes of a list of changes, or of what is offered
SENTENCES_MAX = 10
NO_COMMIT = "0" * 40  # what services name the commit before a branch's first


@pipeline_app.callback()
def _several() -> None:
    """A group, whose verbs will be more."""


def complete_service(incomplete: str) -> list[str]:
    """The services that begin with what was typed."""
    return [name for name in _services() if name.startswith(incomplete)]


@pipeline_app.command()
def render(
    ctx: typer.Context,
    *,
    service: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="SERVICE",
            help="Whose pipeline: of a provider, local is the embedded queue.",
            autocompletion=complete_service,
        ),
    ],
    changed: Annotated[
        str | None,
        typer.Option(
            "--changed",
            metavar="BASE..HEAD",
            help="What changed since the two had a commit in common.",
        ),
    ] = None,
    changed_from: Annotated[
        str | None,
        typer.Option(
            "--changed-from", metavar="FILE", help="A list of paths; - is standard input."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every job, whatever changed.")] = False,
    wave: Annotated[
        int | None,
        typer.Option(
            "--wave",
            metavar="N",
            help="Of a matrix: jobs that wait for N others, one after the other.",
        ),
    ] = None,
    cuda_from: Annotated[
        str | None,
        typer.Option(
            "--cuda-from",
            metavar="FILE",
            help="What cuda = all means: a printed `status --json` or `images list --json`.",
        ),
    ] = None,
    repository: Annotated[
        str, typer.Option("--repository", metavar="FOLDER", help="A folder of the repository.")
    ] = ".",
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the jobs that .mayfly.toml has for what changed, for a CI service."""
    form = _form(service)
    _one_of(changed, changed_from, everything)
    if changed_from == "-" == cuda_from:
        raise Usage("standard input cannot be both: --changed-from - and --cuda-from -")

    from mayfly.edge.pipeline_extra import missing  # noqa: PLC0415

    if sentence := missing():
        raise Trouble(sentence)
    from mayfly.cli.loading import translated  # noqa: PLC0415  these bring much
    from mayfly.core.pipeline.plan import planned  # noqa: PLC0415
    from mayfly.edge.repository import Repository  # noqa: PLC0415

    with translated():
        where = Repository(Path(repository))
        head, changes = _what_changed(where, changed, changed_from)
        text = where.file(head, FILE)
        if text is None:
            raise Trouble(f"there is no {FILE} at the top of {_named(where, head)}")
        definition, templates = _read(text, where, head)

        def offers() -> tuple[str, ...]:
            if cuda_from is not None:
                return _offered_in(cuda_from)
            return _offered_by(lambda: client(ctx, socket, config).get("/v1/status"))

        asks = any(rule.matrix.get(CUDA) == ALL for rule in definition.jobs)
        offered = {CUDA: offers()} if asks else {}
        plan = planned(definition, changes, where.paths(head), offered, templates.file_of)
        _refuse(plan.refused)
        tasks = _of_wave(definition, templates.tasks(plan, service), wave, form)
        made = form.write(tasks)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # these files are, whatever the locale
    print(made, end="")


def _services() -> Mapping[str, Callable[[], PipelineForm]]:
    """By name, everything that a pipeline can be written for."""
    from mayfly.providers.installed import packages  # noqa: PLC0415

    return {
        name: package.pipeline
        for name, package in packages().items()
        if package.pipeline is not None
    }


def _form(service: str) -> PipelineForm:
    known = _services()
    if service not in known:
        raise Usage(f"--for: there is no {service!r}; there are {', '.join(known)}")
    return known[service]()


def _one_of(changed: str | None, changed_from: str | None, everything: bool) -> None:
    given = [changed is not None, changed_from is not None, everything]
    if sum(given) != 1:
        raise Usage("what changed is told by one of --changed, --changed-from and --all")


def _what_changed(
    where: Repository, changed: str | None, changed_from: str | None
) -> tuple[str | None, tuple[Change, ...] | None]:
    """The commit that is looked at, and what changed; ``None``: the folder as it is, and everything."""
    if changed_from is not None:
        if where.bare:
            raise Usage("--changed-from looks at files, and this repository has none: --changed")
        from mayfly.core.pipeline.changes import ChangesError, listed  # noqa: PLC0415

        try:
            return None, listed(
                _content(changed_from, "--changed-from"), frozenset(where.paths(None))
            )
        except ChangesError as error:
            raise Trouble(str(error)) from error
    if changed is None:
        return (where.commit("HEAD") if where.bare else None), None
    base, _, tip = changed.replace("...", "..", 1).partition("..")
    head = where.commit(tip or "HEAD")
    if base == NO_COMMIT:
        say("there is no commit before: every job is asked for")
        return head, None
    if not base:
        raise Usage(f"--changed: {changed!r} is no range of commits, such as main..HEAD")
    return head, where.changes(where.merge_base(where.commit(base), head), head)


def _named(where: Repository, head: str | None) -> str:
    return str(where.top) if head is None else f"commit {head[:12]}"


def _content(file: str, option: str) -> bytes:
    """All bytes of a file, or of standard input."""
    try:
        if file == "-":
            found = sys.stdin.buffer.read(LIST_MAX + 1)
        else:
            with Path(file).open("rb") as opened:
                found = opened.read(LIST_MAX + 1)
    except OSError as error:
        raise Trouble(f"{option}: {file} cannot be read: {error.strerror}") from error
    if len(found) > LIST_MAX:
        raise Trouble(f"{option}: {file} is larger than 64 MiB")
    return found


def _read(text: bytes, where: Repository, head: str | None) -> tuple[Definition, Templates]:
    """What the file of the repository says, and its templates; a ``Refused`` has every mistake."""
    from mayfly.edge.config_mistakes import ConfigError, Problem  # noqa: PLC0415
    from mayfly.edge.pipeline_file import read  # noqa: PLC0415
    from mayfly.edge.pipeline_templates import Templates  # noqa: PLC0415

    try:
        found = read(text.decode("utf-8-sig"), tuple(_services()))
    except UnicodeDecodeError as error:
        sentence = f"is not UTF-8 text (byte {error.start})"
        raise ConfigError((Problem(FILE, "", "", sentence),)) from error
    templates = Templates(found.definition, lambda path: where.file(head, path))
    wrong = [found.problem(*mistake) for mistake in templates.mistakes()]
    if wrong:
        raise ConfigError(tuple(sorted(wrong, key=lambda one: one.line or 0)))
    return found.definition, templates


def _refuse(sentences: Sequence[str]) -> None:
    if sentences:
        more = len(sentences) - SENTENCES_MAX
        shown = (*sentences[:SENTENCES_MAX], *([f"and {more} more"] if more > 0 else []))
        raise Trouble("\n".join(shown))


def _offered_in(file: str) -> tuple[str, ...]:
    from mayfly.core.pipeline.offered import cuda_versions  # noqa: PLC0415

    try:
        found = cuda_versions(json.loads(_content(file, "--cuda-from")))
    except (ValueError, RecursionError) as error:
        raise Trouble(f"--cuda-from: {file} is not JSON") from error
    if not found:
        raise Trouble(
            f"--cuda-from: {file} names no CUDA version; it is what `mayfly status --json` prints"
        )
    return found


def _offered_by(status: Callable[[], object]) -> tuple[str, ...]:
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


def _of_wave(
    definition: Definition, tasks: tuple[Task, ...], wave: int | None, form: PipelineForm
) -> tuple[Task, ...]:
    """Those that one matrix may have: of a service whose matrices know no order."""
    waves = 1 + max(definition.waves().values(), default=0)
    if wave is None:
        if waves > 1 and not form.ordered:
            raise Usage(
                "a matrix has no order, and jobs here need others: print each of the "
                f"{waves} waves by itself, --wave 0 to --wave {waves - 1}"
            )
        return tasks
    if form.ordered:
        raise Usage("--wave is for a matrix, and this pipeline says itself what waits for what")
    if not 0 <= wave < waves:
        raise Usage(f"--wave: there are {waves}, numbered from 0")
    return tuple(task for task in tasks if task.wave == wave)
