"""``run``: the daemon in the foreground; the one verb that loads the whole of Mayfly."""

from __future__ import annotations

from typing import Annotated

import typer

from mayfly.cli.options import ConfigOption, SocketOption


def run(
    ctx: typer.Context,
    *,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Adopt an Engine that another Mayfly has used.")
    ] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the manager in the foreground; systemd calls it."""
    from mayfly.cli.running import manage  # noqa: PLC0415  the daemon's alone

    manage(ctx, take_over=take_over, socket=socket, config=config)
