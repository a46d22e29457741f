"""An output followed to its end, over restarts of the manager and without a byte twice."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping

from mayfly.cli.client import Client, Document, Piece, segment, some_of
from mayfly.cli.render import why
from mayfly.cli.talk import say
from mayfly.cli.trouble import Busy, Down, TimedOut
from mayfly.core import naming
from mayfly.core.plain_text import clean

QUEUED = 5.0  # seconds that a job may wait for a slot before a line says why
PATIENCE = 300.0  # how long a manager that was there may be away
NOT_WELL = frozenset({"failed", "cancelled", "lost"})
ENDED = NOT_WELL | {"succeeded"}

Sink = Callable[[Piece], None]


class Follower:
    """Remembers how far an output was read: the last frame's timestamp, and how many in a row had it.

    What Mayfly itself said behind that frame comes again with each reading, and is passed on once.
    """

    def __init__(self, client: Client, path: str, sink: Sink) -> None:
        self._client = client
        self._path = path
        self._sink = sink
        self._agent: str | None = None
        self._timestamp = 0
        self._count = 0
        self._notes: list[bytes] = []  # of Mayfly's own, behind that frame

    @property
    def begun(self) -> bool:
        """Whether an agent was found whose output can be read on."""
        return self._agent is not None

    def read(self, follow: bool, extra: Mapping[str, object] | None = None) -> bool:
        """Read on from where the last reading ended; whether anything came."""
        query: dict[str, object] = dict(extra or {})
        if follow:
            query["follow"] = 1
        if self._agent is not None:
            query |= {"agent": self._agent, "mark": self._timestamp, "count": self._count}
        came = False
        again = self._notes.copy()
        for piece in self._client.output(self._path, query):
            if piece.agent != self._agent:
                self._agent, self._timestamp, self._count = piece.agent, 0, 0
                self._notes, again = [], []
            if not piece.data:
                continue
            if piece.stream == 0 and again and again[0] == piece.data:
                del again[0]
                continue
            again = []
            self._sink(piece)
            came = True
            self._step(piece)
        return came

    def _step(self, piece: Piece) -> None:
        if piece.stream == 0:
            self._notes.append(piece.data)
            return
        self._count = self._count + 1 if piece.timestamp == self._timestamp else 1
        self._timestamp = piece.timestamp
        self._notes = []


def follow_job(client: Client, job: str, sink: Sink) -> Document:
    """Everything that a job prints, until it has ended; its row then."""
    path = f"/v1/jobs/{segment(job)}"
    follower = Follower(client, f"{path}/output", sink)
    away, waiting = Away(), Waiting(client)
    place = Place()
    pause = 0.02
    while True:
        try:
            came = place.read(follower)
            row = client.get(path)
            waiting.look(row)
            away.back()
            if row.get("state") in ENDED:
                follower.read(follow=False)
                return row
        except (Down, TimedOut) as trouble:
            away.gone(trouble)
            came, row = False, {}
        # Of a job that is queued the manager answers late: that was a pause already.
        waited = came or row.get("state") == "queued"
        pause = 0.02 if waited else min(0.5, pause * 2)
        time.sleep(some_of(2.0) if place.lacking else pause)


def followed_group(client: Client, group: str) -> Document:
    """The jobs of a group, once all of them have ended."""
    away = Away()
    pause = 0.2
    while True:
        try:
            document = client.get("/v1/jobs", {"group": group, "limit": 10_000})
            away.back()
            rows = document.get("jobs") or ()
            if all(row.get("state") in ENDED for row in rows):
                return {
                    **document,
                    "jobs": sorted(
                        rows, key=lambda row: naming.place_in_group(str(row.get("job")))
                    ),
                }
        except (Down, TimedOut) as trouble:
            away.gone(trouble)
        time.sleep(some_of(pause))
        pause = min(2.0, pause * 1.5)


class Place:
    """A reader's place among those who follow an output; without one it looks every few seconds."""

    TRIED = 10.0  # how often a place is asked for, about

    def __init__(self) -> None:
        self._again = -math.inf

    @property
    def lacking(self) -> bool:
        """Whether there was none, when one was asked for last."""
        return time.monotonic() < self._again

    def read(self, follower: Follower) -> bool:
        """Read on as long as something comes, or only what there is; whether anything came."""
        if not self.lacking:
            try:
                return follower.read(follow=True)
            except Busy:
                self._again = time.monotonic() + some_of(self.TRIED)
        return follower.read(follow=False)


class Waiting:
    """Says of a job that stays queued, on standard error, why and for how long: once, and on a terminal again
    where that has changed.
    """

    AGAIN = 30.0  # seconds between two sentences

    def __init__(self, client: Client, patience: float = QUEUED) -> None:
        self._client = client
        self._until = time.monotonic() + patience
        self._place: object = None  # as it was told last

    def look(self, row: Document) -> None:
        """At the job's row, each time that it was asked for."""
        if row.get("state") != "queued" or time.monotonic() < self._until:
            return
        self._until = time.monotonic() + self.AGAIN if sys.stderr.isatty() else math.inf
        if row.get("why"):
            place = (row.get("position"), row.get("why"))
            if place != self._place:
                say(f"{why(row, time.time())}; see mayfly jobs --why {clean(str(row.get('job')))}")
            self._place = place
            return
        self._until = math.inf  # a manager of before says no more than how its slots are
        pool = row.get("pool")
        status = self._client.get("/v1/status")
        phases = Counter(
            "cordoned" if slot.get("cordoned") else str(slot["phase"])
            for slot in status.get("slots", [])
            if slot.get("pool") == pool
        )
        found = ", ".join(f"{count} {phase}" for phase, count in phases.items()) or "there is none"
        job = clean(str(row.get("job")))
        paused = [
            f"; {clean(str(line['text']))}"
            for line in status.get("health", [])
            if line.get("code") == "manager.paused"
        ]
        say(
            f"job {job} waits for a slot of pool {clean(str(pool))} ({found}){''.join(paused)}; see mayfly"
            " status"
        )


class Away:
    """How long the manager has not answered, and when that is too long."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._since: float | None = None

    def back(self) -> None:
        """It answers."""
        self._since = None

    def gone(self, trouble: Exception) -> None:
        """It does not; raises ``trouble`` once patience is at its end. A busy one is not away."""
        if isinstance(trouble, Busy):
            self._since = None
            return
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._patience:
            raise trouble


class JobSink:
    """For ``submit --wait``: the bytes as they are, each stream where it belongs.

    What Mayfly says of missing bytes is talk, and makes the output ``incomplete``.
    """

    def __init__(self) -> None:
        self.incomplete = False
        self._printed = 0

    def __call__(self, piece: Piece) -> None:
        if piece.stream == 0:
            self.incomplete = True
            note = clean(piece.data.decode(errors="replace"))
            say(f"after {self._printed} bytes of the job's output: {note}")
            return
        target = sys.stderr if piece.stream == 2 else sys.stdout
        target.buffer.write(piece.data)
        target.buffer.flush()
        self._printed += len(piece.data)


class LogSink:
    """For ``logs``: what was said of the output, and the output, as it comes."""

    def __call__(self, piece: Piece) -> None:
        if piece.stream == 0:
            say(clean(piece.data.decode(errors="replace")))
            return
        target = sys.stderr if piece.stream == 2 else sys.stdout
        target.buffer.write(piece.data)
        target.buffer.flush()
