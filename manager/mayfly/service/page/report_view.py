"""The page's report, as markup: pure, the document of ``GET /v1/report`` in, tables out.

What stands in a row is what ``mayfly report`` prints, by the same functions; the sums of all periods are the
sums of its rows, each of which counts a job once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mayfly.core.usage_figures import HEADINGS, LACKING, figures, hours, name_of, number
from mayfly.core.usage_report import By, Per
from mayfly.service.page.markup import Child, Html, el, join
from mayfly.service.page.no_answer import NoAnswer

Row = Mapping[str, Any]
LASTS = {Per.WEEK: (5, 13, 26, 53), Per.MONTH: (6, 12, 24, 36)}  # periods that may be asked for
SUMMED, OF_PERIOD = 100, 20  # rows that are shown of all periods together, and of one
SUMS = ("jobs", "seconds", "gpu_seconds", "waited", "waits", "joules", "unmeasured")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which report; there are so few that each is kept."""

    by: By = By.PERSON
    per: Per = Per.WEEK
    last: int = LASTS[Per.WEEK][0]  # periods, with that of now

    def query(self, **other: object) -> str:
        """What an address asks by; with another one of it where that is said."""
        return urlencode({"by": self.by, "per": self.per, "last": self.last, **other})


def chosen_by(query: Mapping[str, str]) -> Choice:
    """What an address asks for; ``NoAnswer`` where there is no such report."""
    try:
        by, per = By(query.get("by", By.PERSON)), Per(query.get("per", Per.WEEK))
    except ValueError:
        told = f"{', '.join(By)}, per {' or '.join(Per)}"
        raise NoAnswer(400, f"There is no such report; there are those by {told}.") from None
    lasts = {str(one): one for one in LASTS[per]}
    last = query.get("last", str(LASTS[per][0]))
    if last not in lasts:
        raise NoAnswer(400, f"The last {', '.join(lasts)} {per}s can be asked for here.")
    return Choice(by, per, lasts[last])


def report(document: Row, chosen: Choice, gpus: Mapping[str, str]) -> Html:
    """The whole of it, the newest period first; ``gpus``: what the GPUs are called, by UUID."""
    rows, totals = list(document.get("rows", ())), list(document.get("totals", ()))
    of_period = defaultdict(list)
    for row in rows:
        of_period[str(row.get("period"))].append(row)
    tables = [
        el(
            "section",
            el("h2", str(total.get("period"))),
            _table(chosen.by, of_period[str(total.get("period"))], total, OF_PERIOD, gpus),
            id=f"period-{total.get('period')}",
        )
        for total in reversed(totals)
    ]
    whole = _table(chosen.by, _by_name(rows), _sum(totals), SUMMED, gpus)
    nothing = el("p", "No job that is remembered ran then.", class_="none")
    return join(
        el("h2", "Report ", el("span", f"by {chosen.by}, per {chosen.per}", class_="count")),
        choices(chosen),
        el("p", _what(document, chosen), class_="none"),
        _notes(document, totals),
        el("section", el("h2", _span(chosen)), whole if rows else nothing, id="sums"),
        _host(document.get("host")),
        tables,
        el("p", "In a terminal, also by other times and time zones: ",
           el("code", f"mayfly report --by {chosen.by} --per {chosen.per} "
              f"--since {str(document.get('since'))[:10]}"), class_="none"),
    )  # fmt: skip


def choices(chosen: Choice) -> Html:
    """The ways to the other reports, and to this one as a table for a spreadsheet."""

    def ways(label: str, key: str, found: Iterable[object], now: object) -> Html:
        links = []
        for one in found:
            # (How many there are to choose of is another number of weeks than of months.)
            other = {key: one, "last": LASTS[Per(str(one))][0]} if key == "per" else {key: one}
            link = el("a", str(one), href=f"/report?{chosen.query(**other)}", id=f"{key}-{one}",
                      aria_current="true" if one == now else None)  # fmt: skip
            links.append(join(" ", link))
        return el("p", f"{label}:", links)

    return el(
        "nav",
        ways("By", "by", By, chosen.by),
        ways("Per", "per", Per, chosen.per),
        ways("Last", "last", LASTS[chosen.per], chosen.last),
        el("p", el("a", "CSV", href=f"/report.csv?{chosen.query()}", id="csv")),
        aria_label="Reports",
        class_="choices",
    )


def _span(chosen: Choice) -> str:
    return f"The last {chosen.last} {chosen.per}s"


def _what(document: Row, chosen: Choice) -> str:
    begin = "weeks begin on Monday" if chosen.per is Per.WEEK else "whole months"
    return (
        f"Jobs that had ended by {_minute(document.get('until'))}, from {_minute(document.get('since'))} on; "
        f"{begin}, in {document.get('zone')}."
    )


def _notes(document: Row, totals: Sequence[Row]) -> Child:
    known = document.get("known_from")
    told = []
    if known is not None and str(known) > str(document.get("since")):  # both as RFC 3339 in UTC
        told.append(
            f"The history begins at {_minute(known)}: of what ended before nothing is known."
        )
    if any(number(one.get("unmeasured")) for one in totals):
        told.append(f"+ or - at Wh: {LACKING}.")
    return [el("p", one, class_="none") for one in told]


def _table(by: By, rows: Sequence[Row], total: Row, most: int, gpus: Mapping[str, str]) -> Html:
    """Whoever had most first, and the sum of all, also of those that are not shown."""
    headings = ("GPU" if by is By.GPU else by.capitalize(), *HEADINGS)
    body = [el("tr", _cells(headings, _named(row, by, gpus), figures(row))) for row in rows[:most]]
    left = len(rows) - most
    if left > 0:
        body.append(el("tr", _cells(headings, f"and {left} more", [""] * len(HEADINGS))))
    foot = el("tfoot", el("tr", _cells(headings, "all", figures(total)))) if len(rows) > 1 else None
    return el("table", _head(headings), el("tbody", body), foot)


def _head(headings: Sequence[str]) -> Html:
    first, *others = headings
    return el(
        "thead",
        el(
            "tr",
            el("th", first, scope="col"),
            [el("th", one, scope="col", class_="number") for one in others],
        ),
    )


def _cells(headings: Sequence[str], name: Child, texts: Sequence[str]) -> list[Html]:
    first, *others = headings
    return [
        el("td", name, data_label=first),
        *(
            el("td", text, data_label=label, class_="number")
            for label, text in zip(others, texts, strict=True)
        ),
    ]


def _named(row: Row, by: By, gpus: Mapping[str, str]) -> Child:
    name = name_of(row, by)
    if by is not By.GPU or row.get("name") is None:
        return name
    return join(gpus.get(name), el("span", name, class_="uuid"))


def _by_name(rows: Iterable[Row]) -> list[Row]:
    """The rows of all periods as one each, whoever had most first."""
    found: dict[object, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.get("name")].append(row)
    sums = [{**_sum(own), "name": name} for name, own in found.items()]
    return sorted(
        sums, key=lambda one: (-one["gpu_seconds"], -one["seconds"], str(one["name"] or ""))
    )


def _sum(rows: Sequence[Row], keys: Iterable[str] = SUMS) -> dict[str, Any]:
    return {key: sum(number(row.get(key)) for row in rows) for key in keys}


def _host(host: object) -> Html | None:
    """The hours of the host itself, where somebody counts them."""
    rows = list(host.get("rows", ())) if isinstance(host, Mapping) else []
    if not isinstance(host, Mapping) or not rows:
        return None
    headings = ["Period", "Host up", "Idle", "Away"]
    priced = host.get("price_per_hour") is not None
    if priced:
        unit = str(host.get("currency") or "")
        headings += [f"{unit} up".strip(), f"{unit} idle".strip()]

    def cells(name: str, row: Row) -> Html:
        told = [hours(row.get(key)) for key in ("up", "idle", "away")]
        if priced:
            told += [f"{number(row.get(key)):.2f}" for key in ("amount", "idle_amount")]
        return el("tr", _cells(headings, name, told))

    body = [cells(str(row.get("period")), row) for row in reversed(rows)]
    total = _sum(rows, ("up", "idle", "away", "amount", "idle_amount"))
    foot = el("tfoot", cells("all", total)) if len(rows) > 1 else None
    table = el("table", _head(headings), el("tbody", body), foot)
    return el("section", el("h2", "The host's own hours"), table, id="host")


def _minute(at: object) -> str:
    """An RFC 3339 time of UTC, to the minute."""
    return f"{str(at)[:16].replace('T', ' ')} UTC"
