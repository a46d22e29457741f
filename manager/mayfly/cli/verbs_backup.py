"""``backup`` and ``restore``: the state of this box in one file, and a box made of one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mayfly.cli.options import ConfigOption, YesOption
from mayfly.cli.talk import config_path, say
from mayfly.cli.trouble import Usage

STREAM = "-"
FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="The backup; - is standard output, or input.")
]


def backup(
    ctx: typer.Context,
    file: FileArgument,
    *,
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--with-secrets",
            help="With tokens, and with the variables of jobs that have not ended.",
        ),
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Without what jobs printed and brought back.")
    ] = False,
    move: Annotated[
        bool,
        typer.Option(
            "--move",
            help="Hand this box over: it starts no manager any more. Stop the manager before.",
        ),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Write the state and the configuration of this box into one file, also while the manager runs."""
    if file == STREAM and sys.stdout.isatty():
        raise Usage("a backup is no text for a terminal: name a file, or pipe it")
    from mayfly.cli.backing_up import Wanted, backed_up  # noqa: PLC0415  brings most of Mayfly

    wanted = Wanted(secrets=with_secrets, small=small, move=move)
    for line in backed_up(file, config_path(ctx, config), wanted):
        say(line)


def restore(
    ctx: typer.Context,
    file: FileArgument,
    *,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="The manager acts at once: jobs that are queued in it run."),
    ] = False,
    named: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="What this box is called.")
    ] = None,
    without_config: Annotated[
        bool, typer.Option("--without-config", help="Leave the configuration as it is here.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Put what is here aside, and restore.")
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Make this box what a backup says; the manager then observes only, until `mayfly resume`."""
    if yes and not resume:
        raise Usage("--yes goes with --resume, which asks whether queued jobs may run")
    from mayfly.cli.restoring import Asked, restored  # noqa: PLC0415  brings most of Mayfly

    asked = Asked(resume=resume, named=named, config=not without_config, force=force, yes=yes)
    for line in restored(file, config_path(ctx, config), asked):
        say(line)
