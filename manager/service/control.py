"""The control socket's paths: reads from what was published or stored, changes as commands to the loop.

Nothing here changes any state or talks to the Engine or a provider. ``ROUTES`` is the whole table;
``docs/reference/control-socket.md`` is checked against it.
"""

from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from manager.edge.faults import Fault
from manager.service import parameters
from manager.service.board import Board
from manager.service.commands import Command, Send, ask
from manager.service.parameters import BadRequest
from manager.service.unix_http import Reply, Request, UnixServer, error_reply, json_reply

API = 1
LONG_POLLS = 32
WAIT_MAX = 60.0
AGENT_SECONDS = 30.0  # how long a followed output waits for an agent to take the job
FRAME = struct.Struct(">BxxxIQ")  # stream, length, position; then the bytes
FRAMED = "application/vnd.mayfly.output"
AGENT_HEADER = "Mayfly-Agent"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that an agent printed; without data, a sign that its stream is still followed."""

    stream: int  # 1: stdout, 2: stderr
    time: float  # seconds since the epoch, the Engine's stamp of the line
    data: bytes  # never the launcher's own lines
    position: int = 0  # bytes of this agent's output, both streams, that came before


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which ended agents are asked for; ``None`` lets all through."""

    since: float | None = None
    slot: str | None = None
    outcome: str | None = None
    gpu: str | None = None
    limit: int = 1000


class Reader(Protocol):
    """What is on disk, read from the threads of the control socket.

    Blocking, safe to call from many threads at once; never changes anything. Documents are ready
    for JSON: times as RFC 3339. Raises ``Fault`` where the disk cannot be read.
    """

    def jobs(self, limit: int) -> Sequence[Mapping[str, object]]:
        """All queued and running jobs, and the last ``limit`` ended, as ``jobs --json`` has them."""

    def job(self, job: str) -> Mapping[str, object] | None:
        """One such job; ``None`` where there is none of that id."""

    def events(self, after: int, limit: int, slot: str | None) -> Sequence[Mapping[str, object]]:
        """Events in order with ``seq`` above ``after``; ``after`` 0 means the last ``limit``."""

    def history(self, wanted: HistoryFilter) -> Sequence[Mapping[str, object]]:
        """Ended agents, the latest last."""

    def generation_of_job(self, job: str) -> str | None:
        """The agent that has, or had, this job; ``None`` while it is queued."""

    def generation_of_slot(self, slot: str, previous: bool) -> str | None:
        """The slot's agent, or the one before it; ``None`` where nothing was kept."""

    def output(self, generation: str, follow: bool, stop: threading.Event) -> Iterator[Chunk]:
        """The kept output of an agent, oldest first.

        With ``follow`` it ends when the agent has ended and all is read, or ``stop`` is set, and
        yields a chunk without data at least every five seconds while nothing comes.
        """


@dataclass(frozen=True, slots=True)
class Route:
    """One path: how it is reached, which query it takes, what it does."""

    method: str
    path: str  # with {names}
    query: tuple[str, ...]
    does: str
    answer: Callable[[Control, Request, Mapping[str, str]], Reply]

    def match(self, method: str, path: str) -> Mapping[str, str] | None:
        """The names in the path, or ``None`` where the path is another."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9][A-Za-z0-9._-]{0,127})", self.path)
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found is not None and method == self.method else None


def _nothing(_: str, __: BaseException) -> None:
    pass


@dataclass(slots=True)
class Control:
    """All that the paths need; ``respond`` is the only way in."""

    board: Board
    send: Send
    reader: Reader
    metrics: Callable[[], bytes]
    version: str = ""
    on_failure: Callable[[str, BaseException], None] = _nothing  # a bug: which path, what it was
    _stop: threading.Event = threading.Event()
    _polls: threading.BoundedSemaphore = threading.BoundedSemaphore(LONG_POLLS)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._polls = threading.BoundedSemaphore(LONG_POLLS)

    def open(self, path: str | Path) -> UnixServer:
        """A server on this socket, bound and not yet started; ``Refused`` where it cannot be."""
        return UnixServer(Path(path), self.respond)

    def stop(self) -> None:
        """End every followed stream."""
        self._stop.set()

    def respond(self, request: Request) -> Reply:
        """The answer to one request, whatever happens."""
        try:
            return self._route(request)
        except BadRequest as error:
            return error_reply(400, str(error), "bad_request")
        except Fault as error:
            return error_reply(503, str(error), "unavailable")
        except Exception as error:  # a bug here must not end the server, nor show itself
            self.on_failure(request.path, error)
            return error_reply(500, "this is a bug in mayfly; the manager's log has it", "bug")

    def _route(self, request: Request) -> Reply:
        for route in ROUTES:
            names = route.match(request.method, request.path)
            if names is not None:
                parameters.known_query(request.query, route.query)
                return route.answer(self, request, names)
        methods = [r.method for r in ROUTES if r.match(r.method, request.path) is not None]
        if methods:
            return error_reply(405, f"this path takes {methods[0]}, not {request.method}", "method")
        return error_reply(404, "there is no such path; see /v1/version", "no_such_path")

    # -- reads ---------------------------------------------------------------------------------

    def _version(self, _: Request, __: Mapping[str, str]) -> Reply:
        return json_reply(200, {"version": self.version, "api": API})

    def _status(self, request: Request, _: Mapping[str, str]) -> Reply:
        after = parameters.whole(request.query, "after", 0, 2**62)
        seconds = parameters.wait(request.query, WAIT_MAX)
        found = self.board.read()
        if seconds and (found is None or found.rev <= after):
            if not self._polls.acquire(blocking=False):
                return _too_many()
            try:
                found = self.board.wait(after, seconds)
            finally:
                self._polls.release()
        if found is None:
            return error_reply(503, "the manager is starting: no pass has ended yet", "starting")
        return json_reply(200, {**found.document, "rev": found.rev})

    def _jobs(self, request: Request, _: Mapping[str, str]) -> Reply:
        limit = parameters.whole(request.query, "limit", 100, 10_000)
        return json_reply(200, {"schema": "mayfly.jobs/1", "jobs": list(self.reader.jobs(limit))})

    def _job(self, _: Request, names: Mapping[str, str]) -> Reply:
        found = self.reader.job(names["job"])
        if found is None:
            return _no_such_job(names["job"])
        return json_reply(200, {"schema": "mayfly.job/1", **found})

    def _events(self, request: Request, _: Mapping[str, str]) -> Reply:
        query = request.query
        after = parameters.whole(query, "after", 0, 2**62)
        limit = parameters.whole(query, "limit", 100, 1000) or 1
        slot = parameters.text(query.get("slot"), "slot")
        seconds = parameters.wait(query, WAIT_MAX)
        rows = self.reader.events(after, limit, slot)
        if not rows and seconds:
            if not self._polls.acquire(blocking=False):
                return _too_many()
            try:
                rows = self._await_events(after, limit, slot, seconds)
            finally:
                self._polls.release()
        return json_reply(200, {"schema": "mayfly.events/1", "events": list(rows)})

    def _await_events(
        self, after: int, limit: int, slot: str | None, seconds: float
    ) -> Sequence[Mapping[str, object]]:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
            seen = self.board.read()
            if rows := self.reader.events(after, limit, slot):
                return rows
            self.board.wait(seen.rev if seen else 0, min(left, 1.0))
        return ()

    def _history(self, request: Request, _: Mapping[str, str]) -> Reply:
        query = request.query
        wanted = HistoryFilter(
            since=parameters.moment(query.get("since"), "since"),
            slot=parameters.text(query.get("slot"), "slot"),
            outcome=parameters.text(query.get("outcome"), "outcome"),
            gpu=parameters.text(query.get("gpu"), "gpu"),
            limit=parameters.whole(query, "limit", 1000, 100_000),
        )
        agents = list(self.reader.history(wanted))
        return json_reply(200, {"schema": "mayfly.history/1", "agents": agents})

    def _metrics(self, _: Request, __: Mapping[str, str]) -> Reply:
        return Reply(200, "text/plain; version=0.0.4; charset=utf-8", self.metrics())

    # -- output --------------------------------------------------------------------------------

    def _job_output(self, request: Request, names: Mapping[str, str]) -> Reply:
        job = names["job"]
        if self.reader.job(job) is None:
            return _no_such_job(job)
        follow = parameters.switch(request.query, "follow")
        generation = self.reader.generation_of_job(job)
        if generation is None and follow:
            if not self._polls.acquire(blocking=False):
                return _too_many()
            try:
                generation = self._await_agent(job)
            finally:
                self._polls.release()
        return self._output(request, generation, follow)

    def _await_agent(self, job: str) -> str | None:
        deadline = time.monotonic() + AGENT_SECONDS
        while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
            seen = self.board.read()
            row = self.reader.job(job)
            generation = self.reader.generation_of_job(job)
            if generation is not None or row is None or row.get("finished") is not None:
                return generation
            self.board.wait(seen.rev if seen else 0, min(left, 0.5))
        return None

    def _slot_output(self, request: Request, names: Mapping[str, str]) -> Reply:
        slot = names["slot"]
        follow = parameters.switch(request.query, "follow")
        previous = parameters.switch(request.query, "previous")
        generation = self.reader.generation_of_slot(slot, previous)
        if generation is None and slot not in self._slots():
            return error_reply(404, f"there is no slot {slot}", "no_such_slot")
        return self._output(request, generation, follow)

    def _output(self, request: Request, generation: str | None, follow: bool) -> Reply:
        form = request.query.get("format", "framed")
        if form not in {"framed", "text"}:
            raise BadRequest("format must be framed or text")
        start = parameters.whole(request.query, "from", 0, 2**62)
        if generation is None:
            return Reply(204, "text/plain", b"")
        if request.query.get("agent", generation) != generation:
            start = 0  # the caller has read another agent's output, not this one's
        if not self._polls.acquire(blocking=False):
            return _too_many()
        try:
            chunks = self.reader.output(generation, follow, self._stop)
            pieces = _framed(chunks, start) if form == "framed" else _plain(chunks, start)
            stream = _Held(pieces, self._polls.release)
        except BaseException:
            self._polls.release()
            raise
        kind = FRAMED if form == "framed" else "text/plain; charset=utf-8"
        return Reply(200, kind, stream, {AGENT_HEADER: generation})

    def _slots(self) -> tuple[str, ...]:
        found = self.board.read()
        rows = found.document.get("slots") if found is not None else None
        return tuple(str(row["slot"]) for row in rows) if isinstance(rows, list | tuple) else ()

    # -- commands ------------------------------------------------------------------------------

    def _tell(self, verb: str, request: Request, arguments: Mapping[str, object]) -> Reply:
        answer = ask(self.send, Command(verb, arguments, request.caller))
        return json_reply(answer.status, answer.body)

    def _plan(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._tell("plan", request, {})

    def _submit(self, request: Request, _: Mapping[str, str]) -> Reply:
        given = parameters.document(request.body, ("argv", "env", "pool", "timeout"))
        arguments = {
            "argv": parameters.argv(given.get("argv")),
            "env": parameters.env(given.get("env")),
            "pool": parameters.text(given.get("pool"), "pool"),
            "timeout": parameters.seconds(given.get("timeout"), "timeout"),
        }
        return self._tell("submit", request, arguments)

    def _cancel(self, request: Request, names: Mapping[str, str]) -> Reply:
        parameters.document(request.body, ())
        return self._tell("cancel", request, {"job": names["job"]})

    def _cordon(self, request: Request, _: Mapping[str, str]) -> Reply:
        given = parameters.document(request.body, ("slots", "until", "note"))
        arguments = {
            "slots": self._named_slots(given),
            "until": parameters.moment(given.get("until"), "until"),
            "note": parameters.text(given.get("note"), "note", parameters.NOTE_MAX),
        }
        return self._tell("cordon", request, arguments)

    def _drain(self, request: Request, _: Mapping[str, str]) -> Reply:
        given = parameters.document(request.body, ("slots", "force"))
        arguments = {
            "slots": parameters.names(given.get("slots"), "slots"),
            "force": parameters.flag(given.get("force"), "force"),
        }
        return self._tell("drain", request, arguments)

    def _uncordon(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._tell_slots("uncordon", request)

    def _recycle(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._tell_slots("recycle", request)

    def _retry(self, request: Request, _: Mapping[str, str]) -> Reply:
        return self._tell_slots("retry", request)

    def _tell_slots(self, verb: str, request: Request) -> Reply:
        given = parameters.document(request.body, ("slots",))
        return self._tell(verb, request, {"slots": self._named_slots(given)})

    def _named_slots(self, given: Mapping[str, object]) -> tuple[str, ...]:
        """The slots named, or every slot where none is."""
        named = parameters.names(given.get("slots"), "slots")
        return self._slots() if named is None else named

    def _pause(self, request: Request, _: Mapping[str, str]) -> Reply:
        given = parameters.document(request.body, ("note",))
        note = parameters.text(given.get("note"), "note", parameters.NOTE_MAX)
        return self._tell("pause", request, {"note": note})

    def _resume(self, request: Request, _: Mapping[str, str]) -> Reply:
        parameters.document(request.body, ())
        return self._tell("resume", request, {})

    def _reload(self, request: Request, _: Mapping[str, str]) -> Reply:
        given = parameters.document(request.body, ("dry_run",))
        dry_run = parameters.flag(given.get("dry_run"), "dry_run")
        return self._tell("reload", request, {"dry_run": dry_run})


class _Held(Iterator[bytes]):
    """A stream that gives something back when it is closed, read or not."""

    def __init__(self, pieces: Iterator[bytes], release: Callable[[], None]) -> None:
        self._pieces = pieces
        self._release: Callable[[], None] | None = release

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        if isinstance(self._pieces, Iterator) and hasattr(self._pieces, "close"):
            self._pieces.close()
        release, self._release = self._release, None
        if release is not None:
            release()


def _from(chunks: Iterator[Chunk], start: int) -> Iterator[Chunk]:
    """What of the chunks lies at ``start`` or behind it; empty ones pass."""
    for chunk in chunks:
        skip = max(0, start - chunk.position)
        if not chunk.data or not skip:
            yield chunk
        elif skip < len(chunk.data):
            yield Chunk(chunk.stream, chunk.time, chunk.data[skip:], chunk.position + skip)


def _framed(chunks: Iterator[Chunk], start: int) -> Iterator[bytes]:
    for chunk in _from(chunks, start):
        stream = chunk.stream if chunk.data else 0
        yield FRAME.pack(stream, len(chunk.data), chunk.position) + chunk.data


def _plain(chunks: Iterator[Chunk], start: int) -> Iterator[bytes]:
    for chunk in _from(chunks, start):
        yield chunk.data


def _too_many() -> Reply:
    return error_reply(503, f"{LONG_POLLS} clients wait already; try again later", "busy")


def _no_such_job(job: str) -> Reply:
    return error_reply(404, f"there is no job {job}", "no_such_job")


_OUTPUT = ("follow", "from", "agent", "format")

ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/version", (), "the manager's version", Control._version),
    Route("GET", "/v1/status", ("after", "wait"), "the published status", Control._status),
    Route("GET", "/v1/jobs", ("limit",), "the embedded queue", Control._jobs),
    Route("GET", "/v1/jobs/{job}", (), "one job", Control._job),
    Route("GET", "/v1/jobs/{job}/output", _OUTPUT, "what a job printed", Control._job_output),
    Route(
        "GET",
        "/v1/slots/{slot}/output",
        (*_OUTPUT, "previous"),
        "what a slot's agent printed",
        Control._slot_output,
    ),
    Route(
        "GET",
        "/v1/events",
        ("after", "wait", "slot", "limit"),
        "what happened, in order",
        Control._events,
    ),
    Route(
        "GET",
        "/v1/history",
        ("since", "slot", "outcome", "gpu", "limit"),
        "ended agents",
        Control._history,
    ),
    Route("GET", "/v1/plan", (), "what the next pass would do", Control._plan),
    Route("GET", "/v1/metrics", (), "metrics for Prometheus", Control._metrics),
    Route("POST", "/v1/jobs", (), "queue a job", Control._submit),
    Route("POST", "/v1/jobs/{job}/cancel", (), "end a job", Control._cancel),
    Route("POST", "/v1/cordon", (), "no new agent or job in slots", Control._cordon),
    Route("POST", "/v1/uncordon", (), "undo cordon and drain", Control._uncordon),
    Route("POST", "/v1/drain", (), "empty slots", Control._drain),
    Route("POST", "/v1/pause", (), "observe only", Control._pause),
    Route("POST", "/v1/resume", (), "act again", Control._resume),
    Route("POST", "/v1/recycle", (), "replace agents when idle", Control._recycle),
    Route("POST", "/v1/retry", (), "forget back-off and hold", Control._retry),
    Route("POST", "/v1/reload", (), "read the configuration again", Control._reload),
)
