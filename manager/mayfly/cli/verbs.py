"""The verbs of the command ``mayfly``, as Typer describes them: their options and their help.

A verb is imported when it is typed, and imports what only it needs when it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup, TyperOption

from mayfly import __version__
from mayfly.cli.box_completion import complete_box
from mayfly.cli.help_words import completed, short, worded
from mayfly.cli.options import (
    HOST,
    HOST_HELP,
    ConfigOption,
    ContextOption,
    HostOption,
    SocketOption,
)
from mayfly.cli.paste import OF_THIS_HOST
from mayfly.cli.talk import Where, where
from mayfly.cli.trouble import Usage

# Where each verb is, in the order of the help. Only the one that was typed is imported and described to
# Typer: all of them together take longer than what most of them do.
VERBS = {
    "run": "verbs_run",
    "gateway": "verbs_gateway",
    "relay": "verbs_relay",
    "status": "verbs_status",
    "describe": "verbs_history",
    "events": "verbs_history",
    "history": "verbs_history",
    "logs": "verbs_jobs",
    "plan": "verbs_history",
    "cordon": "verbs_slots",
    "uncordon": "verbs_slots",
    "drain": "verbs_slots",
    "pause": "verbs_pool",
    "resume": "verbs_pool",
    "recycle": "verbs_slots",
    "retry": "verbs_slots",
    "reload": "verbs_pool",
    "wait": "verbs_status",
    "report": "verbs_report",
    "idle": "verbs_idle",
    "gpus": "verbs_gpus",
    "health": "verbs_health",
    "submit": "verbs_jobs",
    "jobs": "verbs_jobs",
    "cancel": "verbs_cancel",
    "reserve": "verbs_reserve",
    "reservations": "verbs_reserve",
    "attach": "verbs_attach",
    "hold": "verbs_hold",
    "release": "verbs_hold",
    "top": "verbs_top",
    "fetch": "verbs_jobs",
    "runs": "verbs_runs",
    "push": "verbs_push",
    "pipeline": "verbs_pipeline",
    "init": "verbs_init",
    "install": "verbs_install",
    "doctor": "verbs_doctor",
    "bugreport": "verbs_bugreport",
    "backup": "verbs_backup",
    "restore": "verbs_backup",
    "shell": "verbs_shell",
    "config": "verbs_config",
    "images": "verbs_images",
    "notify": "verbs_notify",
    "completion": "verbs_completion",
    "help": "verbs_help",
}
# What follows `submit` belongs to the job's command.
SETTINGS: dict[str, dict[str, Any]] = {
    "attach": {"allow_interspersed_args": False},
    "submit": {"allow_interspersed_args": False},
    "shell": {"allow_interspersed_args": False},
}


@cache
def _made(name: str) -> Any:
    found = vars(import_module(f"mayfly.cli.{VERBS[name]}"))
    several = found.get(f"{name}_app")
    if several is not None:
        return worded(with_host(name, typer.main.get_group(several)), name)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, context_settings=SETTINGS.get(name))(found[name])
    return worded(with_host(name, typer.main.get_command(alone)), name)


def with_host(name: str, command: Any) -> Any:
    """The command, or each of a group, with ``--host`` behind it too, unless it is about this host."""
    for inner in command.list_commands(None) if hasattr(command, "list_commands") else ():
        with_host(name, command.get_command(None, inner))
    options = {word: place for place, one in enumerate(command.params) for word in one.opts}
    asks = "--socket" in options and name not in OF_THIS_HOST  # a manager
    if asks and "--host" not in options:
        option = TyperOption(
            param_decls=["host", "--host"],
            type=str,
            metavar=HOST,
            help=HOST_HELP,
            expose_value=False,
            callback=_named,
            autocompletion=complete_box,
        )
        command.params.insert(options["--socket"], option)
    return command


def _named(ctx: Any, _: object, boxes: str | None) -> None:
    """``--host`` behind a verb, which goes before one in front of it."""
    if boxes is not None:
        ctx.obj = replace(where(ctx), host=boxes)


def sentence(name: str) -> str:
    """What a verb does, out of its source: making all verbs takes most of a second."""
    spec = find_spec(f"mayfly.cli.{VERBS[name]}")
    try:
        text = Path(spec.origin or "").read_text(encoding="utf-8") if spec is not None else ""
    except OSError:
        text = ""
    own = re.search(rf'^def {name}\(.*?^    """(.*?)(?:"""|\n)', text, re.DOTALL | re.MULTILINE)
    group = re.search(rf'^{name}_app = typer\.Typer\(\s*help="(.*?)"', text, re.MULTILINE)
    found = own or group
    return short(found[1]) if found else ""


def subverbs(name: str) -> list[str]:
    """The verbs of a group; none where the verb is none."""
    command = _made(name)
    return list(command.list_commands(None)) if hasattr(command, "list_commands") else []


class _Made(Mapping[str, Any]):
    """Every verb as a command, made when it is asked for, and once."""

    def __getitem__(self, name: str) -> Any:
        return _made(name)

    def __contains__(self, name: object) -> bool:
        return name in VERBS

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class _Verbs(TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = cast("MutableMapping[str, Any]", _Made())
        for parameter in self.params:
            completed(parameter, "")

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The verbs that begin so; none is imported for it."""
        from typer._click.core import Command  # noqa: PLC0415  where a shell asks
        from typer._click.shell_completion import CompletionItem  # noqa: PLC0415

        named = [name for name in VERBS if name.startswith(incomplete)]
        verbs = [CompletionItem(name, help=sentence(name)) for name in named]
        return [*verbs, *Command.shell_complete(self, ctx, incomplete)]


app = typer.Typer(
    name="mayfly",
    cls=_Verbs,
    help="Keeps named slots on a GPU host filled with single-job CI agents.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,  # Typer's scripts evaluate what they are told
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
    context: ContextOption = None,
    host: HostOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep named slots on a GPU host filled with single-job CI agents."""
    del version
    for option, given in (("--context", context), ("--host", host)):
        if given is not None and ctx.invoked_subcommand in OF_THIS_HOST:
            raise Usage(
                f"mayfly {ctx.invoked_subcommand} is about this host: {option} goes with what a manager is "
                "asked"
            )
    ctx.obj = Where(socket, config, context, host, ctx.invoked_subcommand in OF_THIS_HOST)
