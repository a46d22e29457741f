"""``bugreport``: one file with all that somebody needs who looks for a fault, and with no secret in it."""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mayfly import __version__
from mayfly.cli.client import Client
from mayfly.cli.options import ConfigOption, SocketOption
from mayfly.cli.talk import client, config_path, say
from mayfly.cli.trouble import TimedOut, Trouble
from mayfly.edge.token_looks import without_tokens

SCHEMA = "mayfly.bugreport/1"
EVENTS = 500  # the last ones
SECONDS = 10.0  # the manager may say nothing; then it is asked no more
MOMENT = 2.0
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
        typer.Option("--output", "-o", metavar="FILE", help="A new file; - is standard output."),
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Write one file to send: versions, configuration, conditions, events, the doctor's word, last steps."""
    path = config_path(ctx, config)
    manager = _Manager(lambda: client(ctx, socket, config).path)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {
            "mayfly": __version__,
            "python": sys.version.split()[0],
            "system": platform.platform(),
        },
        "config": _told(lambda: _config(path)),
    }
    with _told_while_waiting(f"the manager, at most {SECONDS:.0f} s an answer"):
        for part, where in PARTS.items():
            document[part] = _told(lambda where=where: manager.ask().get(where))  # type: ignore[misc]
    with _told_while_waiting("what `mayfly doctor` looks at: the Engine and the services"):
        document["doctor"] = _told(lambda: _doctor(path, manager.ask))
    # What UTF-8 has no bytes for becomes JSON's own escape of it.
    text = without_tokens(json.dumps(document, ensure_ascii=False))
    data = text.encode("utf-8", "backslashreplace") + b"\n"
    if str(output) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        file = "standard output"
    else:
        file = str(_written(output, data))
    missing = [part for part in document if "unknown" in document[part]]
    say(f"{file}: secrets are left out; look through it before you send it")
    if missing:
        say(f"not in it: {', '.join(missing)}; the report says why")


class _Manager:
    """The manager, which is asked no more once it has let somebody wait in vain."""

    def __init__(self, find: Callable[[], str]) -> None:
        self._find = find
        self._silent: Trouble | None = None

    def ask(self) -> Client:
        if self._silent is not None:
            raise self._silent
        return _Impatient(self._find(), self._gave_up)

    def _gave_up(self, why: Trouble) -> None:
        self._silent = why


class _Impatient(Client):
    def __init__(self, path: str, gave_up: Callable[[Trouble], None]) -> None:
        super().__init__(path, say, patience=SECONDS, seconds=SECONDS)
        self._gave_up = gave_up

    def get(
        self, path: str, query: Mapping[str, object] | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        try:
            return super().get(path, query, timeout)
        except TimedOut as error:
            self._gave_up(error)
            raise


@contextmanager
def _told_while_waiting(what: str) -> Iterator[None]:
    """People are told what is waited for, where that takes more than a moment."""
    timer = threading.Timer(MOMENT, say, [f"waiting for {what}"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _written(output: Path | None, data: bytes) -> Path:
    """A new file that only its owner can read, whole or not there."""
    file = output or Path(time.strftime("mayfly-bugreport-%Y%m%d-%H%M%S.json"))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError as error:
        raise Trouble(f"{file} is there already: name another file, or remove it") from error
    except OSError as error:
        raise Trouble(f"{file} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise Trouble(f"{file} cannot be written: {error.strerror}") from error
    return file


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


def _doctor(path: str | None, manager: Callable[[], Client]) -> Any:
    from mayfly.cli import render_doctor  # noqa: PLC0415  brings most of Mayfly
    from mayfly.cli.doctor import results  # noqa: PLC0415
    from mayfly.cli.examination import examine  # noqa: PLC0415

    return render_doctor.document(results(examine(path, manager)))
