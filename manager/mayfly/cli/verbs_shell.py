"""``shell SLOT``: what a job would see there, for a person."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mayfly.cli.completion import SlotArgument
from mayfly.cli.misunderstood import words_behind
from mayfly.cli.options import ConfigOption, SocketOption, TimeoutOption
from mayfly.cli.standing import first_status, slot_of
from mayfly.cli.talk import client, config_path, lasting, say
from mayfly.cli.trouble import Trouble


def shell(
    ctx: typer.Context,
    slot: SlotArgument,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- CMD...]", help="Instead of a shell.")
    ] = None,
    *,
    timeout: TimeoutOption = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Open a throw-away container with a slot's image, GPUs, datasets and limits; no job meanwhile."""
    from mayfly.cli.loading import load_config, translated  # noqa: PLC0415  brings most of Mayfly
    from mayfly.cli.throwaway import beside, emptied, spec_of  # noqa: PLC0415
    from mayfly.cli.throwaway import shell as converse  # noqa: PLC0415

    words = words_behind("slot", command) or ("/bin/bash",)
    seconds = lasting(timeout, "--timeout")
    loaded = load_config(config_path(ctx, config)).config
    manager = client(ctx, socket, config)
    slot_of(first_status(manager), slot)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with translated():
        spec = spec_of(loaded, slot)
        if spec.pool.by_slurm:
            raise Trouble(
                f"{slot} has GPUs only while a job has its allocation of Slurm's: ask for one of your own, "
                f"`salloc --gres=gpu:{spec.pool.gpus}`"
            )
        others = beside(manager, spec)
        said = f"{' and '.join((slot, *others))} take" if others else f"{slot} takes"
        say(f"{said} no job until this ends; a job that runs there ends first")
        with emptied(manager, slot, seconds, others):
            code = converse(loaded, spec, words, terminal=terminal)
    raise typer.Exit(code)
