"""``gpus``: the host's GPUs, who holds them and how they are, with the manager or without."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli import render_gpus
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption
from mayfly.cli.talk import client, print_json, say, terminal_width
from mayfly.cli.trouble import Down, Trouble

if TYPE_CHECKING:
    from mayfly.cli.client import Client, Document

EVERY = 2.0
PATIENCE = 10.0
INTERRUPTED = 130


def gpus(
    ctx: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show them as they change.")] = False,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the GPUs of this host, the slots that hold them, and what is wrong with them."""
    manager = client(ctx, socket, config)
    if watch:
        _watch(manager, as_json)
        return
    document, note = _look(manager)
    if note:
        say(note)
    _show(document, as_json)
    raise typer.Exit(1 if _ill(document) else 0)


def _look(manager: Client) -> tuple[Document, str]:
    """What the manager says, and a note: where none runs, or it watches no GPU, it is what NVML says."""
    try:
        document = manager.get("/v1/gpus")
    except Down:
        return _without_manager(), "the manager is not running: which slots hold them is not shown"
    return (document if document.get("watched") else _without_manager()), ""


def _without_manager() -> Document:
    from mayfly.core.gpus import Gpus  # noqa: PLC0415
    from mayfly.edge.faults import Fault  # noqa: PLC0415  only where no manager has them
    from mayfly.edge.gpus import read_once  # noqa: PLC0415
    from mayfly.service.gpu_document import document, with_users  # noqa: PLC0415

    try:
        reading = read_once(PATIENCE)
    except Fault as fault:
        raise Trouble(str(fault)) from fault
    found = Gpus().read(reading).findings
    return with_users(document(reading.gpus, reading, {}, {}, watched=False, found=found))


def _ill(document: Document) -> bool:
    if document.get("problem") or document.get("late_since"):
        return True
    devices = [part for gpu in document["gpus"] for part in (gpu, *gpu["mig"])]
    sick = any(slot["health"] == "sick" for slot in document["slots"])
    held = any(one["severity"] == "hold" for device in devices for one in device.get("checks", ()))
    return sick or held or any(device["problem"] for device in devices)


def _show(document: Document, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    for line in render_gpus.gpus(document, terminal_width()):
        print(line)


def _watch(manager: Client, as_json: bool) -> None:
    """Show them as they change until interrupted; a failure meanwhile stands above what was seen last."""
    from mayfly.cli.watching import Screen  # noqa: PLC0415  rarely needed

    screen = Screen()
    document: Document = {}
    told = ""
    try:
        while True:
            last, before = document, told
            try:
                document, told = _look(manager)
            except Trouble as trouble:
                if not document:
                    raise
                told = str(trouble)
            if as_json:
                if told != before and told:
                    say(told)
                if {**document, "at": None} != {**last, "at": None}:
                    print_json(document, line=True)
            else:
                width = terminal_width()
                lines = render_gpus.gpus(document, width)
                screen.draw([*([told[:width]] if told else []), *lines], width)
            time.sleep(EVERY)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
