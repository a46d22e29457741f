"""``hold`` and ``release``: a job's container stays when the job has ended, for its owner to go into."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import typer

from mayfly.cli.boxes import found_by
from mayfly.cli.client import Client, Document, segment
from mayfly.cli.completion import SlotOrJobArgument
from mayfly.cli.options import ConfigOption, SocketOption
from mayfly.cli.render import seconds, text
from mayfly.cli.talk import lasting, say
from mayfly.cli.trouble import NoSuch
from mayfly.core.held_jobs import OPERATORS, until_words
from mayfly.core.quantities import written_duration

T = TypeVar("T")


def hold(
    ctx: typer.Context,
    name: SlotOrJobArgument,
    *,
    span: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TIME", help="For how long from its end; as its pool has it."
        ),
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Keep a job's container and GPUs when the job ends, to go into: `mayfly attach`."""
    body = {"seconds": lasting(span, "--for")} if span is not None else {}
    manager, name = found_by(ctx, socket, config, name)
    answer = asked(manager, name, "hold", body)
    whom = text(answer.get("user")) or OPERATORS
    until = seconds(answer.get("until"))
    if until is None:
        length = written_duration(round(float(answer.get("seconds") or 0)))
        say(
            f"when {name} ends it is held for {whom} for {length}; to take that back: mayfly release {name}"
        )
    else:
        say(f"{name} is held for {whom} until {of_day(until)}: mayfly attach {name}")


def release(
    ctx: typer.Context,
    name: SlotOrJobArgument,
    *,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Give a held container up, or a reservation back by its id: what runs there ends, its slot goes on."""
    from mayfly.cli.verbs_reserve import given_back  # noqa: PLC0415

    manager, name = found_by(ctx, socket, config, name)
    try:
        given_back(manager, name)
    except NoSuch:
        given_up(manager, name)


def given_up(manager: Client, name: str) -> None:
    """Give it up, and say so."""
    answer = asked(manager, name, "release", {})
    slot = text(answer.get("slot"))
    say(f"{name} is held no longer" + (f"; slot {slot} goes on" if slot else ""))


def extended(manager: Client, name: str, span: str) -> None:
    """Have it held for longer, and say until when."""
    answer = asked(manager, name, "extend", {"seconds": lasting(span, "--extend")})
    until = seconds(answer.get("until"))
    say(f"{name} is held until {of_day(until) if until is not None else 'later'}")


def asked(manager: Client, name: str, verb: str, body: Mapping[str, object]) -> Document:
    """What the manager answers of the slot, or the job, of that name."""
    return of_slot_or_job(
        name, lambda whose: manager.post(f"/v1/{whose}/{segment(name)}/{verb}", body)
    )


def of_slot_or_job(name: str, ask: Callable[[str], T]) -> T:
    """What comes of asking it of ``slots``, or else of ``jobs``."""
    try:
        return ask("slots")
    except NoSuch:
        try:
            return ask("jobs")
        except NoSuch as trouble:
            raise NoSuch(f"there is no slot or job {name}") from trouble


def of_day(until: float) -> str:
    """A time as whoever reads it has it."""
    return until_words(until, time.time())
