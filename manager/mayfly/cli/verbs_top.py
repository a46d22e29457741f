"""``top``: what jobs use now, redrawn on a terminal, once in a pipe."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from mayfly.cli import render_top
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
