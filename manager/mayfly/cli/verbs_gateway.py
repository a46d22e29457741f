"""``gateway``: the process that serves jobs their own Engine sockets, in the foreground."""

from __future__ import annotations

import typer

from mayfly.cli.options import ConfigOption


def gateway(ctx: typer.Context, *, config: ConfigOption = None) -> None:
    """Serve jobs the containers of their own, in the foreground; systemd calls it."""
    from mayfly.cli.gateway_process import serve  # noqa: PLC0415  the gateway's alone

    serve(ctx, config=config)
