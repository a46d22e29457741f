"""``runs``: the jobs of pushes and folders, as one each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mayfly.cli import render_runs
from mayfly.cli.boxes import found_by, several, show
from mayfly.cli.client import Client, Document, segment
from mayfly.cli.job_state import StateOption
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption
from mayfly.cli.talk import client, colours, moment_of, needs, print_json, say, terminal_width
from mayfly.cli.trouble import Usage
from mayfly.core import naming

HEADS = "refs/heads/"


def runs(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="The jobs of this one."),
    ] = None,
    *,
    repository: Annotated[
        str | None,
        typer.Option("--repository", metavar="FOLDER", help="Only of this repository."),
    ] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", metavar="REF", help="Only of this branch or ref.")
    ] = None,
    state: StateOption = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only your own.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Submitted from then on, or 24h ago."),
    ] = None,
    most: Annotated[
        int | None, typer.Option("-n", metavar="N", min=1, max=1000, help="At most so many; 50.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="End what is left of its jobs.")] = False,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Run its jobs again, of the same commit, as yours.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Of --rerun: only those that did not succeed.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Of --rerun: until all have ended; exit with 1 if one failed."),
    ] = False,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List runs, each the jobs of one push or folder, or show one."""
    needs("--failed", failed, "--rerun", rerun)
    needs("--wait", wait, "--rerun", rerun)
    if cancel and rerun:
        raise Usage("--cancel and --rerun are two things: the one, then the other")
    if run is None:
        if cancel or rerun:
            option = "--cancel" if cancel else "--rerun"
            raise Usage(f"{option} is of one run: mayfly runs RUN {option}")
        query = _query(repository, ref, state, mine, since, most)
        if boxes := several(ctx, socket, config):
            raise typer.Exit(show(boxes.get("/v1/runs", query), as_json, _lines))
        _listed(client(ctx, socket, config), query, as_json)
        return
    manager, run = found_by(ctx, socket, config, run)
    if any(value for value in (repository, ref, state, mine, since, most)):
        raise Usage("of one run nothing is left out: the other options would be ignored")
    if rerun:
        _again(manager, run, failed, wait)
    else:
        _one(manager, run, cancel, as_json)


def _query(
    repository: str | None,
    ref: str | None,
    state: str | None,
    mine: bool,
    since: str | None,
    most: int | None,
) -> dict[str, object]:
    """Which runs are wanted, as the manager is asked."""
    return {
        "repository": None if repository is None else place_of(repository),
        "ref": None if ref is None else whole_ref(ref),
        "state": state,
        "mine": int(mine) or None,
        "since": moment_of(since),
        "limit": most,
    }


def _listed(manager: Client, query: Mapping[str, object], as_json: bool) -> None:
    document = manager.get("/v1/runs", query)
    if as_json:
        print_json(document)
        return
    for line in _lines(document):
        print(line)


def _lines(document: Document) -> list[str]:
    return render_runs.runs(document, time.time(), terminal_width(), colours())


def _again(manager: Client, run: str, failed: bool, wait: bool) -> None:
    from mayfly.cli.loading import pipelines  # noqa: PLC0415
    from mayfly.cli.rerunning import submitted_again  # noqa: PLC0415
    from mayfly.cli.run_waiting import report_run  # noqa: PLC0415

    with pipelines():
        found = submitted_again(manager, run, failed=failed)
    report_run(manager, found, wait=wait)


def _one(manager: Client, run: str, cancel: bool, as_json: bool) -> None:
    row = manager.get(f"/v1/runs/{segment(run)}")
    if cancel:
        answer = manager.post(f"/v1/jobs/{segment(run)}/cancel", {})
        say(f"{len(answer.get('jobs') or ())} jobs of run {run} are being cancelled")
        return
    jobs = manager.get("/v1/jobs", {"group": run, "limit": 10_000})
    jobs["jobs"] = sorted(jobs["jobs"], key=lambda row: naming.place_in_group(str(row.get("job"))))
    if as_json:
        print_json({**row, "tasks": jobs["jobs"]})
        return
    for line in render_runs.run(row, jobs, time.time(), terminal_width(), colours()):
        print(line)


def whole_ref(name: str) -> str:
    """A branch as git writes it down; what is one already stays."""
    return name if name.startswith("refs/") else HEADS + name


def place_of(folder: str) -> str:
    """A repository as runs have it; what is none here is taken as it is."""
    path = Path(folder)
    if not path.is_dir():
        return folder
    from mayfly.edge.faults import Refused  # noqa: PLC0415  a list of all runs needs none
    from mayfly.edge.repository import Repository  # noqa: PLC0415

    try:
        return Repository(path).place
    except Refused:
        return folder
