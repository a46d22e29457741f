"""``attach SLOT|JOB``: a terminal, or one command, beside a job that runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mayfly.cli.boxes import found_by
from mayfly.cli.client import Client, segment
from mayfly.cli.completion import SlotOrJobArgument
from mayfly.cli.misunderstood import words_behind
from mayfly.cli.options import ConfigOption, SocketOption
from mayfly.cli.talk import say
from mayfly.cli.trouble import Usage

FAILED = 1


def attach(
    ctx: typer.Context,
    name: SlotOrJobArgument,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- CMD...]", help="Instead of a shell.")
    ] = None,
    *,
    extend: Annotated[
        str | None,
        typer.Option(
            "--extend", metavar="TIME", help="Open nothing; a held container stays so much longer."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Open nothing; give a held container up, as release does."),
    ] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Open a terminal beside a running job, or in a held one, as its user; or run one command there."""
    extend, resume, command = _behind(extend, resume, command)
    if extend is not None or resume:
        if command or (extend is not None and resume):
            raise Usage("--extend and --resume open nothing: say one of them, and no command")
        manager, name = found_by(ctx, socket, config, name)
        _tended(manager, name, extend)
        return
    from mayfly.cli.attaching import Interrupted, conversation, terminal_size  # noqa: PLC0415
    from mayfly.cli.verbs_hold import of_slot_or_job  # noqa: PLC0415
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
    way = of_slot_or_job(
        name,
        lambda whose: manager.upgraded(f"/v1/{whose}/{segment(name)}/attach", body, PROTOCOL),
    )
    try:
        end = conversation(*way, terminal=size is not None)
    except Interrupted as interrupted:
        say(f"{interrupted}; the job in {name} goes on")
        raise typer.Exit(interrupted.code) from None
    if end.sentence:
        say(end.sentence)
    raise typer.Exit(FAILED if end.exit_code is None else end.exit_code)


def _tended(manager: Client, name: str, extend: str | None) -> None:
    from mayfly.cli.verbs_hold import extended, given_up  # noqa: PLC0415

    if extend is None:
        given_up(manager, name)
    else:
        extended(manager, name, extend)


def _behind(
    extend: str | None, resume: bool, words: list[str] | None
) -> tuple[str | None, bool, list[str] | None]:
    """The same, with what is typed behind the job of the options that open nothing."""
    if words == ["--resume"]:
        return extend, True, None
    if words and words[0] == "--extend" and len(words) == 2:
        return words[1], resume, None
    if words and len(words) == 1 and words[0].startswith("--extend="):
        return words[0].partition("=")[2], resume, None
    return extend, resume, words
