"""``idle``: since when this host has nothing to do, what keeps it up, when it is paused; and to try that."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mayfly.cli.boxes import several, show
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption, YesOption
from mayfly.cli.talk import client, config_path, print_json, say, terminal_width, where
from mayfly.cli.trouble import Trouble, Usage

if TYPE_CHECKING:
    from mayfly.core.idle_settings import IdleSettings
    from mayfly.edge.idle_call import Call


def idle(
    ctx: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[test]", help="Try what is asked and run; on this host."),
    ] = None,
    *,
    yes: YesOption = False,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Show whether this host has anything to do, what keeps it up, and when it is paused."""
    if what not in (None, "test"):
        raise Usage(f"idle takes test, or nothing, not {what}")
    if what is None and yes:
        raise Usage("--yes goes with test: `mayfly idle test --yes` pauses this host")
    if what is not None and as_json:
        raise Usage("--json shows how it stands: `mayfly idle --json`")
    if what == "test":
        _test(ctx, socket, config, yes=yes)
        return
    from mayfly.cli import render_idle  # noqa: PLC0415

    if boxes := several(ctx, socket, config):
        lines = partial(render_idle.idle, now=time.time(), width=terminal_width())
        raise typer.Exit(show(boxes.get("/v1/idle"), as_json, lines, apart=True))
    document = client(ctx, socket, config).get("/v1/idle")
    if as_json:
        print_json(document)
        return
    for line in render_idle.idle(document, time.time(), terminal_width()):
        print(line)


def _test(ctx: typer.Context, socket: str | None, config: str | None, *, yes: bool) -> None:
    """Ask for vetoes, look for the command, and run it where that is wanted."""
    elsewhere = where(ctx)
    if elsewhere.context is not None or elsewhere.host is not None:
        raise Usage("idle test tries it on this host: it goes without --context and --host")
    ctx.obj = replace(elsewhere, here=True)
    from mayfly.cli.loading import load_config  # noqa: PLC0415  brings pydantic
    from mayfly.edge.idle_call import Call  # noqa: PLC0415  brings requests

    host = load_config(config_path(ctx, config)).config.host
    if host.idle is None:
        raise Trouble("the configuration has no [host.idle]: nothing is done about an idle host")
    call = Call(host.name, time.time(), 0.0, test=True)
    found = [_asked(host.idle, call), _command(host.idle)]
    if not yes:
        if not sys.stdin.isatty():
            print(f"the {host.idle.way} was not run: --yes runs it")
            raise typer.Exit(0 if all(found) else 1)
        user = pwd.getpwuid(os.getuid()).pw_name
        question = f"Run the {host.idle.way} as {user}, with MAYFLY_IDLE_TEST=1?"
        print(f"{question} It may pause this host. [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise typer.Exit(0 if all(found) else 1)
    _refuse_at_work(client(ctx, socket, config).get("/v1/idle"))
    _run(host.idle, call)
    raise typer.Exit(0 if all(found) else 1)


def _asked(settings: IdleSettings, call: Call) -> bool:
    """Tell of each veto; whether all could be asked."""
    from mayfly.core.idleness import Kind  # noqa: PLC0415
    from mayfly.edge.idle_call import login_vetoes, veto_of_command  # noqa: PLC0415

    found = [*login_vetoes(settings), *veto_of_command(settings, call)]
    for one in found:
        print(f"{one.kind}: {one.text}")
    if not found:
        print("nobody has anything against it")
    return all(one.kind is not Kind.UNKNOWN for one in found)


def _command(settings: IdleSettings) -> bool:
    if settings.webhook is not None:
        print("the webhook is called by POST")
        return True
    path = shutil.which(settings.command[0])
    if path is None:
        say(f"{settings.command[0]} is no program that can be run")
        return False
    print(f"the command is {path}")
    return True


def _refuse_at_work(document: dict[str, Any]) -> None:
    """Nothing is tried under a job: gates are open meanwhile."""
    for one in document.get("reasons", ()):
        if one.get("kind") in {"work", "kept"}:
            raise Trouble(f"nothing was run: {one.get('text')}")


def _run(settings: IdleSettings, call: Call) -> None:
    from mayfly.edge.idle_call import pause_host  # noqa: PLC0415

    ran = pause_host(settings, call)
    if ran.failure:
        raise Trouble(ran.failure)
    print(f"the {settings.way} succeeded")
