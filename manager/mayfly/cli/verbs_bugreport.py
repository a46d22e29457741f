"""``bugreport``: one file with all that somebody needs who looks for a fault, and with no secret in it."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mayfly import __version__
from mayfly.cli.options import ConfigOption, SocketOption, client, config_path, say
from mayfly.cli.trouble import Trouble

if TYPE_CHECKING:
    from mayfly.cli.client import Client

SCHEMA = "mayfly.bugreport/1"
EVENTS = 500  # the last ones
PARTS = {
    "manager": "/v1/version",
    "status": "/v1/status",
    "events": f"/v1/events?limit={EVENTS}",
    "recording": "/v1/recording",
}


def bugreport(
    ctx: typer.Context,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it."),
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Write one file to send: versions, configuration, conditions, events, the doctor's word, last steps."""
    manager = client(ctx, socket, config)
    path = config_path(ctx, config)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {
            "mayfly": __version__,
            "python": sys.version.split()[0],
            "system": platform.platform(),
        },
        "config": _told(lambda: _config(path)),
        "doctor": _told(lambda: _doctor(path, manager)),
    }
    for part, where in PARTS.items():
        document[part] = _told(lambda where=where: manager.get(where))  # type: ignore[misc]
    file = output or Path(time.strftime("mayfly-bugreport-%Y%m%d-%H%M%S.json"))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(document, opened, ensure_ascii=False)
            opened.write("\n")
    except OSError as error:
        raise Trouble(f"{file} cannot be written: {error.strerror}") from error
    missing = [part for part in document if "unknown" in document[part]]
    say(f"{file}: secrets are left out; look through it before you send it")
    if missing:
        say(f"not in it: {', '.join(missing)}; the file says why")


def _told(ask: Callable[[], Any]) -> Any:
    """What somebody says, or why that is not known: a report is written whatever is broken."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001  what is broken is what the report is for
        return {"unknown": f"{type(error).__name__}: {error}"}


def _config(path: str | None) -> Any:
    from mayfly.core.codec import encoded  # noqa: PLC0415  brings most of Mayfly
    from mayfly.providers.configuration import load  # noqa: PLC0415  pydantic is heavy

    return encoded(load(path).config)


def _doctor(path: str | None, manager: Client) -> Any:
    from mayfly.cli import render_doctor  # noqa: PLC0415  brings most of Mayfly
    from mayfly.cli.doctor import results  # noqa: PLC0415
    from mayfly.cli.examination import examine  # noqa: PLC0415

    return render_doctor.document(results(examine(path, lambda: manager)))
