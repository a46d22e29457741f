"""``attach SLOT|JOB``: a terminal, or one command, beside a job that runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mayfly.cli.boxes import found_by
from mayfly.cli.client import segment
from mayfly.cli.completion import SlotOrJobArgument
from mayfly.cli.misunderstood import words_behind
from mayfly.cli.options import ConfigOption, SocketOption
from mayfly.cli.talk import say
from mayfly.cli.trouble import NoSuch

FAILED = 1


def attach(
    ctx: typer.Context,
    name: SlotOrJobArgument,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- CMD...]", help="Instead of a shell.")
    ] = None,
    *,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Open a terminal beside a running job, as its user and in its directory; or run one command there."""
    from mayfly.cli.attaching import Interrupted, conversation, terminal_size  # noqa: PLC0415
    from mayfly.core.attaching import PROTOCOL, TYPE  # noqa: PLC0415

    argv = words_behind("job", command)
    seen = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    size = terminal_size() if seen else None
    body: dict[str, object] = {"argv": argv} if argv else {}
    if size is not None:
        kind = os.environ.get("TERM", "")
        body |= {"rows": size.rows, "columns": size.columns}
        body |= {"term": kind} if TYPE.fullmatch(kind) else {}
    manager, name = found_by(ctx, socket, config, name)
    try:
        way = manager.upgraded(f"/v1/slots/{segment(name)}/attach", body, PROTOCOL)
    except NoSuch:
        try:
            way = manager.upgraded(f"/v1/jobs/{segment(name)}/attach", body, PROTOCOL)
        except NoSuch as trouble:
            raise NoSuch(f"there is no slot or job {name}") from trouble
    try:
        end = conversation(*way, terminal=size is not None)
    except Interrupted as interrupted:
        say(f"{interrupted}; the job in {name} goes on")
        raise typer.Exit(interrupted.code) from None
    if end.sentence:
        say(end.sentence)
    raise typer.Exit(FAILED if end.exit_code is None else end.exit_code)
