"""How the pool stands, as ``status`` shows it. It is asked most of all: nothing heavy is imported here."""

from __future__ import annotations

import time
from dataclasses import replace

from mayfly.cli import render
from mayfly.cli.client import Client, Document
from mayfly.cli.paste import Here, to_paste
from mayfly.cli.talk import (
    Called,
    client,
    colours,
    hosts,
    place,
    print_json,
    terminal_height,
    terminal_width,
    where,
)
from mayfly.cli.trouble import NoSuch

START_SECONDS = 10.0  # a manager that answers but has not finished a pass


def show(
    ctx: Called,
    *,
    watch: bool = False,
    every: bool = False,
    as_json: bool = False,
    host: str | None = None,
    socket: str | None = None,
    config: str | None = None,
) -> int:
    """Print it, once or as it changes; the exit code."""
    if host is not None:
        ctx.obj = replace(where(ctx), host=host)
    if len(hosts(ctx, socket, config)) > 1:
        from mayfly.cli import boxes, standing_of_boxes  # noqa: PLC0415  rarely needed

        found = boxes.Boxes(hosts(ctx, socket, config))
        return standing_of_boxes.show(found, watch=watch, every=every, as_json=as_json)
    manager = client(ctx, socket, config)
    if watch:
        from mayfly.cli.watching import watch_status  # noqa: PLC0415  rarely needed

        watch_status(
            manager,
            as_json,
            every=every,
            fitted=lambda document: fitted(document, place(ctx, socket, config)),
        )
    document = _without_rev(first_status(manager))
    if as_json:
        print_json(document)
    else:
        document = fitted(document, place(ctx, socket, config))
        height = None if every else terminal_height()
        for line in render.status(document, time.time(), terminal_width(), colours(), height):
            print(line)
    return 1 if degraded(document) else 0


def first_status(manager: Client) -> Document:
    """The published status; a manager that has only begun gets a few seconds."""
    return manager.get("/v1/status", {"wait": START_SECONDS})


def slot_of(document: Document, slot: str) -> Document:
    """A slot's row of the status; ``NoSuch`` where no slot has that name."""
    rows = {str(row.get("slot")): row for row in document.get("slots", ())}
    if slot not in rows:
        raise NoSuch(f"there is no slot {slot}; there are: {', '.join(rows) or 'none'}")
    row: Document = rows[slot]
    return row


def fitted(document: Document, place: Here) -> Document:
    """The document with each line to paste as it works for who asked."""
    lines = [
        {**line, "fix": to_paste(str(line["fix"]), place)} if line.get("fix") else line
        for line in document.get("health", ())
    ]
    return {**document, "health": lines}


def _without_rev(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "rev"}


def degraded(document: Document) -> bool:
    """Whether a person is needed: a held slot, or an error among the health lines."""
    held = any(
        slot.get("phase") == "held" and not slot.get("held") for slot in document.get("slots", ())
    )
    return held or any(line.get("severity") == "error" for line in document.get("health", ()))
