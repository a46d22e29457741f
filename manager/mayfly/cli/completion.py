"""Names of slots and jobs for the shell's completion: from the manager within 200 ms, or silently none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated

import typer

from mayfly.cli.client import Client, find_socket
from mayfly.cli.talk import elsewhere, where
from mayfly.cli.trouble import Trouble

SECONDS = 0.2
MOST = 200  # jobs that are offered


def complete_slot(ctx: typer.Context, incomplete: str) -> list[str]:
    """The slots that begin with what was typed and were not typed yet."""
    return _named(ctx, incomplete, "slot", "/v1/status", {})


def complete_job(ctx: typer.Context, incomplete: str) -> list[str]:
    """The jobs that have not ended, begin with what was typed and were not typed yet."""
    return _named(ctx, incomplete, "job", "/v1/jobs", {"limit": 0, "most": MOST})


def complete_ended_job(ctx: typer.Context, incomplete: str) -> list[str]:
    """The caller's jobs that ended last and begin with what was typed."""
    return _named(ctx, incomplete, "job", "/v1/jobs", {"mine": 1, "limit": MOST, "most": MOST})


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """The last runs that begin with what was typed."""
    return _named(ctx, incomplete, "run", "/v1/runs", {})


def _named(
    ctx: typer.Context, incomplete: str, kind: str, path: str, query: Mapping[str, object]
) -> list[str]:
    """What that document lists under ``kind`` with an s, by its key ``kind``."""
    given, several = ctx.params, f"{kind}s"
    before = where(ctx)
    try:
        # What is to be had of a cluster, or over ssh, takes too long for a key.
        if given.get("host") or elsewhere(ctx, given.get("socket"), given.get("config")):
            return []
        socket = find_socket(
            given.get("socket") or before.socket, given.get("config") or before.config
        )
        rows = Client(socket, patience=0.0).get(path, query, timeout=SECONDS).get(several, ())
    except Trouble:
        return []
    typed = given.get(several) or ()
    names = [str(row.get(kind)) for row in rows if isinstance(row, dict)]
    return [name for name in names if name.startswith(incomplete) and name not in typed]


def of_words(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Those words, completed."""
    known = [str(word) for word in words]
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def complete_slot_or_job(ctx: typer.Context, incomplete: str) -> list[str]:
    """Both."""
    return [*complete_slot(ctx, incomplete), *complete_job(ctx, incomplete)]


SlotArgument = Annotated[str, typer.Argument(metavar="SLOT", autocompletion=complete_slot)]
SlotsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SLOT...]", autocompletion=complete_slot)
]
SlotOption = Annotated[
    str | None,
    typer.Option("--slot", metavar="SLOT", help="Only this slot.", autocompletion=complete_slot),
]
SlotOrJobArgument = Annotated[
    str, typer.Argument(metavar="SLOT|JOB", autocompletion=complete_slot_or_job)
]
