"""How the pool stands: ``status`` once or watched, and ``wait`` until it stands as asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from mayfly.cli.client import Client, Document
from mayfly.cli.options import ConfigOption, HostOption, JsonOption, SocketOption, TimeoutOption
from mayfly.cli.standing import show
from mayfly.cli.talk import client, duration, say
from mayfly.cli.trouble import Down, TimedOut, Trouble, Usage

POLL = 20.0


def status(
    ctx: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it as it changes.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="A row for each slot, however many there are.")
    ] = False,
    as_json: JsonOption = False,
    host: HostOption = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what every slot is doing and why; at most a screen, unless --all is given."""
    raise typer.Exit(
        show(
            ctx,
            watch=watch,
            every=every,
            as_json=as_json,
            host=host,
            socket=socket,
            config=config,
        )
    )


class Goal(StrEnum):
    """What can be waited for."""

    IDLE = "idle"
    DRAINED = "drained"


def wait(
    ctx: typer.Context,
    *,
    goal: Annotated[
        Goal | None, typer.Option("--for", help="idle: every slot; drained: none is left.")
    ] = None,
    timeout: TimeoutOption = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Wait until every slot is idle, or until no container of ours is left."""
    if goal is None:
        raise Usage("what for? --for idle: until every slot is; --for drained: until none is left")
    manager = client(ctx, socket, config)
    seconds = duration(timeout, "--timeout")
    if goal is Goal.DRAINED:
        await_status(manager, lambda document: _drained(document, None), seconds)
        return
    document = await_status(manager, _settled, seconds)
    held = [str(s["slot"]) for s in document["slots"] if s["phase"] == "held"]
    if held:
        raise Trouble(f"held, and waiting for a person: {', '.join(held)}; see mayfly status")


def _settled(document: Document) -> str | None:
    """What is still in the way of every slot being idle or held; ``None`` where nothing is."""
    slots = document.get("slots", ())
    # One that is held for a person goes on by itself.
    moving = [s for s in slots if s.get("phase") not in {"idle", "held"} or s.get("held")]
    if not moving:
        return None
    return ", ".join(_standing(slot) for slot in moving)


def _standing(slot: dict[str, Any]) -> str:
    cordoned = ", cordoned" if slot.get("cordoned") else ""
    return f"{slot.get('slot')} is {slot.get('phase')}{cordoned}"


def _drained(document: Document, slots: Sequence[str] | None) -> str | None:
    """Which slots still have a container; ``None`` where none has."""
    left = [
        slot
        for slot in document.get("slots", ())
        if (slots is None or slot.get("slot") in slots)
        and any(slot.get(key) is not None for key in ("agent", "container", "standby", "sandbox"))
    ]
    return ", ".join(_standing(slot) for slot in left) or None


def await_drained(manager: Client, slots: Sequence[str] | None, seconds: float | None) -> None:
    """Wait until these slots, or all, are cordoned and without a container."""

    def left(document: Document) -> str | None:
        open_still = [
            str(slot.get("slot"))
            for slot in document.get("slots", ())
            if (slots is None or slot.get("slot") in slots) and not slot.get("cordoned")
        ]
        return ", ".join(open_still) or _drained(document, slots)

    await_status(manager, left, seconds)


def await_gone(manager: Client, slots: Sequence[str], seconds: float | None) -> None:
    """Wait until nothing is left in these slots, which get no agent any more."""
    if slots:
        await_status(manager, lambda document: _drained(document, slots), seconds)


def await_status(
    manager: Client, left: Callable[[Document], str | None], seconds: float | None
) -> Document:
    """The first status in which nothing is left to wait for.

    A manager that does not answer is waited for too; ``TimedOut`` when the time is up.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    rev, reason = 0, ""
    while True:
        remaining = POLL if deadline is None else deadline - time.monotonic()
        try:
            document = manager.get(
                "/v1/status",
                {"after": rev, "wait": f"{max(0.0, min(POLL, remaining)):.3f}"},
                timeout=max(1.0, min(POLL, remaining)) + 5,
            )
            rev = int(document.get("rev", 0))
            found = left(document)
            if found is None:
                return document
        except (Down, TimedOut) as trouble:
            rev, found = 0, str(trouble).split("\n", maxsplit=1)[0]
            time.sleep(max(0.0, min(0.3, remaining)))
        if deadline is not None and time.monotonic() >= deadline:
            raise TimedOut(f"timed out after {seconds:g} s: {found}")
        if found != reason and sys.stderr.isatty():
            say(f"waiting: {found}")
        reason = found
