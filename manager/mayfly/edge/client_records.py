"""What is remembered of the services' clients, as one file of the state directory.

Whoever builds images writes it, root's alone; the manager reads it. A file that is damaged is told, never
replaced: the checksums in it are what a changed archive would be noticed by.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mayfly.core.client_release import ClientRecords, Offered, Pin
from mayfly.edge import state_file
from mayfly.edge.faults import Refused

NAME = "clients.json"
SCHEMA = 1


def read(state_dir: Path) -> ClientRecords:
    """The records; none where there is no file. ``Refused`` where it cannot be read."""
    place = state_dir / NAME
    content = state_file.content(place)
    if content is None:
        return ClientRecords()
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
    with state_file.alone(place):
        changed = how(read(state_dir))
        state_file.write(place, json.dumps(_document(changed), indent=1, sort_keys=True) + "\n")
        return changed


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
