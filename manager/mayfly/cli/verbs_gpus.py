"""``gpus``: the GPUs, who holds them and how they are, with the manager or without; their resets."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mayfly.cli import render_boxes, render_gpus
from mayfly.cli.boxes import several, show
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption, YesOption
from mayfly.cli.talk import client, config_path, elsewhere, print_json, say, terminal_width, where
from mayfly.cli.trouble import Down, Trouble, Usage

if TYPE_CHECKING:
    from mayfly.cli.client import Client, Document

EVERY = 2.0
LOOK = 0.3  # seconds between looks at a reset under way
PATIENCE = 10.0
INTERRUPTED = 130


def gpus(
    ctx: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[heal|unlock]", help="Reset a GPU; or give back clocks that are locked."
        ),
    ] = None,
    gpu: Annotated[
        str | None, typer.Argument(metavar="[GPU]", help="Which, by UUID; the one that is sick.")
    ] = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show them as they change.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what a reset takes.")] = False,
    yes: YesOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="With unlock: also those of a job that runs.")
    ] = False,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the GPUs of this host, who holds them, and what is wrong with them; with `heal` reset one."""
    if what not in (None, "heal", "unlock"):
        raise Usage(f"gpus takes heal, unlock, or nothing, not {what}")
    if force and what != "unlock":
        raise Usage("--force goes with unlock: `mayfly gpus unlock --force`")
    if what != "heal" and (plan or yes):
        raise Usage("--plan and --yes go with heal: `mayfly gpus heal`")
    if what is not None and watch:
        raise Usage(f"--watch shows GPUs: it has no meaning beside {what}")
    if what == "unlock":
        if where(ctx).host or where(ctx).context:
            raise Usage("gpus unlock is about this host: type it on the box")
        if gpu is not None or as_json:
            said = "--json" if gpu is None else gpu
            raise Usage(f"unlock gives back all clocks, in words: leave out {said}")
        _unlock(config_path(ctx, config), force=force)
    if what is None and not watch and (boxes := several(ctx, socket, config)):
        of_boxes = render_boxes.understood(
            boxes.get("/v1/gpus"), lambda one: _ill(one.document or {})
        )
        lines = partial(render_gpus.gpus, width=terminal_width())
        code = show(of_boxes, as_json, lines, apart=True)
        ill = any(one.document is not None and _ill(one.document) for one in of_boxes)
        raise typer.Exit(code or int(ill))
    manager = client(ctx, socket, config)
    if what is not None:
        _heal(manager, gpu, plan=plan, yes=yes, as_json=as_json)
        return
    far = elsewhere(ctx, socket, config)
    if watch:
        _watch(manager, as_json, far=far)
        return
    document, note = _look(manager, far=far)
    if note:
        say(note)
    _show(document, as_json)
    raise typer.Exit(1 if _ill(document) else 0)


def _heal(manager: Client, gpu: str | None, *, plan: bool, yes: bool, as_json: bool) -> None:
    """Show what a reset takes, ask, have it made, and wait for what comes of it."""
    found = manager.post("/v1/gpus/heal", {"gpu": gpu, "dry_run": True})
    if as_json and plan:
        print_json(found)
    else:
        for line in render_gpus.heal_plan(found):
            say(line)
    if plan or found["refusals"]:
        raise typer.Exit(1 if found["refusals"] else 0)
    uuid = str(found["gpu"])
    if not yes:
        if not sys.stdin.isatty():
            raise Usage("this resets a GPU: say --yes where nobody can be asked")
        print(f"Reset {uuid}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise Trouble("nothing was done")
    before = _healed(manager, uuid).get("asked")
    manager.post("/v1/gpus/heal", {"gpu": uuid})
    after = _await_healed(manager, uuid, before)
    if as_json:
        print_json({"schema": "mayfly.healed/1", "gpu": uuid, **after})
    if after["failure"]:
        raise Trouble(str(after["failure"]))
    if not as_json:
        print(f"{uuid} is back in service")


def _healed(manager: Client, uuid: str) -> Document:
    rows = manager.get("/v1/gpus")["gpus"]
    return next((row.get("heal") or {} for row in rows if row["uuid"] == uuid), {})


def _await_healed(manager: Client, uuid: str, before: object) -> Document:
    """What came of it; the manager gives up by itself, so this ends."""
    while True:
        found = _healed(manager, uuid)
        if found.get("asked") not in (None, before) and found.get("ended"):
            return found
        time.sleep(LOOK)


def _unlock(config: str | None, *, force: bool) -> NoReturn:
    """Give back what a manager has locked that is gone; one that runs does it by itself."""
    from mayfly.cli.loading import load_config, translated  # noqa: PLC0415  heavy, and rare
    from mayfly.cli.unlocking import unlocked  # noqa: PLC0415

    with translated():
        lines, every = unlocked(load_config(config).config, force=force)
    for line in lines:
        print(line)
    raise typer.Exit(0 if every else 1)


def _look(manager: Client, *, far: bool) -> tuple[Document, str]:
    """What the manager says, and a note: where none runs, or it watches no GPU, it is what NVML says.
    ``far``: it is not of this host, whose NVML knows nothing of its GPUs.
    """
    try:
        document = manager.get("/v1/gpus")
    except Down:
        if far:
            raise
        return _without_manager(), "the manager is not running: which slots hold them is not shown"
    return (document if far or document.get("watched") else _without_manager()), ""


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


def _watch(manager: Client, as_json: bool, *, far: bool) -> None:
    """Show them as they change until interrupted; a failure meanwhile stands above what was seen last."""
    from mayfly.cli.watching import Screen  # noqa: PLC0415  rarely needed

    screen = Screen()
    document: Document = {}
    told = ""
    try:
        while True:
            last, before = document, told
            try:
                document, told = _look(manager, far=far)
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
