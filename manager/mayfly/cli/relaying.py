"""``relay`` as it is begun: by ssh for each connection of `mayfly --host`, so that it starts fast."""

from __future__ import annotations

from mayfly.cli import relay
from mayfly.cli.client import find_socket
from mayfly.cli.talk import Called, Where


def relayed(ctx: Called, *, socket: str | None = None, config: str | None = None) -> int:
    """Carry between the streams and the socket that the options name; the exit code."""
    before = ctx.obj if isinstance(ctx.obj, Where) else Where()
    path = find_socket(socket or before.socket, config or before.config)
    try:
        return relay.carry(path)
    except (BrokenPipeError, ConnectionResetError):
        return 0
