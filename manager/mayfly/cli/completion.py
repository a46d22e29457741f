"""Names of slots and jobs for the shell's completion: from the manager within 200 ms, or silently none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from mayfly.cli.client import Client, find_socket
from mayfly.cli.options import Where
from mayfly.cli.trouble import Trouble

SECONDS = 0.2
MOST = 200  # jobs that are offered


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


def complete_job(ctx: typer.Context, incomplete: str) -> list[str]:
    """The jobs that have not ended and begin with what was typed."""
    given = ctx.params
    before = ctx.obj if isinstance(ctx.obj, Where) else Where()
    try:
        path = find_socket(
            given.get("socket") or before.socket, given.get("config") or before.config
        )
        query = {"limit": 0, "most": MOST}
        rows = Client(path, patience=0.0).get("/v1/jobs", query, timeout=SECONDS).get("jobs", ())
    except Trouble:
        return []
    typed = given.get("jobs") or ()
    names = [str(row.get("job")) for row in rows if isinstance(row, dict)]
    return [name for name in names if name.startswith(incomplete) and name not in typed]


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """The last runs that begin with what was typed."""
    given = ctx.params
    before = ctx.obj if isinstance(ctx.obj, Where) else Where()
    try:
        path = find_socket(
            given.get("socket") or before.socket, given.get("config") or before.config
        )
        rows = Client(path, patience=0.0).get("/v1/runs", timeout=SECONDS).get("runs", ())
    except Trouble:
        return []
    names = [str(row.get("run")) for row in rows if isinstance(row, dict)]
    return [name for name in names if name.startswith(incomplete)]


def of_words(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Those words, completed."""
    known = [str(word) for word in words]
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


SlotArgument = Annotated[str, typer.Argument(metavar="SLOT", autocompletion=complete_slot)]
SlotsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SLOT...]", autocompletion=complete_slot)
]
SlotOption = Annotated[
    str | None,
    typer.Option("--slot", metavar="SLOT", help="Only this slot.", autocompletion=complete_slot),
]
SlotOrJobArgument = Annotated[str, typer.Argument(metavar="SLOT|JOB", autocompletion=complete_slot)]
