"""``notify list`` and ``test``: who is told of conditions and jobs' ends, and whether a message arrives."""

from __future__ import annotations

import os
import pwd
import time
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.loading import load_config
from mayfly.cli.options import ConfigOption, JsonOption
from mayfly.cli.talk import config_path, print_json, say, terminal_width
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.notice_targets import Target
from mayfly.core.notices import Kind, Notice, message

if TYPE_CHECKING:
    from mayfly.core.model import HostSpec

notify_app = typer.Typer(
    help="Show who is told of conditions and jobs' ends, and try it.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
HEADINGS = ("TARGET", "BY", "CONDITIONS", "JOBS", "POOLS")


@notify_app.command(name="list")
def list_targets(
    ctx: typer.Context, *, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """List the targets of the configuration, and of what each is told."""
    targets = _host(ctx, config).notify
    if as_json:
        print_json({"schema": "mayfly.notify/1", "targets": [_told(one) for one in targets]})
        return
    from mayfly.cli.table import table  # noqa: PLC0415

    rows = [
        (one.name, *one.ways, one.conditions, _jobs(one), ", ".join(one.pools) or "all")
        for one in targets
    ]
    for line in table(HEADINGS, rows, terminal_width()):
        print(line)


@notify_app.command(name="test")
def try_targets(
    ctx: typer.Context,
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[TARGET]…", help="Those; all without one.")
    ] = None,
    *,
    config: ConfigOption = None,
) -> None:
    """Send each target a message now, and say what came of it; 1 where one was not taken."""
    from mayfly.edge.faults import Fault  # noqa: PLC0415
    from mayfly.edge.notice_sending import send  # noqa: PLC0415  it brings requests

    host = _host(ctx, config)
    known = {one.name: one for one in host.notify}
    unknown = [name for name in targets or () if name not in known]
    if unknown:
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise Usage(f"no notify target is called {unknown[0]}: {there}")
    if not known:
        raise Trouble("the configuration has no [[host.notify]]: nobody is told anything")
    user = pwd.getpwuid(os.getuid()).pw_name
    text = f"{user} has tried whether this arrives. It is about nothing."
    notice = Notice(Kind.TEST, time.time(), host.name, text=text, user=user)
    failed = 0
    for name in dict.fromkeys(targets or known):
        try:
            send(known[name], message(known[name], notice))
        except Fault as fault:
            failed += 1
            say(f"{name}: {fault}")
        else:
            print(f"{name}: taken")
    if failed:
        raise typer.Exit(1)


def _host(ctx: typer.Context, config: str | None) -> HostSpec:
    return load_config(config_path(ctx, config)).config.host


def _jobs(target: Target) -> str:
    whose = f" of {', '.join(target.users)}" if target.users and target.jobs != "none" else ""
    return target.jobs + whose


def _told(target: Target) -> dict[str, object]:
    return {
        "name": target.name,
        "by": target.ways[0],
        "conditions": target.conditions,
        "jobs": target.jobs,
        "users": list(target.users),
        "pools": list(target.pools),
    }
