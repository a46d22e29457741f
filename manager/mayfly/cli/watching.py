"""``status --watch``: the table redrawn in place on a terminal, one JSON document a change elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from mayfly.cli import render
from mayfly.cli.clean_terminal import draw
from mayfly.cli.client import Client, Document
from mayfly.cli.talk import colours, print_json, terminal_height, terminal_width
from mayfly.cli.trouble import Down, TimedOut
from mayfly.core.plain_text import safe

WAIT = 5.0  # also how often the ages on the screen move on
AWAY = 1.0


def watch_status(
    manager: Client, as_json: bool, *, every: bool, fitted: Callable[[Document], Document]
) -> NoReturn:
    """Show the status as it changes until ``KeyboardInterrupt``; a manager that goes away is waited for.

    ``fitted`` makes a document's lines to paste such that they work here.
    """
    screen = Screen(every)
    document: Document | None = None
    rev = 0
    while True:
        trouble = ""
        try:
            query = {"after": rev, "wait": WAIT}
            found = manager.get("/v1/status", query, timeout=WAIT + 10)
        except (Down, TimedOut) as error:
            if document is None:
                raise
            rev, trouble = 0, str(error).split("\n", maxsplit=1)[0]
            time.sleep(AWAY)
        else:
            changed = found.get("rev") != rev
            rev = int(found.pop("rev", 0))
            if as_json and changed:
                print_json(found, line=True)
            document = found if as_json else fitted(found)
        if not as_json:
            screen.show(document, trouble)


class Screen:
    """The lines drawn last, so that the next ones can be put over them."""

    def __init__(self, every: bool = False) -> None:
        """``every``: a row for each slot, also where the screen has no room for them."""
        self._every = every
        self._drawn: list[str] = []

    def show(self, document: Document, trouble: str) -> None:
        """Draw what is new; where nobody looks, only what differs from the last time."""
        width = terminal_width()
        height = None if self._every else terminal_height() - 1 - bool(trouble)
        lines = render.status(document, time.time(), width, colours(), height)
        if trouble:
            lines = [trouble[:width], *lines]
        self.draw(lines, width)

    def draw(self, lines: list[str], width: int | None) -> None:
        """Put these lines where the last ones stand; without a terminal, after them."""
        if width is None:
            self._append(lines)
        else:
            self._redraw(lines[: _rows() - 1])

    def _append(self, lines: list[str]) -> None:
        if lines != self._drawn:
            print("\n".join(lines), end="\n\n", flush=True)
        self._drawn = lines

    def _redraw(self, lines: list[str]) -> None:
        up = f"\x1b[{len(self._drawn)}A" if self._drawn else ""
        body = "".join(f"{safe(line)}\x1b[K\n" for line in lines)
        draw(f"{up}\r{body}\x1b[J")
        sys.stdout.flush()
        self._drawn = lines


def _rows() -> int:
    try:
        return max(2, os.get_terminal_size(sys.stdout.fileno()).lines)
    except OSError:
        return 24
