"""What is remembered of the services' clients, as one file of the state directory.

Whoever builds images writes it, root's alone; the manager reads it. A file that is damaged is told, never
replaced: the checksums in it are what a changed archive would be noticed by.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mayfly.core.client_release import ClientRecords, Offered, Pin
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.lock_file import locked

NAME = "clients.json"
SCHEMA = 1
LONGEST = 4 * 1024 * 1024
PATIENCE = 30.0  # seconds that another who writes is waited for


def read(state_dir: Path) -> ClientRecords:
    """The records; none where there is no file. ``Refused`` where it cannot be read."""
    place = state_dir / NAME
    try:
        with place.open("rb") as file:
            content = file.read(LONGEST + 1)
    except FileNotFoundError:
        return ClientRecords()
    except OSError as error:
        raise Refused(f"{place} cannot be read: {error.strerror}; try sudo") from error
    try:
        return _records(json.loads(content))
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise Refused(
            f"{place} is damaged: look what happened to it; without it each client's checksum is taken anew"
        ) from error


def change(state_dir: Path, how: Callable[[ClientRecords], ClientRecords]) -> ClientRecords:
    """Read, change and write them, one at a time; a ``Fault`` where that cannot be."""
    place = state_dir / NAME
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(state_dir / f".{NAME}.lock", PATIENCE) as ours:
            if not ours:
                raise Passing(
                    f"somebody else has been writing {place} for {PATIENCE:.0f} s: try again"
                )
            changed = how(read(state_dir))
            _write(place, json.dumps(_document(changed), indent=1, sort_keys=True) + "\n")
            return changed
    except OSError as error:
        raise Refused(f"{place} cannot be written: {error.strerror}; try sudo") from error


def _write(place: Path, text: str) -> None:
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(place)
    finally:
        with suppress(FileNotFoundError):
            new.unlink()


def _document(records: ClientRecords) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "offers": {
            pool: [{"version": one.version, "first": one.first, "last": one.last} for one in offers]
            for pool, offers in records.offers.items()
        },
        "pins": {
            name: {"sha256": pin.sha256, "told_by": pin.told_by, "at": pin.at}
            for name, pin in records.pins.items()
        },
        "refusals": {pool: dict(said) for pool, said in records.refusals.items()},
    }


def _records(document: Any) -> ClientRecords:
    if document["schema"] != SCHEMA:
        raise ValueError("another schema")
    return ClientRecords(
        {
            pool: tuple(
                Offered(str(o["version"]), float(o["first"]), float(o["last"])) for o in offers
            )
            for pool, offers in document["offers"].items()
        },
        {
            name: Pin(str(pin["sha256"]), str(pin["told_by"]), float(pin["at"]))
            for name, pin in document["pins"].items()
        },
        {
            pool: {version: float(at) for version, at in said.items()}
            for pool, said in document.get("refusals", {}).items()
        },
    )
