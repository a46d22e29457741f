"""``mayfly report`` as a table and as CSV: pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mayfly.cli import render
from mayfly.cli.table import table
from mayfly.core.plain_text import clean
from mayfly.core.quantities import spoken_age

Row = Mapping[str, Any]
HOUR = 3600.0  # seconds; a Wh is as many joules
NAMELESS = {"gpu": "(no GPU)"}
NOT_KNOWN = "(not known)"
PERIODS = {"week": "weeks from Monday", "month": "months"}
COLUMNS = (
    *("jobs", "job_hours", "gpu_hours", "wait_hours", "waits", "watt_hours", "unmeasured_jobs"),
)
# How a cell begins that a spreadsheet would take for a formula, in each script that it knows.
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# Where a comma is written in numbers a spreadsheet takes this for the next cell, quoted or not.
LATER = re.compile(r"(;\s*\"*)(?=[=+@\uff1d\uff0b\uff0d\uff20-])")


def report(document: Row, width: int | None) -> list[str]:
    """What it is of, a row for each name of each period, and what is missing."""
    rows, totals = list(document.get("rows", ())), list(document.get("totals", ()))
    by = render.text(document.get("by"))
    headings = ["PERIOD", by.upper(), "JOBS", "HOURS", "GPU-HOURS", "MEAN WAIT", "WH"]
    lines = render.wrapped(_head(document), width, "  ")
    if not rows:
        found = ["no job that is remembered ran then", *_missing(document, width)]
        return [*lines, *found, *_host(document, width)]
    cells = []
    for total in totals:
        own = [row for row in rows if row.get("period") == total.get("period")]
        cells += [_cells(row, _name(row, by)) for row in own]
        if len(own) > 1:
            cells.append(_cells(total, "all"))
    lines += ["", *table(headings, cells, width, whole=("PERIOD", "GPU-HOURS", "WH"))]
    return [*lines, *_missing(document, width), *_host(document, width)]


def as_csv(document: Row) -> str:
    """A line a row, with a heading; safe to open in a spreadsheet, whatever anybody is called."""
    by = render.text(document.get("by"))
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(["period", "begin", "end", "zone", by, *COLUMNS])
    for row in document.get("rows", ()):
        texts = (*(row.get(key) for key in ("period", "begin", "end")), document.get("zone"))
        lines.writerow([*map(_harmless, (*texts, _name(row, by))), *_numbers(row)])
    return written.getvalue()


def _head(document: Row) -> str:
    per = PERIODS.get(str(document.get("per")), "periods")
    times = [_minute(document.get(key)) for key in ("since", "until")]
    return (
        f"by {render.text(document.get('by'))}, in {per} of the time zone "
        f"{render.text(document.get('zone'))}, from {times[0]} to {times[1]}"
    )


def _minute(at: object) -> str:
    """An RFC 3339 time of UTC, to the minute."""
    return f"{render.text(at)[:16].replace('T', ' ')}Z"


def _name(row: Row, by: str) -> str:
    name = row.get("name")
    return NAMELESS.get(by, NOT_KNOWN) if name is None else render.text(name)


def _cells(row: Row, name: str) -> tuple[str, ...]:
    waits, waited = _number(row.get("waits")), _number(row.get("waited"))
    joules, lacking = _number(row.get("joules")), _number(row.get("unmeasured"))
    return (
        render.text(row.get("period")),
        name,
        render.text(row.get("jobs")),
        digits(_number(row.get("seconds")) / HOUR),
        digits(_number(row.get("gpu_seconds")) / HOUR),
        spoken_age(waited / waits) if waits else "-",
        (digits(joules / HOUR) + "+" * bool(lacking)) if joules else "-",
    )


def digits(value: float) -> str:
    """Three digits that mean something, and all before the point."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _missing(document: Row, width: int | None) -> Iterator[str]:
    if any(_number(total.get("unmeasured")) for total in document.get("totals", ())):
        sentence = (
            "+ or - below WH: the energy of some jobs with GPUs is not known, or not all of it"
        )
        yield from ["", *render.wrapped(sentence, width, "  ")]
    known, since = render.seconds(document.get("known_from")), render.seconds(document.get("since"))
    if known is not None and since is not None and known > since:
        begin = _minute(document.get("known_from"))
        sentence = f"the history begins at {begin}: of what ended before nothing is known"
        yield from ["", *render.wrapped(sentence, width, "  ")]


def _host(document: Row, width: int | None) -> Iterator[str]:
    """The hours of the host itself, where somebody counts them."""
    host = document.get("host")
    rows = list(host.get("rows", ())) if isinstance(host, Mapping) else []
    if not isinstance(host, Mapping) or not rows:
        return
    headings = ["PERIOD", "HOST UP", "IDLE", "AWAY"]
    priced = host.get("price_per_hour") is not None
    if priced:
        unit = render.text(host.get("currency")).upper()
        headings += [f"{unit} UP".strip(), f"{unit} IDLE".strip()]
    cells = [
        (
            render.text(row.get("period")),
            *(digits(_number(row.get(key)) / HOUR) for key in ("up", "idle", "away")),
            *(
                (f"{_number(row.get(key)):.2f}" for key in ("amount", "idle_amount"))
                if priced
                else ()
            ),
        )
        for row in rows
    ]
    yield from ["", *table(headings, cells, width, whole=headings)]


def _numbers(row: Row) -> Sequence[str]:
    hours = [
        f"{_number(row.get(key)) / HOUR:.4f}"
        for key in ("seconds", "gpu_seconds", "waited", "joules")
    ]
    counts = [f"{_number(row.get(key)):.0f}" for key in ("jobs", "waits", "unmeasured")]
    return counts[0], hours[0], hours[1], hours[2], counts[1], hours[3], counts[2]


def _harmless(value: object) -> str:
    """A text that no spreadsheet takes for a formula."""
    text = clean(str(value)) if value is not None else ""
    text = LATER.sub(r"\1'", text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
