"""The pods of a namespace, listed once and watched from there: a bell that says where to look.

A watch that a server ends at its time goes on from the last version that was seen, which bookmarks keep
young. One whose version the server has forgotten (410) begins with another list, and what differs from what
was known is rung; so does one that ends before its time. A server whose store was set back to a copy of
before takes a version of its future without a word, and says nothing until it has come there: who looks at
the pods beside the watch tells it of the version then. Each start and each end rings once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mayfly.core.model import Container, ContainerId, Continuity
from mayfly.edge.faults import Fault, Passing
from mayfly.edge.lasting_thread import LastingThread
from mayfly.engines.kubernetes.api import Api, Expired, Stream, fault_of, slim
from mayfly.engines.kubernetes.manifest import SELECTOR
from mayfly.engines.kubernetes.pods import (
    VANISHED,
    WITHOUT_WAITING,
    PodEnd,
    container_id,
    container_of,
    end_of,
    runs,
    why_of,
)
from mayfly.engines.protocol import EngineEvent, EventCursor, StreamTurn

LASTS = 300  # seconds after which the server ends a watch, which is taken up again at once
# seconds without a word after which a watch is given up: bookmarks come before
SILENT = LASTS + 30.0
BEGINS = 30.0  # seconds for an answer to begin, which a server does at once
BRIEF = 5.0  # seconds of a watch that is taken up again as slowly as one that failed
EARLY = 15.0  # seconds before its time at which no server ends a watch that goes on
BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LINE = 4 * 1024 * 1024  # bytes of one event
VERSION_DIGITS = 20
DOING = "watching the pods"
Pod = Mapping[str, Any]


class PodWatch:
    """A thread that rings for every event of interest; ``seen`` hears of each pod as it is, before that."""

    def __init__(
        self,
        api: Api,
        path: str,
        ring: Callable[[EngineEvent], None],
        turned: Callable[[StreamTurn], None],
        seen: Callable[[Pod], None],
        *,
        cursor: EventCursor | None,
    ) -> None:
        self._api = api
        self._path = path
        self._ring = ring
        self._turned = turned
        self._seen = seen
        self._cursor = cursor
        self._told_until = cursor.time_nano / 1e9 if cursor is not None else None
        self._version = ""  # from which a watch goes on; "": a list comes first
        self._known: dict[ContainerId, str] = {}  # of each pod, what was rung of it last
        # What each pod was at last, should it be gone one day; a whole pod would be a hundred kilobytes.
        self._last: dict[ContainerId, tuple[Container | None, PodEnd | None]] = {}
        self._listed = False
        self._set_back = threading.Event()  # the server's store has become an older one
        self._stream: Stream | None = None
        self._stopping = threading.Event()
        self._thread = LastingThread(self._run, "engine-events")

    @property
    def cursor(self) -> EventCursor | None:
        """The newest event rung; ``None``: none was."""
        return self._cursor

    @property
    def version(self) -> str:
        """That is gone on from; ``""``: a list comes first."""
        return self._version

    def beside(self, before: str, listed: str) -> None:
        """A list that was asked for when the watch was at the version ``before`` is of ``listed``. An older
        one is of another store, where nothing that comes is heard of.

        (Versions are to be compared as numbers: API conventions, "Resource versions", of 1.35.)
        """
        if not (_is_version(before) and _is_version(listed)) or int(listed) >= int(before):
            return
        self._set_back.set()
        stream = self._stream
        if stream is not None:
            stream.stop()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.stop()
        self._thread.join()

    def _run(self) -> None:
        up, tries = False, 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if self._set_back.is_set():
                    self._set_back.clear()
                    self._version = ""
                if not self._version:
                    self._list()
                stream = self._opened()
                if not up:
                    up = True
                    self._turned(StreamTurn(True, Continuity.SAME, ""))
                self._follow(stream)
                if time.monotonic() - began < LASTS - EARLY:
                    self._version = ""
            except Expired:
                self._version = ""
            except Fault as fault:
                self._version = ""
                if up and not self._stopping.is_set():
                    up = False
                    self._turned(StreamTurn(False, Continuity.UNKNOWN, str(fault)))
            tries = tries + 1 if time.monotonic() - began < BRIEF else 0
            self._stopping.wait(BACKOFF[min(tries, len(BACKOFF) - 1)])

    def _list(self) -> None:
        found = self._api.call("GET", self._path, DOING, query={"labelSelector": SELECTOR})
        pods = {container_id(pod): pod for pod in found.get("items") or ()}
        for gone in self._known.keys() - pods.keys():
            last = self._last.pop(gone, (None, None))
            if self._known.pop(gone) != "die":
                self._tell("die", *last, gone, why=VANISHED)
            self._tell("destroy", *last, gone)
        for pod in pods.values():
            self._take(pod, first=not self._listed)
        self._listed = True
        self._version = str((found.get("metadata") or {}).get("resourceVersion") or "")

    def _opened(self) -> Stream:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "labelSelector": SELECTOR,
            "timeoutSeconds": str(LASTS),
        }
        return self._api.stream(
            self._path, query, DOING, idle=SILENT, begins=BEGINS, held=self._holds
        )

    def _holds(self, stream: Stream) -> None:
        self._stream = stream
        if self._stopping.is_set():
            stream.stop()

    def _follow(self, stream: Stream) -> None:
        """Until the server ends it; a ``Fault`` where it breaks off."""
        try:
            for line in stream.lines(LINE):
                self._heard(line)
        finally:
            stream.close()

    def _heard(self, line: bytes) -> None:
        try:
            event = json.loads(line, object_hook=slim)
            kind, pod = str(event["type"]), dict(event["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise Passing(f"{DOING}: an event broke off ({error})") from error
        if kind == "ERROR":
            raise fault_of(int(pod.get("code") or 500), pod, DOING, None)
        if kind != "BOOKMARK":
            self._take(pod, first=False)
        if kind == "DELETED":
            container = container_id(pod)
            if self._known.pop(container, "") == "start":
                # It ran, and its record alone is gone: nobody says that it has ended.
                last = (container_of(pod), end_of(pod))
                self._tell("die", *last, container, why=why_of(pod) or WITHOUT_WAITING)
            self._last.pop(container, None)
            self._tell("destroy", container_of(pod), end_of(pod), container)
        # Not before all of it is written down: a watch goes on behind it.
        self._version = str((pod.get("metadata") or {}).get("resourceVersion") or self._version)

    def _take(self, pod: Pod, *, first: bool) -> None:
        """Ring what is new of it; of the first list what an earlier run has heard is not."""
        container = container_id(pod)
        self._seen(pod)
        agent, end = container_of(pod), end_of(pod)
        now = "die" if end is not None else "start" if runs(pod) else "create"
        before = self._known.get(container)
        self._known[container] = now
        self._last[container] = (agent, end)
        if now == before or (before == "die" and now != "die"):
            return
        if first and (end is None or self._told_until is None or int(end.at) <= self._told_until):
            return
        self._tell(now, agent, end, container)

    def _tell(
        self,
        action: str,
        agent: Container | None,
        end: PodEnd | None,
        container: ContainerId,
        why: str = "",
    ) -> None:
        at = time.time_ns()
        self._cursor = EventCursor(at, container, action)
        self._ring(
            EngineEvent(
                kind="container",
                action=action,
                id=container,
                time_nano=at,
                name=agent.name if agent is not None else container.partition("@")[0],
                host=agent.host if agent is not None else None,
                slot=agent.slot if agent is not None else None,
                generation=agent.generation if agent is not None else None,
                exit_code=end.code if end is not None and action == "die" else None,
                why=end.why if end is not None else why,
            )
        )


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= VERSION_DIGITS
