"""The gateway in the foreground, as ``gateway`` begins it: the configuration says where, and is let go of."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from mayfly.cli.loading import load_config
from mayfly.cli.talk import Called, config_path
from mayfly.cli.trouble import Trouble
from mayfly.engines.docker.gateway.own_code import begin_anew
from mayfly.engines.docker.wire import socket_path


def serve(ctx: Called, *, config: str | None = None) -> NoReturn:
    """Become the gateway; does not return."""
    host = load_config(config_path(ctx, config), {}).config.host
    if host.engine != "docker":
        raise Trouble(
            f"a job's own containers want Docker, and host.engine is {host.engine}: no gateway is needed"
        )
    # What read the configuration would stay in its memory for ever; the process stays the same for systemd.
    begin_anew(Path(host.state_dir), socket_path(host.docker_host))
