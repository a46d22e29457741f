"""What a person does to slots: ``cordon``, ``uncordon``, ``drain``, ``recycle``, ``retry``."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mayfly.cli.client import Client
from mayfly.cli.completion import SlotsArgument
from mayfly.cli.confirming import confirm_end
from mayfly.cli.options import ConfigOption, NoteOption, SocketOption, TimeoutOption, YesOption
from mayfly.cli.talk import client, duration, lasting, needs, say
from mayfly.cli.trouble import Usage
from mayfly.cli.verbs_status import await_drained
from mayfly.core.quantities import rfc3339

AllOption = Annotated[bool, typer.Option("--all", help="Every slot of this host.")]


def drain(
    ctx: typer.Context,
    slots: SlotsArgument = None,
    *,
    every: AllOption = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they are empty.")] = False,
    timeout: TimeoutOption = None,
    force: Annotated[bool, typer.Option("--force", help="Stop running jobs too.")] = False,
    note: NoteOption = None,
    yes: YesOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Empty slots, every slot where none is named: busy agents end their job first."""
    if slots and every:
        raise Usage("drain takes slots or --all, not both")
    needs("--timeout", timeout, "--wait", wait)
    needs("--yes", yes, "--force", force)
    seconds = duration(timeout, "--timeout")
    manager = client(ctx, socket, config)
    what = ", ".join(slots) if slots else "every slot"
    if force:
        confirm_end(f"Stop the running jobs of {what}?", yes=yes)
    body = {"slots": slots or None, "force": force}
    # A manager of before knows no note, and refuses what it does not know.
    manager.post("/v1/drain", body if note is None else {**body, "note": note})
    say(f"draining {what}; undone by: mayfly uncordon {' '.join(slots or ['--all'])}")
    if wait:
        await_drained(manager, slots, seconds)


def uncordon(
    ctx: typer.Context,
    slots: SlotsArgument = None,
    *,
    every: AllOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Fill slots again: undoes cordon and drain."""
    _tell(client(ctx, socket, config), "uncordon", "uncordoned", slots, every)


def cordon(
    ctx: typer.Context,
    slots: SlotsArgument = None,
    *,
    every: AllOption = False,
    note: NoteOption = None,
    span: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Undone by itself after 2h…")
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Let no new agent or job into slots; a busy agent goes on."""
    seconds = lasting(span, "--for")
    until = None if seconds is None else rfc3339(time.time() + seconds)
    body = {"slots": _chosen("cordon", slots, every), "until": until, "note": note}
    client(ctx, socket, config).post("/v1/cordon", body)
    undone = " ".join(slots or ["--all"])
    say(f"cordoned {', '.join(slots or ['every slot'])}; undone by: mayfly uncordon {undone}")


def recycle(
    ctx: typer.Context,
    slots: SlotsArgument = None,
    *,
    every: AllOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Replace the agents of slots by fresh ones, busy ones after their job."""
    _tell(client(ctx, socket, config), "recycle", "recycling", slots, every)


def retry(
    ctx: typer.Context,
    slots: SlotsArgument = None,
    *,
    every: AllOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Try a cooling or held slot again now; a container that is held for a person stays."""
    _tell(client(ctx, socket, config), "retry", "trying again", slots, every)


def _tell(manager: Client, verb: str, done: str, slots: list[str] | None, every: bool) -> None:
    manager.post(f"/v1/{verb}", {"slots": _chosen(verb, slots, every)})
    say(f"{done} {', '.join(slots or ['every slot'])}")


def _chosen(verb: str, slots: list[str] | None, every: bool) -> list[str] | None:
    """The slots named; ``None``, which means all, only where that was said."""
    if bool(slots) == every:
        raise Usage(f"{verb} takes slots, or --all for every slot")
    return slots or None
