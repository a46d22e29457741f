"""``relay``: one connection to the manager here, from standard input and output, for who asks by ssh."""

from __future__ import annotations

import typer

from mayfly.cli.options import ConfigOption, SocketOption


def relay(ctx: typer.Context, *, socket: SocketOption = None, config: ConfigOption = None) -> None:
    """Connect standard input and output to the manager; `mayfly --host` runs it on the other box."""
    from mayfly.cli.relaying import relayed  # noqa: PLC0415  as the other verbs that are quick

    raise typer.Exit(relayed(ctx, socket=socket, config=config))
