"""``pipeline render``: the jobs that a repository's ``.mayfly.toml`` has for what changed, for a CI service.

Asks git, reads, prints; changes nothing. Needs no manager, unless a matrix asks what its pools offer.
"""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.options import ConfigOption, SocketOption
from mayfly.cli.pipeline_tasks import Asked, definition_of, offered_by, queue, services, tasks_of
from mayfly.cli.talk import client, say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.cli.verbs_hook import install_hook, note, receive
from mayfly.core.pipeline.definition import FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mayfly.cli.client import Client
    from mayfly.core.pipeline.definition import Definition
    from mayfly.core.pipeline.task import Task
    from mayfly.edge.repository import Repository
    from mayfly.providers import PipelineForm

pipeline_app = typer.Typer(
    help="CI jobs for what changed in a repository.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
LIST_MAX = 64 * 1024 * 1024  # bytes of a list of changes, or of what is offered
NO_COMMIT = "0" * 40  # what services name the commit before a branch's first


pipeline_app.command("install-hook")(install_hook)
pipeline_app.command("receive")(receive)
pipeline_app.command("note")(note)


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
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Submit them to the embedded queue as one run; --for local."),
    ] = False,
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
    if submit and service != queue():
        raise Usage(f"--submit is for the embedded queue: --for {queue()}")
    _see_that_it_is_told_once(changed, changed_from, everything, cuda_from)
    from mayfly.cli.loading import pipelines  # noqa: PLC0415  these bring much
    from mayfly.edge.repository import Repository  # noqa: PLC0415

    with pipelines():
        asked = _what_changed(Repository(Path(repository)), changed, changed_from)
        read = definition_of(asked)
        if read is None:
            raise Trouble(f"there is no {FILE} at the top of {asked.named}")
        offers = partial(_offered, cuda_from, partial(client, ctx, socket, config))
        tasks = _of_wave(read[0], tasks_of(read, asked, service, offers), wave, form)
        if submit:
            _submit(client(ctx, socket, config), asked, tasks)
            return
        made = form.write(tasks)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # these files are, whatever the locale
    print(made, end="")


def _submit(manager: Client, asked: Asked, tasks: tuple[Task, ...]) -> None:
    """Submit them as one run, and print its id."""
    from mayfly.cli.run_submission import submitted, tree_of  # noqa: PLC0415
    from mayfly.core.runs import Origin  # noqa: PLC0415

    if not tasks:
        say("no job is for what changed")
        return
    where = asked.where
    subject = "" if asked.head is None else where.subject(asked.head)
    origin = Origin(where.place, None, asked.head, asked.base, subject)
    found = submitted(manager, origin, tasks, partial(tree_of, asked), say)
    say(str(found))
    print(found.run)


def _form(service: str) -> PipelineForm:
    known = services()
    if service not in known:
        raise Usage(f"--for: there is no {service!r}; there are {', '.join(known)}")
    return known[service]()


def _see_that_it_is_told_once(
    changed: str | None, changed_from: str | None, everything: bool, cuda_from: str | None
) -> None:
    given = [changed is not None, changed_from is not None, everything]
    if sum(given) != 1:
        raise Usage("what changed is told by one of --changed, --changed-from and --all")
    if changed_from == "-" == cuda_from:
        raise Usage("standard input cannot be both: --changed-from - and --cuda-from -")


def _what_changed(where: Repository, changed: str | None, changed_from: str | None) -> Asked:
    """The commit that is looked at, or the folder as it is, and what of it changed."""
    if changed_from is not None:
        if where.bare:
            raise Usage("--changed-from looks at files, and this repository has none: --changed")
        from mayfly.core.pipeline.changes import ChangesError, listed  # noqa: PLC0415

        try:
            found = listed(_content(changed_from, "--changed-from"), frozenset(where.paths(None)))
        except ChangesError as error:
            raise Trouble(str(error)) from error
        return Asked(where, None, found)
    if changed is None:
        return Asked(where, where.commit("HEAD") if where.bare else None, None)
    base, _, tip = changed.replace("...", "..", 1).partition("..")
    head = where.commit(tip or "HEAD")
    if base == NO_COMMIT:
        say("there is no commit before: every job is asked for")
        return Asked(where, head, None)
    if not base:
        raise Usage(f"--changed: {changed!r} is no range of commits, such as main..HEAD")
    parted = where.merge_base(where.commit(base), head)
    return Asked(where, head, where.changes(parted, head), parted)


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


def _offered(file: str | None, manager: Callable[[], Client]) -> tuple[str, ...]:
    """The CUDA versions that there are: by a file where one is named, or by the manager."""
    if file is not None:
        return _offered_in(file)
    return offered_by(lambda: manager().get("/v1/status"))


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
