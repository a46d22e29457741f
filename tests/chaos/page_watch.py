"""Somebody who looks at the page all the time, and at ``status --json``, and holds one against the other."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from mayfly.core.plain_text import clean
from tests.harness import Manager

BROKEN = (OSError, http.client.HTTPException, AssertionError, ValueError)
KEPT = 200  # statuses, by their revision


def free_port() -> int:
    """A port of this host's own address that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


ASIDE = (("span", "beside"), ("p", "none"))  # what a cell says beside the status: where to read on


class _Page(HTMLParser):
    """The headline with its revision, each slot's row, and each condition's text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rev = 0
        self.headline = ""
        self.slots: list[list[str]] = []
        self.conditions: list[str] = []
        self._section = ""
        self._into: list[str] | None = None
        self._head = False
        self._aside = ""  # the tag of what stands in a cell beside what the status says
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if self._aside:
            return
        if tag in ("strong", "code") or (tag, told.get("class")) in ASIDE:
            self._aside = tag
        elif tag == "section":
            self._section = told.get("id") or ""
        elif told.get("class") == "headline":
            self.rev, self._head = int(told.get("data-rev") or 0), True
        elif self._section == "slots" and tag == "tr":
            self.slots.append([])
        elif self._section == "slots" and tag == "td":
            self.slots[-1].append("")
            self._into = self.slots[-1]
        elif self._section == "conditions" and tag == "li":
            self.conditions.append("")
            self._into = self.conditions

    def handle_endtag(self, tag: str) -> None:
        if tag == self._aside:
            self._aside = ""
        elif tag in ("td", "li"):
            self._into = None
        elif tag == "p":
            self._head = False

    def handle_data(self, data: str) -> None:
        if self._aside:
            return
        if self._head:
            self.headline += data
        elif self._into is not None:
            self._into[-1] += data


class PageWatch:
    """Looks in a thread of its own until it is closed."""

    def __init__(self, manager: Manager, port: int) -> None:
        self.compared = 0
        self.faults: list[str] = []
        self._manager = manager
        self._port = port
        self._life: object = None  # of whose statuses these are
        self._statuses: dict[int, Mapping[str, Any]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="page-watch")
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.3):
            try:
                life = self._manager.process
                before = self._manager.get("/v1/status")
                page = _Page(self._page())
                after = self._manager.get("/v1/status")
            except BROKEN:  # it is down, or goes down
                self._statuses = {}
                continue
            if life is not self._life or life is not self._manager.process:
                self._life = life
                self._statuses = {}
                continue
            self._statuses |= {one["rev"]: one for one in (before, after)}
            self._statuses = dict(sorted(self._statuses.items())[-KEPT:])
            if (status := self._statuses.get(page.rev)) is not None:
                self.compared += 1
                self.faults += disagreements(status, page)

    def _page(self) -> str:
        client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            client.request("GET", "/")
            found = client.getresponse()
            text = found.read().decode()
        finally:
            client.close()
        assert found.status == 200, text
        return text


def disagreements(status: Mapping[str, Any], page: _Page) -> list[str]:
    """What the two say otherwise of the same revision."""
    told = [
        ("headline", str(status["headline"]), page.headline),
        (
            "slots",
            [
                (row["slot"], row["pool"], row["phase"], row["job"] or "-")
                for row in status["slots"]
            ],
            [(*row[:3], row[4]) for row in page.slots if row],
        ),
        (
            "conditions",
            sorted(clean(row["text"]) for row in status["health"]),
            sorted(text.strip() for text in page.conditions),
        ),
    ]
    return [f"of revision {status['rev']}, {what}: {one} and {other}" for what, one, other in told
            if one != other]  # fmt: skip
