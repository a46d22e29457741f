"""What a person does to the whole pool: ``pause``, ``resume``, ``reload``."""

from __future__ import annotations

from typing import Annotated

import typer

from mayfly.cli.options import ConfigOption, JsonOption, NoteOption, SocketOption
from mayfly.cli.talk import client, print_json, say
from mayfly.core.plain_text import clean


def pause(
    ctx: typer.Context,
    *,
    note: NoteOption = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Only observe from now on: touch nothing, over restarts, until resumed."""
    client(ctx, socket, config).post("/v1/pause", {"note": note})
    say("paused: nothing is touched; undone by: mayfly resume")


def resume(ctx: typer.Context, *, socket: SocketOption = None, config: ConfigOption = None) -> None:
    """Act again after a pause."""
    client(ctx, socket, config).post("/v1/resume", {})
    say("resumed")


def reload(
    ctx: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Read the configuration again: idle agents are replaced, busy ones finish first."""
    changes = client(ctx, socket, config).post("/v1/reload", {"dry_run": dry_run})
    held = changes.get("held") or {}
    if as_json:
        print_json({"schema": "mayfly.reload/1", **changes})
        raise typer.Exit(1 if held else 0)
    kinds = ("added", "removed", "replaced")
    lines = [
        f"{kind}: {', '.join(clean(str(slot)) for slot in changes[kind])}"
        for kind in kinds
        if changes.get(kind)
    ]
    for line in lines:
        print(line)
    restart = [clean(str(key)) for key in changes.get("restart") or ()]
    if restart:
        say(f"needs a restart of Mayfly: {', '.join(restart)}")
    elif not lines:
        say("nothing would change" if dry_run else "reloaded; nothing changes")
    for sentence in dict.fromkeys(held.values()):
        say(f"held: {clean(str(sentence))}")
    if held:
        raise typer.Exit(1)
