"""``mayfly report`` as a table: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from mayfly.cli import render
from mayfly.cli.table import table
from mayfly.core.usage_figures import HEADINGS, LACKING, figures, hours, name_of, number

Row = Mapping[str, Any]
PERIODS = {"week": "weeks from Monday", "month": "months"}


def report(document: Row, width: int | None) -> list[str]:
    """What it is of, a row for each name of each period, and what is missing."""
    rows, totals = list(document.get("rows", ())), list(document.get("totals", ()))
    by = render.text(document.get("by"))
    headings = ["PERIOD", by.upper(), *map(str.upper, HEADINGS)]
    lines = render.wrapped(_head(document), width, "  ")
    if not rows:
        found = ["no job that is remembered ran then", *_missing(document, width)]
        return [*lines, *found, *_host(document, width)]
    cells, of_period = [], defaultdict(list)
    for row in rows:
        of_period[str(row.get("period"))].append(row)
    for total in totals:
        own = of_period[str(total.get("period"))]
        cells += [_cells(row, name_of(row, by)) for row in own]
        if len(own) > 1:
            cells.append(_cells(total, "all"))
    lines += ["", *table(headings, cells, width, whole=("PERIOD", "GPU-HOURS", "WH"))]
    return [*lines, *_missing(document, width), *_host(document, width)]


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


def _cells(row: Row, name: str) -> tuple[str, ...]:
    return (render.text(row.get("period")), name, *figures(row))


def _missing(document: Row, width: int | None) -> Iterator[str]:
    if any(number(total.get("unmeasured")) for total in document.get("totals", ())):
        sentence = f"+ or - below WH: {LACKING}"
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
            *(hours(row.get(key)) for key in ("up", "idle", "away")),
            *(
                (f"{number(row.get(key)):.2f}" for key in ("amount", "idle_amount"))
                if priced
                else ()
            ),
        )
        for row in rows
    ]
    yield from ["", *table(headings, cells, width, whole=headings)]
