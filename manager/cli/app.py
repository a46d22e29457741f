"""The command ``mayfly``: its verbs, and how it exits.

Starts often and must start fast: verbs import what only they need when they run.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from manager import __version__
from manager.cli import (
    verbs_gpus,
    verbs_init,
    verbs_jobs,
    verbs_past,
    verbs_pool,
    verbs_run,
    verbs_slots,
    verbs_status,
)
from manager.cli.options import ConfigOption, SocketOption, Where
from manager.cli.trouble import Trouble
from manager.cli.verbs_config import config_app
from manager.cli.verbs_images import images_app

app = typer.Typer(
    name="mayfly",
    help="Keeps named slots on a GPU host filled with single-job CI agents.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mayfly {__version__}")
        raise typer.Exit


@app.callback()
def _before(
    ctx: typer.Context,
    socket: SocketOption = None,
    config: ConfigOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep named slots on a GPU host filled with single-job CI agents."""
    del version
    ctx.obj = Where(socket, config)


for _verb in (
    verbs_run.run,
    verbs_status.status,
    verbs_past.describe,
    verbs_past.events,
    verbs_past.history,
    verbs_jobs.logs,
    verbs_past.plan,
    verbs_slots.cordon,
    verbs_slots.uncordon,
    verbs_slots.drain,
    verbs_pool.pause,
    verbs_pool.resume,
    verbs_slots.recycle,
    verbs_slots.retry,
    verbs_pool.reload,
    verbs_status.wait,
    verbs_gpus.gpus,
):
    app.command()(_verb)
app.command(context_settings={"allow_interspersed_args": False})(verbs_jobs.submit)
app.command()(verbs_jobs.jobs)
app.command()(verbs_jobs.cancel)
app.command()(verbs_init.init)
app.add_typer(config_app, name="config")
app.add_typer(images_app, name="images")


def main() -> None:
    """The entry point; exits with 0, or as ``trouble`` says."""
    try:
        app(prog_name="mayfly")
    except Trouble as trouble:
        print(f"mayfly: {trouble}", file=sys.stderr)
        sys.exit(trouble.code)


if __name__ == "__main__":
    main()
