"""What happened and why, and what is about to: ``describe``, ``events``, ``history``, ``plan``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer

from mayfly.cli import render_gpus, render_history
from mayfly.cli.boxes import found_by, several, show
from mayfly.cli.client import Client, Document, segment
from mayfly.cli.completion import SlotOption, SlotOrJobArgument
from mayfly.cli.following import Away
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption
from mayfly.cli.standing import first_status, fitted, slot_of
from mayfly.cli.talk import (
    client,
    config_path,
    elsewhere,
    moment_of,
    place,
    print_json,
    terminal_width,
)
from mayfly.cli.trouble import Down, NoSuch, TimedOut, Usage
from mayfly.core.model import Cause
from mayfly.core.outcomes import Result

POLL = 30.0
INTERRUPTED = 130
LAST_EVENTS = 10
LAST_AGENTS = 5
OUTCOMES = tuple(dict.fromkeys(str(word) for word in (*Result, *Cause)))


def describe(
    ctx: typer.Context,
    name: SlotOrJobArgument,
    *,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Tell a slot's story: what it is doing and why, its last agents and events; or a job's."""
    manager, name = found_by(ctx, socket, config, name)
    status = first_status(manager)
    try:
        row = slot_of(status, name)
    except NoSuch as trouble:
        _describe_job(manager, name, as_json, trouble)
        return
    document = {
        "schema": "mayfly.describe/1",
        "slot": row,
        "health": [line for line in status.get("health", ()) if name in str(line.get("text"))],
        "agents": _agents(manager, {"slot": name, "limit": LAST_AGENTS}),
        "events": _events(manager, {"slot": name, "limit": LAST_EVENTS}),
    }
    if as_json:
        print_json(document)
        return
    document = fitted(document, place(ctx, socket, config))
    for line in render_history.describe(document, time.time(), terminal_width()):
        print(line)


def _describe_job(manager: Client, job: str, as_json: bool, no_slot: NoSuch) -> None:
    try:
        row = manager.get(f"/v1/jobs/{segment(job)}")
    except NoSuch:
        raise no_slot from None
    if as_json:
        print_json({"schema": "mayfly.describe/1", "job": row})
        return
    for line in render_history.describe_job(row, time.time(), terminal_width()):
        print(line)


def _agents(manager: Client, query: Mapping[str, object]) -> list[Document]:
    rows = manager.get("/v1/history", query).get("agents")
    return rows if isinstance(rows, list) else []


def _events(manager: Client, query: Mapping[str, object], timeout: float = POLL) -> list[Document]:
    rows = manager.get("/v1/events", query, timeout=timeout + 10).get("events")
    return rows if isinstance(rows, list) else []


def events(
    ctx: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they happen.")] = False,
    slot: SlotOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=1000, help="How many of the past.")
    ] = 100,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List what happened, oldest first."""
    if slot is None and not follow and (boxes := several(ctx, socket, config)):
        found = boxes.get("/v1/events", {"limit": limit}, POLL)
        raise typer.Exit(show(found, as_json, _events_of_boxes))
    manager, slot = _asked(ctx, socket, config, slot)
    rows = _events(manager, {"slot": slot, "limit": limit})
    _found(manager, slot, rows)
    if as_json and not follow:
        print_json({"schema": "mayfly.events/1", "events": rows})
        return
    _print_events(rows, as_json)
    if follow:
        try:
            _follow_events(manager, rows, slot, as_json)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def _asked(
    ctx: typer.Context, socket: str | None, config: str | None, slot: str | None
) -> tuple[Client, str | None]:
    """The manager that is asked, the one of that slot where one is named, and the slot's name there."""
    if slot is None:
        return client(ctx, socket, config), None
    return found_by(ctx, socket, config, slot)


def _events_of_boxes(document: Document) -> list[str]:
    rows = sorted(document.get("events", ()), key=lambda row: str(row.get("at")))
    return [render_history.whole_event(row, terminal_width()) for row in rows]


def _history_of_boxes(document: Document) -> list[str]:
    rows = sorted(document.get("agents", ()), key=lambda row: str(row.get("exited")))
    return render_history.history(rows, time.time(), terminal_width())


def _found(manager: Client, slot: str | None, rows: list[Document]) -> None:
    """``NoSuch`` where nothing is known of a slot because there is none of that name."""
    if slot is not None and not rows:
        slot_of(first_status(manager), slot)


def _print_events(rows: list[Document], as_json: bool) -> None:
    width = terminal_width()
    for row in rows:
        if as_json:
            print_json({"schema": "mayfly.event/1", **row}, line=True)
        else:
            print(render_history.whole_event(row, width), flush=True)


def _follow_events(manager: Client, rows: list[Document], slot: str | None, as_json: bool) -> None:
    last = _last(rows, 0)
    away = Away()
    while True:
        try:
            rows = _events(manager, {"after": last, "wait": POLL, "slot": slot})
            away.back()
        except (Down, TimedOut) as trouble:
            away.gone(trouble)
            time.sleep(0.5)
            continue
        _print_events(rows, as_json)
        last = _last(rows, last)


def _last(rows: list[Document], otherwise: int) -> int:
    return max((int(row.get("seq", 0)) for row in rows), default=otherwise)


def history(
    ctx: typer.Context,
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="A time, or 24h ago.")
    ] = None,
    slot: SlotOption = None,
    outcome: Annotated[
        str | None, typer.Option("--outcome", help="Only agents that ended so, or for that cause.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="UUID", help="Only agents with this GPU.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=100_000, help="The latest so many.")
    ] = 100,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List agents that ended, the latest last."""
    if outcome is not None and outcome not in OUTCOMES:
        raise Usage(f"--outcome: there is no {outcome!r}; there are {', '.join(OUTCOMES)}")
    query = {
        "since": moment_of(since),
        "slot": slot,
        "outcome": outcome,
        "gpu": gpu,
        "limit": limit,
    }
    if slot is None and gpu is None and (boxes := several(ctx, socket, config)):
        found = boxes.get("/v1/history", query)
        raise typer.Exit(show(found, as_json, _history_of_boxes))
    manager, slot = _asked(ctx, socket, config, slot)
    query["slot"] = slot
    rows = _agents(manager, query)
    _found(manager, slot, rows)
    if gpu is not None and not rows:
        _known_gpu(manager, gpu)
    of_gpus = _by_gpu(manager, query) if gpu is not None else []
    if as_json:
        told = {"gpus": of_gpus} if gpu is not None else {}
        print_json({"schema": "mayfly.history/1", "agents": rows, **told})
        return
    for line in render_history.history(rows, time.time(), terminal_width()):
        print(line)
    if gpu is not None:
        print(f"\n{render_gpus.beside(gpu, of_gpus)}")


def _known_gpu(manager: Client, gpu: str) -> None:
    """``NoSuch`` where no agent had that GPU because there is none."""
    there = [str(one.get("uuid")) for one in manager.get("/v1/gpus").get("gpus", ())]
    if gpu not in there:
        raise NoSuch(f"no agent had a GPU {gpu}; there are: {', '.join(there) or 'none'}")


def _by_gpu(manager: Client, query: Mapping[str, object]) -> list[Document]:
    """How many jobs each GPU had in the same time, and how many of them failed."""
    everything = {**query, "gpu": None, "outcome": None, "slot": None, "limit": 100_000}
    return render_gpus.by_gpu(_agents(manager, everything))


def plan(
    ctx: typer.Context,
    *,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what the next pass would do and why; without the daemon, rosters are unknown."""
    if boxes := several(ctx, socket, config):
        planned = boxes.get("/v1/plan")
        lines = partial(render_history.plan, width=terminal_width())
        raise typer.Exit(show(planned, as_json, lines, apart=True))
    far = elsewhere(ctx, socket, config)
    try:
        document = client(ctx, socket, config).get("/v1/plan")
    except Down:
        if far:
            raise
        document = {}
    if not document and far:  # this host's plan would be another one
        raise Down("the manager has not finished a pass yet: ask again")
    if not document:
        # Not while the other trouble is dealt with: what the Engine says is not to be taken for that.
        document = _offline(config_path(ctx, config))
    if as_json:
        print_json(document)
        return
    for line in render_history.plan(document, terminal_width()):
        print(line)


def _offline(path: str | None) -> Document:
    """The plan that a manager started now would have."""
    from mayfly.cli.host_hardware import hardware_for  # noqa: PLC0415  heavy, and rare
    from mayfly.cli.loading import load_config, translated  # noqa: PLC0415
    from mayfly.service.offline_plan import offline_plan  # noqa: PLC0415

    config = load_config(path).config
    with translated():
        return offline_plan(config, hardware_for(config))
