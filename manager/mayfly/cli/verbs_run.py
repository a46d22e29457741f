"""``run``: the daemon in the foreground; the one verb that loads the whole of Mayfly."""

from __future__ import annotations

from typing import Annotated

import typer

from mayfly.cli.options import ConfigOption, SocketOption
from mayfly.cli.talk import Where, config_path


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
    from mayfly.cli.loading import load_config, translated  # noqa: PLC0415  the daemon's alone
    from mayfly.providers.configuration import load  # noqa: PLC0415
    from mayfly.service.daemon import run as run_daemon  # noqa: PLC0415

    socket = socket or (ctx.obj.socket if isinstance(ctx.obj, Where) else None)
    path = config_path(ctx, config)
    flags = {"socket": socket} if socket else {}
    loaded = load_config(path, flags)
    with translated():
        run_daemon(
            loaded.config,
            take_over=take_over,
            reload=lambda: load(path, flags=flags).config,  # its faults are the loop's to tell
        )
