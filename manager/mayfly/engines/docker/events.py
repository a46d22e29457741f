"""The Engine's events: a bell that says where to look, and whether the Engine lived through a
pause.

The Engine remembers its last 256 events in memory only, so what is found there after a pause tells
three things apart: the cursor is there, and it lived; the memory is shorter than it can be and lacks
the cursor, and it was started anew; or the cursor was pushed out, and nobody knows. Events are never
the state itself: whoever is rung looks. All kinds of event are received and most are thrown away,
so that the cursor is always the newest.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from mayfly.core.model import (
    LABEL_GENERATION,
    LABEL_HOST,
    LABEL_SLOT,
    Continuity,
    Generation,
    HostId,
    SlotName,
)
from mayfly.core.quantities import whole_number
from mayfly.edge.faults import Fault
from mayfly.edge.lasting_thread import LastingThread
from mayfly.engines.docker import faults, wire
from mayfly.engines.docker.values import Replay
from mayfly.engines.protocol import EngineEvent, EventCursor, StreamTurn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# What the Engine remembers (moby, daemon/events).
RING = 256
# An exec or an attach changes no state; nor does a process that is killed for memory, of which a job may have
# many a second: each would have the Engine looked at.
_CONTAINER = frozenset(
    ("create", "start", "restart", "die", "kill", "stop", "pause", "unpause")
) | frozenset(("rename", "destroy", "remove"))
_IMAGE = frozenset(("tag", "untag", "delete", "pull", "import", "load"))
_BACKOFF = (0.05, 0.1, 0.2, 0.4, 0.8)
_STEADY = 1.0  # seconds that a stream has to last for the next one to be opened at once


def replay(base_url: str, cursor: EventCursor | None, *, timeout: float) -> Replay:
    """What the Engine remembers after ``cursor`` (without one: all), and its life since then."""
    now = time.time_ns()
    remembered = list(_remembered(base_url, now, timeout))
    cursors = [_cursor_of(raw) for raw in remembered]
    newest = cursors[-1] if cursors else cursor
    if cursor is None:
        return Replay(_ours(remembered), Continuity.UNKNOWN, newest)
    if cursor in cursors:
        return Replay(_ours(remembered[cursors.index(cursor) + 1 :]), Continuity.SAME, newest)
    if (
        cursor.time_nano > now or len(remembered) >= RING
    ):  # a clock set back hides events that are there
        return Replay(_ours(remembered), Continuity.UNKNOWN, newest)
    return Replay(_ours(remembered), Continuity.RESTARTED, newest)


class EventFollower:
    """A thread that rings for every event of interest, for ever, and says when the stream is lost
    or back.

    ``ring`` and ``turned`` are called on that thread and must not block. What happened while the
    stream was lost is rung, as far as the Engine remembers it, before ``turned`` says that it is
    back. Each event rings once.
    """

    def __init__(
        self,
        base_url: str,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        *,
        cursor: EventCursor | None = None,
        timeout: float = 30,
    ) -> None:
        self.base_url = base_url
        self.timeout = timeout
        self._ring = ring
        self._turned = turned
        self._cursor = cursor
        self._seen: deque[EventCursor] = deque(maxlen=2 * RING)
        self._socket: socket.socket | None = None
        self._stopping = threading.Event()
        self._thread = LastingThread(self._run, "engine-events")

    @property
    def cursor(self) -> EventCursor | None:
        """The newest event received, of any kind, and rung if it was to be; None where none was."""
        return self._cursor

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        conn = self._socket
        if conn is not None:
            _shut(conn)
        self._thread.join()

    def _run(self) -> None:
        tries, up = 0, False
        while not self._stopping.is_set():
            try:
                with self._opened() as conn:
                    up, since = True, time.monotonic()
                    why = self._follow(conn)
                    tries = 0 if time.monotonic() - since > _STEADY else tries
            except Fault as fault:
                why = str(fault)
            if self._stopping.is_set():
                return
            if up or tries == 0:
                self._turned(StreamTurn(False, Continuity.UNKNOWN, why))
            up = False
            self._stopping.wait(_BACKOFF[min(tries, len(_BACKOFF) - 1)])
            tries += 1

    def _opened(self) -> socket.socket:
        """An open stream, after everything that was missed was rung and the turn was told."""
        began = time.time_ns()
        missed = replay(self.base_url, self._cursor, timeout=self.timeout)
        self._seen.clear()
        self._rest = b""
        if missed.cursor is not None:
            self._seen.append(missed.cursor)
        since = began if missed.cursor is None else missed.cursor.time_nano
        opened = wire.open_stream(
            self.base_url,
            "GET",
            f"/events?since={since // 10**9}.{since % 10**9:09d}",
            "following the Engine's events",
            timeout=self.timeout,
        )
        self._socket, self._rest = opened.socket, opened.first
        opened.socket.settimeout(None)
        for event in missed.events:
            self._ring(event)
        self._turned(StreamTurn(True, missed.continuity, "the stream of events is open"))
        self._cursor = missed.cursor
        if self._stopping.is_set():
            _shut(opened.socket)
        return opened.socket

    def _follow(self, conn: socket.socket) -> str:
        """Ring until the stream ends; why it did."""
        held = self._rest
        while True:
            *lines, held = held.split(b"\n")
            for line in lines:
                self._take(line)
            try:
                chunk = conn.recv(65536)
            except OSError as error:
                return str(
                    faults.unreachable(self.base_url, "following the Engine's events", error)
                )
            if not chunk:
                return "the Engine ended the stream of events"
            held += chunk
            if len(held) > wire.BODY_MAX:
                return "the Engine sent a line that is no event"

    def _take(self, line: bytes) -> None:
        raw = _parsed(line)
        if raw is None:
            return
        cursor = _cursor_of(raw)
        if cursor in self._seen:
            return
        self._seen.append(cursor)
        event = _event(raw)
        if event is not None:
            self._ring(event)
        self._cursor = cursor


def _remembered(base_url: str, now: int, timeout: float) -> Iterator[Mapping[str, Any]]:
    """All events that the Engine remembers, oldest first."""
    doing = "asking the Engine for past events"
    until = f"{now // 10**9}.{now % 10**9:09d}"
    opened = wire.open_stream(
        base_url, "GET", f"/events?since=0&until={until}", doing, timeout=timeout
    )
    try:
        body = wire.read_all(opened, timeout)
    except OSError as error:
        raise faults.unreachable(base_url, doing, error) from error
    for line in body.split(b"\n"):
        raw = _parsed(line)
        if raw is not None:
            yield raw


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    """One event; None for a line that is none (the last one of an Engine that died while writing
    it).
    """
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    return raw if isinstance(raw, dict) and "Actor" in raw else None


def _cursor_of(raw: Mapping[str, Any]) -> EventCursor:
    return EventCursor(
        int(raw.get("timeNano", 0)), str(raw["Actor"].get("ID", "")), str(raw.get("Action", ""))
    )


def _ours(raws: list[Mapping[str, Any]]) -> tuple[EngineEvent, ...]:
    return tuple(event for raw in raws if (event := _event(raw)) is not None)


def _event(raw: Mapping[str, Any]) -> EngineEvent | None:
    """The event in Mayfly's words; None where it is of no interest."""
    kind, action, actor = raw.get("Type"), str(raw.get("Action", "")), raw["Actor"]
    attributes: Mapping[str, str] = actor.get("Attributes") or {}
    at, subject = int(raw.get("timeNano", 0)), str(actor.get("ID", ""))
    if kind == "image" and action in _IMAGE:
        return EngineEvent("image", action, subject, at, name=attributes.get("name", ""))
    if kind == "daemon":
        return EngineEvent("daemon", action, subject, at, name=attributes.get("name", ""))
    if kind != "container" or action not in _CONTAINER or not attributes.get(LABEL_HOST):
        return None
    # Where the image has a label of this name, it is what that says.
    code = whole_number(attributes.get("exitCode", "")) if action == "die" else None
    return EngineEvent(
        "container",
        action,
        subject,
        at,
        name=attributes.get("name", ""),
        host=HostId(attributes[LABEL_HOST]),
        slot=SlotName(attributes.get(LABEL_SLOT, "")),
        generation=Generation(attributes.get(LABEL_GENERATION, "")),
        exit_code=code,
        signal=attributes.get("signal") if action == "kill" else None,
    )


def _shut(conn: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        conn.shutdown(socket.SHUT_RDWR)
