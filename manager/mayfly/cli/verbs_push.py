"""``push``: the jobs of what changed in a folder, or on a branch of a bare repository, without any push."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.options import ConfigOption, FolderArgument, SocketOption
from mayfly.cli.talk import client, say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.cli.verbs_runs import whole_ref
from mayfly.core.pipeline.definition import FILE
from mayfly.core.runs import Origin

if TYPE_CHECKING:
    from mayfly.cli.pipeline_tasks import Asked
    from mayfly.edge.repository import Repository


def push(
    ctx: typer.Context,
    folder: FolderArgument = ".",
    *,
    ref: Annotated[
        str | None,
        typer.Option("--ref", metavar="BRANCH", help="What is committed there, not the folder."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="COMMIT", help="What it is compared with; the branch's upstream."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every job, whatever changed.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until all jobs have ended; exit with 1 if one failed.")
    ] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the jobs that .mayfly.toml has for what you changed, committed or not."""
    if base is not None and everything:
        raise Usage("--all compares with nothing: --base would be ignored")
    from mayfly.cli.loading import pipelines  # noqa: PLC0415  these bring much
    from mayfly.cli.pipeline_tasks import definition_of, offered_by, queue, tasks_of  # noqa: PLC0415
    from mayfly.cli.run_submission import submitted, tree_of  # noqa: PLC0415
    from mayfly.cli.run_waiting import report_run  # noqa: PLC0415
    from mayfly.edge.repository import Repository  # noqa: PLC0415

    with pipelines():
        where = Repository(Path(folder))
        asked, origin = _asked(where, ref, base, everything)
        read = definition_of(asked)
        if read is None:
            raise Trouble(f"there is no {FILE} at the top of {asked.named}")
        manager = client(ctx, socket, config)
        tasks = tasks_of(
            read, asked, queue(), lambda: offered_by(lambda: manager.get("/v1/status"))
        )
        if not tasks:
            say("no job is for what changed")
            return
        found = submitted(manager, origin, tasks, partial(tree_of, asked), say)
    report_run(manager, found, wait=wait)


def _asked(
    where: Repository, ref: str | None, base: str | None, everything: bool
) -> tuple[Asked, Origin]:
    """What is run, and what it is of."""
    from mayfly.cli.pipeline_tasks import Asked  # noqa: PLC0415

    if ref is None and where.bare:
        raise Usage(f"{where.place} has no files to look at: name a branch with --ref")
    name = where.ref_at_head() if ref is None else whole_ref(ref)
    head = where.commit("HEAD" if ref is None else name or "HEAD")
    before = None if everything else _base(where, name, head, base)
    # Of a folder that is as its commit has it, the commit is run.
    changed = () if ref is not None else where.changes_here(head)
    if changed:
        changes = None if before is None else where.changes_here(before)
        return Asked(where, None, changes, before), Origin(where.place, name, None, before)
    changes = None if before is None else where.changes(before, head)
    origin = Origin(where.place, name, head, before, where.subject(head))
    return Asked(where, head, changes, before), origin


def _base(where: Repository, name: str | None, head: str, base: str | None) -> str:
    """The commit that it is compared with."""
    if base is not None:
        return where.merge_base(where.commit(base), head)
    other = where.ref_at_head() if where.bare else where.upstream(name) if name else None
    before = None if other in (None, name) else where.commit_of_ref(str(other))
    if before is None:
        raise Usage("there is nothing to compare it with: name it, --base main say, or --all")
    return where.merge_base(before, head)
