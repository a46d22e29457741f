"""``reserve`` and ``reservations``: GPUs for oneself for a while. What gives them back: ``verbs_hold.py``."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from mayfly.cli import render_reservations
from mayfly.cli.boxes import several, show
from mayfly.cli.client import Client, Document, segment
from mayfly.cli.options import ConfigOption, JsonOption, SocketOption
from mayfly.cli.talk import client, needs, print_json, say, terminal_width
from mayfly.cli.talk import lasting as in_seconds
from mayfly.cli.trouble import Usage
from mayfly.core.quantities import moment, parse_duration, rfc3339

OF_THE_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
LOOK = 2.0  # seconds between two looks at whether one has begun
INTERRUPTED = 130


def reserve(
    ctx: typer.Context,
    *,
    lasting: Annotated[
        str,
        typer.Option("--for", metavar="TIME", help="For how long; with --extend: how much longer."),
    ],
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="How many GPUs.")] = 1,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="From when: 14:00 here, 2h from now, a date; else at once."
        ),
    ] = None,
    pool: Annotated[
        str | None, typer.Option("--pool", metavar="POOL", help="In this pool.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="IMAGE", help="The image of the shell; else the pool's own."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="The shell begins in a copy of this folder."),
    ] = None,
    outside: Annotated[
        bool,
        typer.Option("--outside", help="No shell: the GPUs alone, for work outside of containers."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it has begun; print its GPUs.")
    ] = False,
    extend: Annotated[
        str | None,
        typer.Option("--extend", metavar="ID", help="Let this reservation end later instead."),
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Reserve GPUs for yourself for a while: a shell in a container, or the GPUs alone."""
    seconds = in_seconds(lasting, "--for")
    manager = client(ctx, socket, config)
    if extend is not None:
        for name, given in (("--at", at), ("--pool", pool), ("--image", image), ("--dir", folder)):
            needs(name, given, "a new reservation, not --extend", False)
        for name, said in (("--outside", outside), ("--wait", wait)):
            needs(name, said, "a new reservation, not --extend", False)
        answer = manager.post(f"/v1/reservations/{segment(extend)}/extend", {"for": seconds})
        say(f"reservation {extend} ends at {_here(answer.get('until'))}")
        return
    if outside:
        needs("--image", image, "a shell, not --outside", False)
        needs("--dir", folder, "a shell, not --outside", False)
    body: dict[str, object] = {"gpus": gpus, "for": seconds, "outside": outside}
    body |= {"at": None if at is None else _moment(at), "pool": pool, "image": image}
    if folder is not None:
        from mayfly.cli.sending import sent_folder  # noqa: PLC0415

        body["workspace"] = sent_folder(manager, folder, [])
    told = {key: one for key, one in body.items() if one is not None}
    answer = manager.post("/v1/reservations", told)
    name = str(answer["reservation"])
    booked = answer.get("booked", True)
    turn = (
        "after the job that runs there then" if booked else "in its turn among the jobs that wait"
    )
    enter = f"; enter it with `mayfly attach {name}`" if not outside else ""
    say(
        f"reserved in pool {answer.get('pool')} from {_here(answer.get('start'))} until "
        f"{_here(answer.get('until'))}, {turn}{enter}"
    )
    print(name)
    if wait:
        _wait(manager, name)


def _wait(manager: Client, name: str) -> None:
    """Until it has begun; what it has got on standard output, a GPU a line."""
    try:
        while (row := _row(manager, name)).get("state") != "active":
            time.sleep(LOOK)
    except KeyboardInterrupt:
        say(f"reservation {name} stands; give it up: mayfly release {name}")
        raise typer.Exit(INTERRUPTED) from None
    say(f"it has begun, and ends at {_here(row.get('until'))}")
    devices: Any = row.get("devices") or ()
    for device in devices:
        print(device)


def _row(manager: Client, name: str) -> Mapping[str, object]:
    rows = manager.get("/v1/reservations", {}).get("reservations", ())
    found = next((row for row in rows if row.get("reservation") == name), None)
    if found is None:
        say(f"reservation {name} is over before it began: mayfly events")
        raise typer.Exit(1)
    return dict(found)


def reservations(
    ctx: typer.Context,
    *,
    as_json: JsonOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """List the reserved GPUs: whose they are, from when until when."""
    if boxes := several(ctx, socket, config):
        found = boxes.get("/v1/reservations")
        raise typer.Exit(show(found, as_json, _lines))
    document = client(ctx, socket, config).get("/v1/reservations", {})
    if as_json:
        print_json(document)
        return
    if not document.get("reservations"):
        say("nothing is reserved")
        return
    for line in _lines(document):
        print(line)


def _lines(document: Document) -> list[str]:
    return render_reservations.reservations(document, time.time(), terminal_width(), None)


def given_back(manager: Client, name: str) -> None:
    """Give a reservation back, or up before it begins, and say so; ``NoSuch`` where there is none."""
    manager.post(f"/v1/reservations/{segment(name)}/release", {})
    say(f"reservation {name} is given back")


def _moment(text: str) -> str:
    """A time as the manager reads it: of the clock of this terminal, so long from now, or a whole one."""
    clock = OF_THE_CLOCK.fullmatch(text.strip())
    if clock is not None:
        here = datetime.now().astimezone()
        then = here.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        if then < here - timedelta(minutes=1):  # of tomorrow
            then += timedelta(days=1)
        return rfc3339(then.timestamp())
    if (whole := moment(text)) is not None:
        return rfc3339(whole)
    try:
        return rfc3339(time.time() + parse_duration(text))
    except ValueError as error:
        raise Usage(
            f'--at: {text!r} is no time; write for example "14:00", "2h" or "2026-11-21T09:30:00Z"'
        ) from error


def _here(value: object) -> str:
    return render_reservations.moment(value, time.time(), None)
