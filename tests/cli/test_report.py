"""`mayfly report`: the real command against a stand-in manager, its table and its CSV."""

from __future__ import annotations

import csv
import io
import json
import shlex
from typing import Any

import pytest

from mayfly.cli import render_report
from mayfly.core import usage_figures
from mayfly.core.quantities import parse_time
from mayfly.core.usage_report import Work
from tests.cli.conftest import Mayfly
from tests.pages import consoles
from tests.service.standin import StandIn

HOUR = 3600.0
PAGE = [console for console in consoles() if console.page == "docs/how-to/report.md"]


def work(began: str, hours: float, *devices: str, **more: Any) -> Work:
    start = parse_time(began)
    return Work("gpu", start, start + hours * HOUR, devices=devices, **more)


WORKS = [
    work("2025-10-30T08:00Z", 1.0, "GPU-1", person="ann"),
    work(
        *("2025-11-03T08:00Z", 2.0, "GPU-1", "GPU-2"),
        person="ann", waited=300.0, energy={"GPU-1": 600 * HOUR, "GPU-2": 400 * HOUR},
    ),
    work("2025-11-05T08:00Z", 1.0, "GPU-1", person="ann", waited=300.0, energy={"GPU-1": 400 * HOUR}),
    work("2025-11-06T08:00Z", 2.0, "GPU-1", measured=False),
    work("2025-11-12T08:00Z", 1.5, "GPU-1", person="ben", waited=HOUR, energy={"GPU-1": 300 * HOUR}),
]  # fmt: skip
SINCE = ("--since", "2025-11-03", "--until", "2025-11-17")
HOSTILE = "\x1b]0;evil\x07=HYPERLINK(1)\nfi\u202ex"


@pytest.fixture
def report(manager: StandIn, mayfly: Mayfly) -> Mayfly:
    manager.account.worked += WORKS
    return lambda *words: mayfly("report", *words)


def test_what_the_page_types_prints_what_it_shows(manager: StandIn, mayfly: Mayfly) -> None:
    manager.account.worked += WORKS
    for console in PAGE:
        for line, shown in console.typed:
            program, *words = shlex.split(line)
            ran = mayfly(*words)
            assert program == "mayfly"
            assert (ran.code, ran.out.splitlines(), ran.err) == (0, [*shown], "")
    assert len(PAGE) == 2


def test_a_program_reads_seconds_and_joules(report: Mayfly) -> None:
    told = json.loads(report(*SINCE, "--by", "pool", "--per", "month", "--json").out)
    assert told["schema"] == "mayfly.report/1"
    assert told.keys() == {
        *("schema", "by", "per", "zone", "since", "until", "known_from", "rows", "totals"),
        "host",
    }
    (row,), (total,) = told["rows"], told["totals"]
    assert row == {
        "period": "2025-11",
        "begin": "2025-11-03T00:00:00.000Z",
        "end": "2025-11-17T00:00:00.000Z",
        "name": "gpu",
        "jobs": 4,
        "seconds": 6.5 * HOUR,
        "gpu_seconds": 8.5 * HOUR,
        "waited": 4200.0,
        "waits": 3,
        "joules": 1700 * HOUR,
        "unmeasured": 1,
    }
    assert row == {**total, "name": "gpu"}


def test_a_report_of_nothing_says_so_and_where_the_history_begins(
    manager: StandIn, mayfly: Mayfly
) -> None:
    asked = ("report", "--since", "2025-09-01", "--until", "2025-09-08")
    assert mayfly(*asked).out.splitlines()[1:] == ["no job that is remembered ran then"]
    manager.account.worked += WORKS
    assert mayfly(*asked).out.splitlines()[1:] == [
        "no job that is remembered ran then",
        "",
        "the history begins at 2025-10-30 09:00Z: of what ended before nothing is known",
    ]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--zone", "Europe/Atlantis"), 2, "knows no time zone 'Europe/Atlantis'"),
        (("--zone", "../../etc/passwd"), 2, "knows no time zone"),
        (("--zone", "Europe"), 2, "knows no time zone"),
        (("--since", "2025-11-03", "--until", "2025-11-02"), 2, "until must be after since"),
        (("--since", "9999-01-01"), 2, "since is still to come"),
        (("--since", "1970-01-01"), 2, "weeks, and a report has at most 1000: write a later since"),
        (("--since", "yesterday"), 2, "neither a time nor a duration"),
        (("--csv", "--json"), 2, "two forms"),
        (("--by", "owner"), 2, "owner"),
        (("--per", "day"), 2, "day"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    report: Mayfly, words: tuple[str, ...], code: int, says: str
) -> None:
    ran = report(*words)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err


def test_a_date_is_of_the_zone_that_was_asked_for(report: Mayfly) -> None:
    words = ("--since", "2025-11-03", "--until", "2025-11-10", "--zone", "America/New_York")
    told = json.loads(report(*words, "--json").out)
    assert (told["since"], told["until"]) == (
        "2025-11-03T05:00:00.000Z",
        "2025-11-10T05:00:00.000Z",
    )


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\uff1d1", HOSTILE]
)
def test_no_name_is_a_formula_in_a_spreadsheet_or_moves_a_cursor(name: str) -> None:
    row = {"period": "2025-W45", "begin": "", "end": "", "name": name, "jobs": 1}
    document = {"by": "person", "per": "week", "zone": "UTC", "rows": [row], "totals": [row]}
    heading, line = csv.reader(io.StringIO(usage_figures.as_csv(document)))
    assert line[heading.index("person")].startswith("'")
    assert all(cell.isprintable() for cell in line)
    assert all(shown.isprintable() for shown in render_report.report(document, 80))


def test_no_name_is_a_formula_where_cells_end_with_a_semicolon() -> None:
    row = {"period": "2025-W45", "begin": "", "end": "", "name": '/r/a; "=1+1;-2;b', "jobs": 1}
    document = {"by": "repository", "per": "week", "zone": "UTC", "rows": [row], "totals": [row]}
    for text in usage_figures.as_csv(document).splitlines():
        for cell in text.split(";"):
            assert not cell.lstrip(' "').startswith(usage_figures.FORMULA), text


def test_a_narrow_terminal_cuts_names_and_no_figure(report: Mayfly) -> None:
    row = {
        "period": "2025-W45",
        "name": "x" * 90,
        "jobs": 1,
        "gpu_seconds": 9 * HOUR,
        "joules": HOUR,
    }
    lines = render_report.report({"by": "person", "rows": [row], "totals": [row]}, 80)
    assert max(map(len, lines)) <= 80
    assert lines[-1].split()[-1] == "1.00"
    assert "9.00" in lines[-1]
