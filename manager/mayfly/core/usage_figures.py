"""What a row of a report says in hours and Wh, as texts, for whoever shows it: pure.

A row is as ``service/usage_document.py`` has it: seconds and joules.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_age

Row = Mapping[str, Any]
HOUR = 3600.0  # seconds; a Wh is as many joules
NAMELESS = {"gpu": "(no GPU)"}
NOT_KNOWN = "(not known)"
HEADINGS = ("Jobs", "Hours", "GPU-hours", "Mean wait", "Wh")
LACKING = "the energy of some jobs with GPUs is not known, or not all of it"
COLUMNS = (
    *("jobs", "job_hours", "gpu_hours", "wait_hours", "waits", "watt_hours", "unmeasured_jobs"),
)
# How a cell begins that a spreadsheet would take for a formula, in each script that it knows.
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# Where a comma is written in numbers a spreadsheet takes this for the next cell, quoted or not.
LATER = re.compile(r"(;\s*\"*)(?=[=+@\uff1d\uff0b\uff0d\uff20-])")


def name_of(row: Row, by: str) -> str:
    """Whose row it is."""
    name = row.get("name")
    return NAMELESS.get(by, NOT_KNOWN) if name is None else clean(str(name))


def figures(row: Row) -> tuple[str, ...]:
    """What stands below ``HEADINGS``; a Wh with a ``+`` is not all of it (``LACKING``)."""
    waits, waited = number(row.get("waits")), number(row.get("waited"))
    joules, lacking = number(row.get("joules")), number(row.get("unmeasured"))
    return (
        f"{number(row.get('jobs')):.0f}",
        hours(row.get("seconds")),
        hours(row.get("gpu_seconds")),
        spoken_age(waited / waits) if waits else "-",
        (digits(joules / HOUR) + "+" * bool(lacking)) if joules else "-",
    )


def hours(seconds: object) -> str:
    """Seconds as hours."""
    return digits(number(seconds) / HOUR)


def digits(value: float) -> str:
    """Three digits that mean something, and all before the point."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def as_csv(document: Row) -> str:
    """A line a row, with a heading; safe to open in a spreadsheet, whatever anybody is called."""
    by = clean(str(document.get("by")))
    written = _Written()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(["period", "begin", "end", "zone", by, *COLUMNS])
    for row in document.get("rows", ()):
        texts = (*(row.get(key) for key in ("period", "begin", "end")), document.get("zone"))
        lines.writerow([*map(_harmless, (*texts, name_of(row, by))), *_numbers(row)])
    return "".join(written)


def number(value: object) -> float:
    """The number of a document; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


class _Written(list[str]):
    """What a writer of CSV writes to."""

    write = list[str].append


def _numbers(row: Row) -> Sequence[str]:
    found = [
        f"{number(row.get(key)) / HOUR:.4f}"
        for key in ("seconds", "gpu_seconds", "waited", "joules")
    ]
    counts = [f"{number(row.get(key)):.0f}" for key in ("jobs", "waits", "unmeasured")]
    return counts[0], found[0], found[1], found[2], counts[1], found[3], counts[2]


def _harmless(value: object) -> str:
    """A text that no spreadsheet takes for a formula."""
    text = clean(str(value)) if value is not None else ""
    text = LATER.sub(r"\1'", text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text
