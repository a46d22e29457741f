"""Slot names for the shell's completion: from the manager within 200 ms, or silently none."""

from __future__ import annotations

from typing import Annotated

import typer

from mayfly.cli.client import Client, find_socket
from mayfly.cli.options import Where
from mayfly.cli.trouble import Trouble

SECONDS = 0.2


def complete_slot(ctx: typer.Context, incomplete: str) -> list[str]:
    """The slots that begin with what was typed and were not typed yet."""
    given = ctx.params
    before = ctx.obj if isinstance(ctx.obj, Where) else Where()
    try:
        path = find_socket(
            given.get("socket") or before.socket, given.get("config") or before.config
        )
        rows = Client(path, patience=0.0).get("/v1/status", timeout=SECONDS).get("slots", ())
    except Trouble:
        return []
    typed = given.get("slots") or ()
    names = [str(row.get("slot")) for row in rows if isinstance(row, dict)]
    return [name for name in names if name.startswith(incomplete) and name not in typed]


SlotArgument = Annotated[str, typer.Argument(metavar="SLOT", autocompletion=complete_slot)]
SlotsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SLOT...]", autocompletion=complete_slot)
]
SlotOption = Annotated[
    str | None,
    typer.Option("--slot", metavar="SLOT", help="Only this slot.", autocompletion=complete_slot),
]
SlotOrJobArgument = Annotated[str, typer.Argument(metavar="SLOT|JOB", autocompletion=complete_slot)]
