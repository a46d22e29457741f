"""``top``: what jobs use now, redrawn on a terminal, once in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from mayfly.cli import render_boxes, render_top
from mayfly.cli.boxes import Boxes, several
from mayfly.cli.client import Document
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption
from mayfly.cli.talk import client, print_json, terminal_width
from mayfly.cli.trouble import Down, TimedOut

EVERY = 2.0
BETWEEN = 1.1  # seconds: the manager reads once a second, and two readings make a rate
INTERRUPTED = 130


def top(
    ctx: typer.Context,
    *,
    passes: Annotated[
        int | None,
        typer.Option(
            "-n", metavar="N", min=1, help="Look so often; in a pipe once, else for ever."
        ),
    ] = None,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what each running job uses: processors, memory, GPUs and their memory."""
    if boxes := several(ctx, socket, config):
        alive = sys.stdout.isatty() and not as_json
        raise typer.Exit(_of_boxes(boxes, passes or (None if alive else 1), as_json))
    from mayfly.cli.watching import Screen  # noqa: PLC0415  costs what a pipe does not need

    manager = client(ctx, socket, config)
    alive = sys.stdout.isatty() and not as_json
    left = passes if passes is not None else None if alive else 1
    screen, before, pause, told = Screen(), manager.get("/v1/top"), BETWEEN, ""
    document = render_top.with_rates({}, before)
    try:
        while left is None or left > 0:
            time.sleep(pause)
            pause = EVERY
            try:
                after, told = manager.get("/v1/top"), ""
            except (Down, TimedOut) as trouble:
                if left is not None:
                    raise
                told = str(trouble).split("\n", maxsplit=1)[0]
            else:
                document, before = render_top.with_rates(before, after), after
            left = left - 1 if left is not None else None
            if as_json:
                print_json(document, line=passes is not None)
                continue
            width = terminal_width()
            lines = render_top.top(document, time.time(), width)
            if alive:
                screen.draw([*([told[:width]] if told else []), *lines], width)
            else:
                print("\n".join(lines), flush=True)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _of_boxes(boxes: Boxes, left: int | None, as_json: bool) -> int:
    """The same of several: a table of all, redrawn on a terminal; the exit code."""
    from mayfly.cli.watching import Screen  # noqa: PLC0415

    several_passes, alive = left != 1, sys.stdout.isatty() and not as_json
    screen, before, pause = Screen(), _by_box(boxes.get("/v1/top")), BETWEEN
    code = 0
    try:
        while left is None or left > 0:
            time.sleep(pause)
            pause = EVERY
            found = render_boxes.understood(boxes.get("/v1/top"), partial(_readable, before))
            rated = [_rated(before, one) for one in found]
            before, code = _by_box(found), render_boxes.code_of(found)
            left = left - 1 if left is not None else None
            if as_json:
                print_json(render_boxes.merged(rated), line=several_passes)
                continue
            width = terminal_width()
            of_all = render_boxes.called(render_boxes.merged(rated))
            lines = [
                *render_top.top(of_all, time.time(), width),
                *render_boxes.silent(found, width),
            ]
            if alive:
                screen.draw(lines, width)
            else:
                print("\n".join(lines), flush=True)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    return code


def _rated(before: Mapping[str, Document], one: render_boxes.Reply) -> render_boxes.Reply:
    if one.document is None:
        return one
    return replace(one, document=render_top.with_rates(before.get(one.box, {}), one.document))


def _readable(before: Mapping[str, Document], one: render_boxes.Reply) -> object:
    return render_top.top(
        render_boxes.called(render_boxes.merged([_rated(before, one)])), time.time(), None
    )


def _by_box(found: Sequence[render_boxes.Reply]) -> dict[str, Document]:
    return {one.box: one.document for one in found if one.document is not None}
