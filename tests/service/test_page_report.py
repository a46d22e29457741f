"""The page's report: it says what the manager says, is bounded, and nobody can wear the manager out by it."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import pytest

from mayfly.core.commands import Caller
from mayfly.core.host_hours import QUARTER, Hours
from mayfly.core.idle_settings import IdleSettings
from mayfly.core.quantities import rfc3339
from mayfly.core.usage_figures import FORMULA, as_csv
from mayfly.core.usage_report import By, Per, Work, begin_of_last
from mayfly.edge.http_connection import HttpReply, Request
from mayfly.edge.tcp_http import ANYBODY
from mayfly.service.page.no_answer import NoAnswer
from mayfly.service.page.report_kept import AT_ONCE, FRESH, LONGEST, SHARE, Reports
from mayfly.service.page.report_view import LASTS, OF_PERIOD, SUMMED, Choice, chosen_by
from mayfly.service.page.site import HEADERS, Site
from mayfly.service.page.strip import Stints
from mayfly.service.page.visitor import Visitors
from tests.service.standin import StandIn

HOUR = 3600.0
# What might act on a browser, a terminal, a spreadsheet or a line's order.
HOSTILE = "=<script>alert(1)</script>\x1b[31m\"'&\u202e</td>\x00\ud800"


def work(hours_ago: float, hours: float, *gpus: str, **more: Any) -> Work:
    ended = time.time() - hours_ago * HOUR
    more.setdefault("pool", "gpu")
    return Work(began=ended - hours * HOUR, ended=ended, devices=gpus, **more)


@dataclass
class Page:
    """The page as its visitors get it, without a socket."""

    site: Site
    manager: StandIn

    def reply(self, path: str, query: Mapping[str, str], caller: Caller = ANYBODY) -> HttpReply:
        found = self.site.respond(Request("GET", path, dict(query), b"", caller))
        assert isinstance(found, HttpReply)
        return found

    def shown(self, **query: str) -> str:
        found = self.reply("/report", query)
        assert found.status == 200, found.data
        assert isinstance(found.data, bytes)
        return found.data.decode()

    def document(self, path: str, **query: str) -> Any:
        found = self.manager.control.respond(Request("GET", path, query, b"", ANYBODY))
        assert isinstance(found, HttpReply)
        assert isinstance(found.data, bytes)
        return json.loads(found.data)


@pytest.fixture
def page(manager: StandIn) -> Iterator[Page]:
    yield Page(
        Site(
            *(manager.control, manager.board, Visitors(None, ()), Stints(manager.account)),
            on_failure=lambda _, error: manager.failures.append(error),
        ),
        manager,
    )
    assert manager.failures == []


def cells(shown: str, section: str) -> list[list[str]]:
    """The rows of a section's table, as texts."""
    inside = re.search(rf'<section id="{section}">(.*?)</section>', shown, re.DOTALL)
    assert inside, section
    rows = re.findall(r"<tr>(.*?)</tr>", inside[1], re.DOTALL)
    texts = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]+>", "", one)) for one in row] for row in texts if row]


WORKS: list[tuple[float, float, tuple[str, ...], dict[str, Any]]] = [
    (30, 2.0, ("GPU-1", "GPU-2"), {"person": "ann", "repository": "/srv/git/lab.git", "waited": 300.0,
     "energy": {"GPU-1": 600 * HOUR, "GPU-2": 400 * HOUR}}),
    (20, 1.0, ("GPU-1",), {"person": "ann", "waited": 900.0, "measured": False}),
    (10, 1.5, (), {"person": "ben", "pool": "cpu"}),
    (5, 12.0, ("GPU-2",), {"measured": False}),
]  # fmt: skip
# Jobs, hours, GPU-hours, mean wait, Wh.
ALL = ["all", "4", "16.5", "17.0", "10m", "1000+"]
SUMS = {
    By.PERSON: [
        ["(not known)", "1", "12.0", "12.0", "-", "-"],
        ["ann", "2", "3.00", "5.00", "10m", "1000+"],
        ["ben", "1", "1.50", "0.00", "-", "-"],
    ],
    By.REPOSITORY: [
        ["(not known)", "3", "14.5", "13.0", "15m", "-"],
        ["/srv/git/lab.git", "1", "2.00", "4.00", "5m", "1000"],
    ],
    By.POOL: [
        ["gpu", "3", "15.0", "17.0", "10m", "1000+"],
        ["cpu", "1", "1.50", "0.00", "-", "-"],
    ],
    By.GPU: [
        ["GPU-2", "2", "14.0", "14.0", "5m", "400+"],
        ["0: NVIDIA H200GPU-1", "2", "3.00", "3.00", "10m", "600+"],
        ["(no GPU)", "1", "1.50", "0.00", "-", "-"],
    ],
}


@pytest.mark.parametrize("by", By)
def test_the_sums_are_of_all_periods_and_each_job_is_in_them_once(page: Page, by: By) -> None:
    for ago, hours, gpus, more in WORKS:
        page.manager.account.worked.append(work(ago, hours, *gpus, **more))
    page.manager.gpus = {"gpus": [{"uuid": "GPU-1", "index": 0, "name": "NVIDIA H200"}]}
    for per in Per:
        shown = page.shown(by=by, per=per)
        *rows, total = cells(shown, "sums")
        assert total == ALL
        assert rows == SUMS[by]
        document = page.document("/v1/report", by=by, per=per)
        sections = re.findall(r'id="period-([^"]+)"', shown)
        assert sections == [one["period"] for one in document["totals"]][::-1]
        assert {len(row) for one in sections for row in cells(shown, f"period-{one}")} == {6}
        assert "+ or - at Wh: the energy of some jobs" in shown
        assert "The history begins at" in shown
        # Below one another on a phone, each figure says what it is.
        assert shown.count("<td") == shown.count("data-label=")


def test_every_report_is_a_link_away_and_no_other_is_made(page: Page) -> None:
    seen: set[str] = set()
    found = {"/report?by=person&per=week&last=5"}
    while found - seen:
        address = (found - seen).pop()
        seen.add(address)
        query = dict(one.split("=") for one in address.partition("?")[2].split("&"))
        shown = page.shown(**query)
        found |= set(map(html.unescape, re.findall(r'href="(/report\?[^"]+)"', shown)))
        assert shown.count('aria-current="true"') == 3
        assert len(re.findall(r'href="/report\.csv\?', shown)) == 1
    assert len(seen) == len(By) * sum(map(len, LASTS.values()))
    assert "No job that is remembered ran then." in page.shown()


@pytest.mark.parametrize(
    "query",
    [
        {"by": "owner"},
        {"per": "day"},
        {"last": "6"},
        {"per": "month", "last": "5"},
        {"last": "9" * 5000},
        {"by": HOSTILE},
        {"last": "\u0665"},
    ],
)
def test_a_report_that_there_is_not_is_one_sentence(page: Page, query: dict[str, str]) -> None:
    for path in ("/report", "/report.csv"):
        found = page.reply(path, query)
        assert found.status == 400
        assert isinstance(found.data, bytes)
        assert b'class="note"' in found.data
        assert b"alert(1)" not in found.data


def test_the_csv_is_what_the_command_prints(page: Page) -> None:
    page.manager.account.worked += [work(1, 1.0, "GPU-1", person="ann"), work(9, 1.0, person="b,c")]
    found = page.reply("/report.csv", {"by": "person", "per": "month", "last": "12"})
    assert found.content_type == "text/csv; charset=utf-8"
    assert HEADERS.items() <= found.headers.items()
    assert (
        found.headers["Content-Disposition"] == 'attachment; filename="report-person-month-12.csv"'
    )
    assert isinstance(found.data, bytes)
    names = [line["person"] for line in csv.DictReader(io.StringIO(found.data.decode()))]
    assert names == ["ann", "b,c"]
    since = rfc3339(begin_of_last(12, Per.MONTH, UTC, time.time()))
    printed = as_csv(page.document("/v1/report", per="month", since=since))
    now = r"\d+:\d+\.\d+Z"  # the minute and second until when it counts
    assert re.sub(now, "", found.data.decode()) == re.sub(now, "", printed)


@pytest.mark.parametrize("by", By)
def test_whatever_anybody_is_called_is_text(page: Page, by: By) -> None:
    page.manager.gpus = {"gpus": [{"uuid": HOSTILE, "index": HOSTILE, "name": HOSTILE}]}
    page.manager.idle.settings = IdleSettings(price_per_hour=1.0, currency=HOSTILE)
    page.manager.idle.quarters = {int(time.time() // QUARTER) - 1: Hours(900, 0, 0)}
    hostile = {"person": HOSTILE, "repository": HOSTILE, "pool": HOSTILE}
    page.manager.account.worked.append(work(1, 1.0, HOSTILE, **hostile))
    shown = page.shown(by=by)
    assert "alert(1)" in shown
    assert "<script>alert" not in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert len(re.findall(r"<script[^>]*>", shown)) == 1
    data = page.reply("/report.csv", {"by": by}).data
    assert isinstance(data, bytes)
    _, line = csv.reader(io.StringIO(data.decode()))
    assert all(cell.isprintable() and not cell.startswith(FORMULA) for cell in line)


def test_the_hours_of_the_host_stand_where_somebody_counts_them(page: Page) -> None:
    assert 'id="host"' not in page.shown(by="pool")
    page.manager.idle.settings = IdleSettings(price_per_hour=2.0, currency="EUR")
    now = int(time.time() // QUARTER)
    page.manager.idle.quarters = {now - n: Hours(900, 450, 0) for n in range(1, 9)}
    row = cells(page.shown(by="gpu"), "host")[-1]
    assert row[1:] == ["2.00", "1.00", "0.00", "4.00", "2.00"]


def test_of_many_names_some_are_shown_and_the_sum_is_of_all(page: Page) -> None:
    page.manager.account.worked += [work(n, 1.0, "GPU-1", person=f"p{n}") for n in range(200)]
    shown = page.shown()
    *rows, more, total = cells(shown, "sums")
    assert len(rows) == SUMMED
    assert more[0] == f"and {200 - SUMMED} more"
    assert total[:4] == ["all", "200", "200", "200"]
    periods = re.findall(r'id="(period-[^"]+)"', shown)
    assert all(len(cells(shown, one)) <= OF_PERIOD + 2 for one in periods)
    data = page.reply("/report.csv", {}).data
    assert isinstance(data, bytes)
    assert {f"p{n}" for n in range(200)} <= {
        line.split(",")[4] for line in data.decode().splitlines()
    }


# -- what it costs -----------------------------------------------------------------------------------


@dataclass
class Summing:
    """A manager for which summing up takes time of a clock that only it moves."""

    takes: float = 0.0
    wait: float = 60.0
    at: float = 1000.0
    asked: list[str] = field(default_factory=list)
    data: bytes = b'{"rows": [], "totals": []}'
    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_end.set()
        self.reports = Reports(self.ask, steady=lambda: self.at, wait=self.wait)

    def ask(self, path: str, query: Mapping[str, str]) -> bytes:
        self.asked.append(urlencode(query))
        self.begun.set()
        assert self.may_end.wait(60)
        self.at += self.takes
        return self.data


WEEKS, MONTHS = Choice(), Choice(per=Per.MONTH, last=6)


def test_of_many_who_look_at_once_one_is_answered_by_summing_up() -> None:
    manager = Summing()
    found: list[object] = []
    manager.may_end.clear()
    lookers = [
        threading.Thread(target=lambda: found.append(manager.reports.of(WEEKS))) for _ in range(8)
    ]
    for one in lookers:
        one.start()
    assert manager.begun.wait(60)
    manager.may_end.set()
    for one in lookers:
        one.join(60)
    assert len(found) == 8
    assert len(manager.asked) == 1


def test_a_report_is_summed_up_again_after_a_while() -> None:
    manager = Summing(takes=1.0)
    for then, asked in ((0.0, 1), (FRESH - 1, 1), (2.0, 2)):
        manager.at += then
        manager.reports.of(WEEKS)
        assert len(manager.asked) == asked


def test_summing_up_takes_its_share_and_then_the_last_report_is_shown() -> None:
    manager = Summing(takes=AT_ONCE + 5)
    first = manager.reports.of(WEEKS)
    with pytest.raises(NoAnswer, match=r"ask again in 16 s") as refused:
        manager.reports.of(MONTHS)
    assert refused.value.status == 503
    manager.at += 16
    manager.reports.of(MONTHS)  # what it had left is a little, and what it takes is owed
    manager.at += SHARE * (AT_ONCE + 5) - 50
    assert manager.at > first.until
    assert manager.reports.of(WEEKS) is first
    assert len(manager.asked) == 2
    manager.at += 60
    assert manager.reports.of(WEEKS) is not first


def test_visitors_who_ask_for_all_reports_without_end_get_a_tenth_of_the_time() -> None:
    manager = Summing(takes=3.0)
    began, every = manager.at, [Choice(by, per, n) for by in By for per in Per for n in LASTS[per]]
    while manager.at < began + 2_000:
        for one in every:
            with suppress(NoAnswer):
                manager.reports.of(one)
        manager.at += 1.0
    took = len(manager.asked) * manager.takes
    assert 2_000 / SHARE <= took <= AT_ONCE + 2_010 / SHARE + 2 * manager.takes


def test_while_one_is_summed_up_the_last_one_is_shown_at_once() -> None:
    manager = Summing(wait=100_000)
    first = manager.reports.of(WEEKS)
    manager.at += FRESH + 1
    with summing(manager):
        assert manager.reports.of(WEEKS) is first
    assert manager.reports.of(WEEKS) is not first


def test_one_that_there_is_not_yet_is_not_waited_for_for_long() -> None:
    manager = Summing(wait=0.01)
    with summing(manager), pytest.raises(NoAnswer, match="Other reports are being summed up"):
        manager.reports.of(MONTHS)
    manager.reports.of(MONTHS)


@contextmanager
def summing(manager: Summing) -> Iterator[None]:
    """Within it somebody else's report is being summed up."""
    manager.begun.clear()
    manager.may_end.clear()
    other = threading.Thread(target=manager.reports.of, args=(WEEKS,))
    other.start()
    assert manager.begun.wait(60)
    yield
    manager.may_end.set()
    other.join(60)


def test_what_fails_is_said_counts_and_does_not_keep_others_from_it() -> None:
    manager = Summing(takes=1.0, data=b"no document")
    for _ in range(2):
        with pytest.raises(ValueError, match="Expecting value"):
            manager.reports.of(WEEKS)
    manager.data = b'{"rows": [], "totals": []}'
    manager.reports.of(WEEKS)
    assert len(manager.asked) == 3


def test_a_report_that_is_too_long_says_what_to_type() -> None:
    manager = Summing(data=b" " * (LONGEST + 1))
    kept = manager.reports.of(Choice(By.REPOSITORY, Per.MONTH, 36))
    assert "mayfly report --by repository --per month --since 20" in kept.shown.text
    assert "/report?by=person" in html.unescape(kept.shown.text)
    with pytest.raises(NoAnswer, match="too long for the page"):
        kept.csv()


def test_a_choice_is_in_its_address() -> None:
    for per in Per:
        for by in By:
            one = Choice(by, per, LASTS[per][1])
            query = dict(pair.split("=") for pair in one.query().split("&"))
            assert chosen_by(query) == one
