"""``status`` of several boxes, once or watched: then each by a thread of its own, and shown as it answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import NoReturn

from mayfly.cli import render_boxes
from mayfly.cli.boxes import Boxes
from mayfly.cli.client import Client, Document
from mayfly.cli.paste import here
from mayfly.cli.render_boxes import Reply
from mayfly.cli.standing import START_SECONDS, degraded, fitted
from mayfly.cli.talk import colours, print_json, terminal_height, terminal_width
from mayfly.cli.trouble import Trouble
from mayfly.cli.watching import WAIT, Screen

AWAY = 5.0  # seconds until one that did not answer is asked again
DRAWN = 1.0  # seconds between two looks at what has come
NOT_YET = "it has not answered yet"


def show(boxes: Boxes, *, watch: bool, every: bool, as_json: bool) -> int:
    """Print how they stand, once or as it changes; the exit code."""
    if watch:
        _watched(boxes, every=every, as_json=as_json)
    found = boxes.get("/v1/status", {"wait": START_SECONDS})
    found = render_boxes.understood(found, lambda one: degraded(one.document or {}))
    if as_json:
        print_json(render_boxes.merged(found))
    else:
        height = None if every else terminal_height()
        found = _shown(found)
        for line in _lines(found, terminal_width(), height):
            print(line)
    ill = any(one.document is not None and degraded(one.document) for one in found)
    return render_boxes.code_of(found) or int(ill)


def _shown(found: Sequence[Reply]) -> list[Reply]:
    """The same, where each can be shown."""
    return render_boxes.understood(found, lambda one: _lines([one], None, None))


def _lines(found: Sequence[Reply], width: int | None, height: int | None) -> list[str]:
    told = [
        Reply(one.box, fitted(one.document, here(None, host=one.box)), one.why, one.code)
        if one.document is not None
        else one
        for one in found
    ]
    return render_boxes.status(told, time.time(), width, colours(), height)


def _watched(boxes: Boxes, *, every: bool, as_json: bool) -> NoReturn:
    """Show them as they change until ``KeyboardInterrupt``; one that goes away is waited for."""
    came: SimpleQueue[Reply] = SimpleQueue()
    standing = {name: Reply(name, None, NOT_YET) for name in boxes.names}
    for name in boxes.names:
        watching = partial(_watch, name, boxes.client(name), came)
        threading.Thread(target=watching, name=f"box {name}", daemon=True).start()
    screen = Screen(every)
    while True:
        changed = False
        try:
            reply = came.get(timeout=DRAWN)
            while True:
                changed = changed or reply != standing[reply.box]
                standing[reply.box] = reply
                reply = came.get_nowait()
        except Empty:
            pass
        now = list(standing.values())
        if as_json and changed:
            print_json(render_boxes.merged(now), line=True)
        elif not as_json:
            now = _shown(now)
            width = terminal_width()
            height = None if every else terminal_height() - 1
            screen.draw(_lines(now, width, height), width)


def _watch(name: str, manager: Client, came: SimpleQueue[Reply]) -> NoReturn:
    """Put there how one box stands, each time that it changes."""
    rev = 0
    while True:
        try:
            document: Document = manager.get(
                "/v1/status", {"after": rev, "wait": WAIT}, timeout=WAIT + 10
            )
        except Trouble as trouble:
            rev = 0
            came.put(Reply(name, None, str(trouble), trouble.code))
            time.sleep(AWAY)
            continue
        if document.get("rev") != rev:
            found = document.get("rev")
            rev = found if isinstance(found, int) else 0
            came.put(Reply(name, document))
