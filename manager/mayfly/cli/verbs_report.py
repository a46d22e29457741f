"""`mayfly report`: who used how much."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer

from mayfly.cli import render_boxes, render_report
from mayfly.cli.boxes import several, show
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption
from mayfly.cli.talk import client, moment_of, print_json, say, terminal_width
from mayfly.cli.trouble import Usage
from mayfly.core import usage_figures
from mayfly.core.quantities import moment
from mayfly.core.usage_report import By, Per

SECONDS = 120.0  # that a long history may take on a busy host


def report(
    ctx: typer.Context,
    *,
    by: Annotated[By, typer.Option("--by", help="What a row is of.")] = By.PERSON,
    per: Annotated[Per, typer.Option("--per", help="How long a period is.")] = Per.WEEK,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="From then on, or 30d ago; 5 weeks or 6 months."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Until then; until now.")
    ] = None,
    zone: Annotated[
        str,
        typer.Option("--zone", metavar="ZONE", help="Where days begin, as Europe/Berlin."),
    ] = "UTC",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print it for a spreadsheet.")] = False,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Sum up GPU-hours, waiting and energy by person, repository, pool or GPU."""
    if as_csv and as_json:
        raise Usage("--csv and --json are two forms: the one or the other")
    asked = {
        "by": str(by),
        "per": str(per),
        "zone": zone,
        "since": _time(since),
        "until": _time(until),
    }
    if boxes := several(ctx, socket, config):
        found = boxes.get("/v1/report", asked, SECONDS)
        if as_csv:
            found = render_boxes.understood(
                found, lambda one: usage_figures.as_csv(one.document or {})
            )
            sys.stdout.write(render_boxes.csv_of(found, usage_figures.as_csv))
            for line in render_boxes.silent(found, None):
                say(line)
            raise typer.Exit(render_boxes.code_of(found))
        lines = partial(render_report.report, width=terminal_width())
        raise typer.Exit(show(found, as_json, lines, apart=True))
    document = client(ctx, socket, config).get("/v1/report", asked, SECONDS)
    if as_json:
        print_json(document)
    elif as_csv:
        sys.stdout.write(usage_figures.as_csv(document))
    else:
        for line in render_report.report(document, terminal_width()):
            print(line)


def _time(text: str | None) -> str | None:
    """A time is the manager's to read, who knows the zone; a duration is so long ago."""
    return text if text is None or moment(text) is not None else moment_of(text)
