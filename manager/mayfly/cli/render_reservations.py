"""Reserved GPUs as text for people: pure, values in, lines out, as ``cli/render.py`` has the rest."""

from __future__ import annotations

from datetime import tzinfo

from mayfly.cli.render import Row, seconds, text
from mayfly.cli.table import table
from mayfly.core.quantities import minute_of, spoken_age


def reservations(document: Row, now: float, width: int | None, zone: tzinfo | None) -> list[str]:
    """A row each, the next first: whose, from when until when, and what it has got; times of that zone."""
    found = list(document.get("reservations", ()))
    rows = [
        (
            text(row.get("reservation")),
            text(row.get("pool")),
            text(row.get("user")),
            text(row.get("state")),
            moment(row.get("start"), now, zone),
            moment(row.get("until"), now, zone),
            _left(row, now),
            "shell" if row.get("shell") else "outside",
            ", ".join(map(text, row.get("devices") or ())) or _counted(row.get("gpus")),
        )
        for row in found
    ]
    headings = ("ID", "POOL", "USER", "STATE", "FROM", "UNTIL", "LEFT", "FORM", "GPUS")
    return table(headings, rows, width, whole=("ID", "UNTIL", "FROM"))


def moment(value: object, now: float, zone: tzinfo | None) -> str:
    """A time of that zone: of today by the clock alone, else with its day."""
    at = seconds(value)
    if at is None:
        return "-"
    return minute_of(at, now, zone)


def _left(row: Row, now: float) -> str:
    until = seconds(row.get("until"))
    return "-" if row.get("state") != "active" or until is None else spoken_age(until - now)


def _counted(gpus: object) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"
