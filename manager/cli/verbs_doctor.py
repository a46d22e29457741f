"""``doctor``: looks at all that a filled pool needs, and says what to type where something is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from manager.cli.options import (
    ConfigOption,
    JsonOption,
    SocketOption,
    client,
    colours,
    config_path,
    print_json,
    terminal_width,
)


def doctor(
    ctx: typer.Context,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 also where something is warned of.")
    ] = False,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Check Engine, GPUs, images, tokens, services and host; a line to paste for whatever is wrong."""
    from manager.cli import render_doctor  # noqa: PLC0415  brings most of Mayfly
    from manager.cli.doctor import exit_code, results  # noqa: PLC0415
    from manager.cli.examination import examine  # noqa: PLC0415

    facts = examine(config_path(ctx, config), lambda: client(ctx, socket, config))
    found = results(facts)
    if as_json:
        print_json(render_doctor.document(found))
    else:
        for line in render_doctor.doctor(found, terminal_width(), colours()):
            print(line)
    raise typer.Exit(exit_code(found, strict=strict))
