"""The daemon in the foreground, as ``run`` begins it. It stays: nothing is imported that it does not need."""

from __future__ import annotations

from mayfly.cli.loading import load_config, translated
from mayfly.cli.talk import Called, Where, config_path
from mayfly.providers.configuration import load
from mayfly.service.daemon import run


def manage(
    ctx: Called, *, take_over: bool = False, socket: str | None = None, config: str | None = None
) -> int:
    """Run the manager until it is told to stop; the exit code."""
    socket = socket or (ctx.obj.socket if isinstance(ctx.obj, Where) else None)
    path = config_path(ctx, config)
    flags = {"socket": socket} if socket else {}
    loaded = load_config(path, flags)
    with translated():
        run(
            loaded.config,
            take_over=take_over,
            reload=lambda: load(path, flags=flags).config,  # its faults are the loop's to tell
        )
    return 0
