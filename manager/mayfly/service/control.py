"""The control socket's paths: reads from what was published or stored, changes as commands.

Nothing here changes any state or talks to the Engine or a provider. ``Control.ROUTES`` is the whole
table; ``docs/reference/control-socket.md`` is checked against it.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from mayfly.core.attaching import PROTOCOL, Size
from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import (
    AttachAgent,
    Caller,
    Command,
    Seen,
    SubmitJob,
    images_of,
    with_seen,
)
from mayfly.core.model import Generation, JobId, JobState, SlotName
from mayfly.core.quantities import rfc3339
from mayfly.core.runs import PATH_MAX, REF_MAX
from mayfly.core.usage_report import Work
from mayfly.edge.faults import Fault
from mayfly.edge.history_reader import JobsWanted, RunsWanted
from mayfly.edge.http_connection import (
    RETRY,
    ClientGone,
    HttpReply,
    OnFailure,
    Reply,
    Request,
    as_json,
    error_reply,
    json_reply,
)
from mayfly.edge.output_kept import NOTE, Chunk
from mayfly.edge.pieces import PIECE
from mayfly.edge.places import Bounds, Places
from mayfly.edge.results import ResultStore
from mayfly.edge.unix_http import OPERATORS, USERS, Door, UnixServer, there_is, users_socket
from mayfly.edge.workspaces import Workspaces
from mayfly.service import (
    idle_document,
    openapi,
    output_stream,
    parameters,
    sending,
    usage_document,
)
from mayfly.service.attachments import Wanted
from mayfly.service.board import StatusBoard
from mayfly.service.command_parsing import (
    COMMAND_ROUTES,
    ESTIMATE,
    CommandRequest,
    CommandRoute,
    estimated,
)
from mayfly.service.idle_document import IdleHost
from mayfly.service.metrics import CONTENT_TYPE
from mayfly.service.parameters import BadRequest
from mayfly.service.pending_command import Send, ask
from mayfly.service.queue_view import NO_QUEUE, QueueView

API = 1
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})
PAGE = 500  # rows of a long answer that are in memory at once
LISTS = 2  # long lists that are made at once, by those who come in by one door
LIST_SECONDS = 5.0  # how long one waits for its turn
# Clients that wait or follow. A user's other connections are for those who do not.
LONG_POLLS = Bounds(all=32, of_one=16, of_root=16)
LONG_POLLS_OF_USERS = Bounds(all=24, of_one=6, of_root=6)
# Clients that send what jobs bring, which may take long too.
UPLOADS = Bounds(all=16, of_one=6, of_root=10)
UPLOADS_OF_USERS = Bounds(all=12, of_one=3, of_root=3)
WAIT_MAX = 60.0
AGENT_SECONDS = 5.0  # how long the output of a job without an agent is waited for
LATE_SECONDS = 3.0  # how long the end of an output is waited for whose agent is over
STILL_COMING = b"the end of this output is still on its way from the Engine: ask again"
FRAMED = "application/vnd.mayfly.output"
AWAITED, KEPT, NEVER = "awaited", "kept", "never"  # of a job's results
AGENT_HEADER = "Mayfly-Agent"
OUTPUT_QUERY = ("follow", "format", "agent", "mark", "count")
EVENTS_QUERY = ("after", "wait", "slot", "limit")
HISTORY_QUERY = ("since", "slot", "outcome", "gpu", "limit")
UPGRADE = {"Upgrade": PROTOCOL, "Connection": "Upgrade"}
TIME_KEYS = frozenset(
    {
        *("at", "since", "until", "submitted", "started", "finished", "born", "opened", "exited"),
        "starts_at",
    }
)
JOBS_QUERY = ("limit", "most", "mine", "pool", "state", "since", "group")
REPORT_QUERY = usage_document.QUERY
RUNS_QUERY = ("limit", "mine", "repository", "ref", "state", "since")
MOST = 20_000  # rows of one list
RUN_KEYS = (
    *("run", "repository", "ref", "commit", "base", "subject", "owner", "state"),
    *("submitted", "finished", "jobs"),
)
JOB_KEYS = (
    *("job", "pool", "state", "exit_code", "cause", "detail"),
    *("slot", "agent", "submitted", "started", "finished", "owner"),
    *("name", "command", "priority", "group", "variant", "after", "lost", "image"),
    *("gpu_use", "hold"),
)

ATTACH_BODY = ("argv", "rows", "columns", "term")

Names = Mapping[str, str]
Row = Mapping[str, Any]


class Reader(Protocol):
    """What is on disk, read from the threads of the control socket: ``edge.history.Reader``.

    Blocking, safe to call from many threads at once; never changes anything. Times are seconds since
    the epoch and leave here as RFC 3339. Raises ``Fault`` where the disk cannot be read.
    """

    def listed_jobs(self, wanted: JobsWanted = ...) -> Mapping[JobId, JobState]:
        """All queued and running jobs that are wanted, and the last of those that have ended."""

    def job_rows(self, jobs: Sequence[JobId]) -> Sequence[Row]:
        """Those jobs, in that order."""

    def job(self, job: str) -> Row | None:
        """One job; ``None`` where there is none of that id."""

    def listed_runs(self, wanted: RunsWanted = ...) -> Sequence[Row]:
        """The runs that are wanted, the last first."""

    def works(self, since: float) -> Iterable[Work]:
        """All runs of jobs that ended since then, the oldest first; not all of them in memory."""

    def known_from(self) -> float | None:
        """When the first agent ended that is remembered; ``None``: none is."""

    def run(self, run: str) -> Row | None:
        """One run; ``None`` where there is none of that id."""

    def owner_of_job(self, job: str) -> int | None:
        """The uid of whoever submitted it; ``None`` where that is not known."""

    def owner_of_agent(self, generation: str) -> int | None:
        """The uid of whoever submitted the job that the agent has or had; ``None``: it had none."""

    def generation_of_job(self, job: str) -> str | None:
        """The agent that has, or had, this job; ``None`` while it is queued."""

    def generation_of_slot(self, slot: str, *, previous: bool = False) -> str | None:
        """The slot's agent, or the one before it; ``None`` where nothing was kept."""

    def end_at_gate(self, generation: str) -> str | None:
        """How an agent ended that ended before its gate was opened; ``None`` where it did not."""

    def events(
        self, after: int = 0, limit: int = 1000, slot: str | None = None, *, last: bool = False
    ) -> Sequence[Row]:
        """Events with ``seq`` above ``after``, oldest first; with ``last`` the newest of them."""

    def ended_agents(
        self,
        since: float | None = None,
        slot: str | None = None,
        outcome: str | None = None,
        gpu: str | None = None,
        limit: int = 1000,
    ) -> Sequence[str]:
        """Ended agents by their generations, newest first."""

    def lives(self, generations: Sequence[str]) -> Sequence[Row]:
        """Those ended agents, in that order."""


class Output(Protocol):
    """What agents printed, on disk: ``engines.protocol.OutputKeeper``."""

    def read(
        self, generation: Generation, *, follow: bool, stop: Callable[[], bool] = ...
    ) -> Iterator[Chunk]:
        """The kept output of an agent, oldest first, without the launcher's own lines.

        With ``follow`` it goes on until the agent has ended or ``stop()``; while nothing comes, it
        yields a chunk without data about twice a second.
        """


@dataclass(frozen=True, slots=True)
class Route:
    """One path: how it is reached, which query it takes, what it does."""

    method: str
    path: str  # with {names}
    query: tuple[str, ...]
    does: str
    answer: Callable[[Control, Request, Names], Reply]
    body: tuple[str, ...] | None = None  # a command's keys; None: it is a read
    pieces: bool = False  # its body is bytes, taken as they come
    operators: bool = False  # not for those who may only submit, read, and end what is theirs

    def match(self, method: str, path: str) -> Names | None:
        """The names in the path, or ``None`` where the path is another."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9][A-Za-z0-9._-]{0,127})", self.path)
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found is not None and method == self.method else None


@dataclass(frozen=True, slots=True)
class Listing:
    """Jobs by how they stand: those that wait as they come, those that have ended the last first."""

    running: Sequence[JobId]
    queued: Sequence[JobId]
    ended: Sequence[JobId]

    @property
    def all(self) -> Sequence[JobId]:
        """In the order of a page."""
        return (*self.running, *self.queued, *self.ended)


def nowhere(_: AttachAgent, __: Wanted) -> Reply:
    """Of a manager that lets nobody in."""
    return error_reply(503, "this manager lets nobody in", "unavailable")


def _nothing(_: str, __: BaseException) -> None:
    pass


def _commanded(route: CommandRoute) -> Route:
    """A path that sends a command to the loop and hands its answer back."""

    def answer(control: Control, request: Request, names: Names) -> HttpReply:
        given = parameters.document(request.body, route.body)
        wanted = CommandRequest(request.caller, given, names, control.slots())
        command = route.parse(wanted)
        if images := images_of(command):
            command = with_seen(command, control.images(images))
        found = ask(control.send, command)
        return json_reply(found.status, found.body)

    return Route(route.method, route.path, (), route.does, answer, route.body)


class Control:
    """All that the paths need; ``respond`` is the only way in."""

    def __init__(
        self,
        board: StatusBoard,
        send: Send,
        reader: Reader,
        output: Output,
        metrics: Callable[[], bytes],
        *,
        queue: QueueView = NO_QUEUE,
        workspaces: Workspaces | None = None,
        results: ResultStore | None = None,
        gpus: Callable[[], Mapping[str, object]] = dict,
        recording: Callable[[], Mapping[str, object]] = dict,
        attach: Callable[[AttachAgent, Wanted], Reply] = nowhere,
        use: Callable[[], Mapping[str, object]] = dict,
        images: Callable[[Iterable[str]], Seen] = lambda _: {},
        idle: IdleHost | None = None,
        version: str = "",
        on_failure: OnFailure = _nothing,
    ) -> None:
        """``on_failure`` hears of bugs: on which path, and what was raised. Without ``workspaces`` nobody
        can send anything for a job; ``images`` says what the Engine has of those that jobs are to run in.
        """
        self.images = images
        self.board = board
        self.send = send
        self._reader = reader
        self._printed = output
        self._exposition = metrics
        self._queue = queue
        self._workspaces = workspaces
        self._results = results
        self._gpus_document = gpus
        self._recorded = recording
        self._attach_to = attach
        self._used = use
        self._idle_host = idle
        self._release = version
        self._on_failure = on_failure
        self._stop = threading.Event()
        self._listing = threading.BoundedSemaphore(LISTS)
        self._listing_of_users = threading.BoundedSemaphore(LISTS)
        self._places = Places(LONG_POLLS)
        self._places_of_users = Places(LONG_POLLS_OF_USERS)
        self._sending = Places(UPLOADS)
        self._sending_of_users = Places(UPLOADS_OF_USERS)

    def open(self, path: str | Path, door: Door = OPERATORS) -> UnixServer:
        """A server on this socket, bound and not yet started; ``Refused`` where it cannot be."""
        return UnixServer(Path(path), self.respond, self._on_failure, door, self._takes_pieces)

    def open_all(self, path: str | Path) -> list[UnixServer]:
        """The same for everybody for whom there is a group on this host."""
        users = [self.open(users_socket(path), USERS)] if there_is(USERS) else []
        return [self.open(path), *users]

    def stop(self) -> None:
        """End every followed stream."""
        self._stop.set()

    def respond(self, request: Request) -> Reply:
        """The answer to one request, whatever happens."""
        try:
            return self._route(request)
        except ClientGone:
            raise
        except BadRequest as error:
            return error_reply(400, str(error), "bad_request")
        except _NotTheirs as error:
            return error_reply(403, str(error), "forbidden")
        except Fault as error:
            return error_reply(503, str(error), "unavailable")
        except _TooMany as error:
            return replace(error_reply(503, str(error), "busy"), headers=RETRY)
        except Exception as error:  # noqa: BLE001  a bug must neither end the server nor show itself
            self._on_failure(request.path, error)
            return error_reply(500, "this is a bug in mayfly; the manager's log has it", "bug")

    def slots(self) -> tuple[str, ...]:
        """The slots of this host, as published."""
        found = self.board.read()
        rows = found.document.get("slots") if found is not None else None
        return tuple(str(row["slot"]) for row in rows) if isinstance(rows, list | tuple) else ()

    def _holds(self) -> dict[str, object]:
        """The jobs whose containers are held, as published: for whom and until when."""
        found = self.board.read()
        rows = found.document.get("slots") if found is not None else None
        slots = rows if isinstance(rows, list | tuple) else ()
        held = ((slot.get("held"), slot.get("note")) for slot in slots)
        return {
            str(one["job"]): {"user": one["user"], "until": one["until"], "words": note}
            for one, note in held
            if one is not None and one["job"] is not None and not one["over"]
        }

    def _route(self, request: Request) -> Reply:
        for route in self.ROUTES:
            names = route.match(request.method, request.path)
            if names is not None:
                parameters.known_query(request.query, route.query)
                if route.operators and not request.caller.operator:
                    raise _NotTheirs(f"{route.path} is not for the group {USERS.group}")
                return route.answer(self, request, names)
        for route in self.ROUTES:
            if route.match(route.method, request.path) is not None:
                sentence = f"this path takes {route.method}, not {request.method}"
                return error_reply(405, sentence, "method")
        return error_reply(404, "there is no such path; they begin with /v1/", "no_such_path")

    def _takes_pieces(self, method: str, path: str) -> int | None:
        """How many bytes of a body may come in pieces there; ``None``: it is a document."""
        if self._workspaces is None:
            return None
        there = any(one.pieces and one.match(method, path) is not None for one in self.ROUTES)
        return sending.most(self._workspaces) if there else None

    # -- what is sent for jobs -----------------------------------------------------------------------

    def _sent(self, answer: sending.Answer, request: Request, body: tuple[str, ...]) -> HttpReply:
        if self._workspaces is None:
            return error_reply(503, "this manager keeps nothing for jobs", "unavailable")
        return answer(self._workspaces, request, body)

    def _lacking(self, request: Request, _: Names) -> HttpReply:
        return self._sent(sending.lacking, request, sending.LACKING)

    def _content(self, request: Request, _: Names) -> HttpReply:
        operator = request.caller.operator
        places = self._sending if operator else self._sending_of_users
        bounds = UPLOADS if operator else UPLOADS_OF_USERS
        with _Place(_taken(places, bounds, request.caller.uid, "send to the manager")):
            return self._sent(sending.content, request, ())

    def _tree(self, request: Request, _: Names) -> HttpReply:
        return self._sent(sending.tree, request, sending.TREE)

    # -- reads -------------------------------------------------------------------------------------

    def _version(self, _: Request, __: Names) -> HttpReply:
        return json_reply(200, {"version": self._release, "api": API})

    def _openapi(self, _: Request, __: Names) -> HttpReply:
        return json_reply(200, openapi.document(self.ROUTES))

    def _status(self, request: Request, _: Names) -> HttpReply:
        after = parameters.whole(request.query, "after", 0, 2**62)
        seconds = parameters.wait(request.query, WAIT_MAX)
        found = self.board.read()
        if seconds and (found is None or found.rev <= after):
            with self._waiting(request):
                found = self.board.wait(after, seconds)
        if found is None:
            return error_reply(503, "the manager is starting: no pass has ended yet", "starting")
        return json_reply(200, {**found.document, "rev": found.rev})

    def _jobs(self, request: Request, _: Names) -> HttpReply:
        query = request.query
        most = parameters.whole(query, "most", MOST, MOST)
        wanted = JobsWanted(
            limit=parameters.whole(query, "limit", 100, 10_000),
            pool=parameters.text(query.get("pool"), "pool"),
            state=parameters.job_state(query.get("state")),
            uid=request.caller.uid if parameters.switch(query, "mine") else None,
            since=parameters.moment(query.get("since"), "since"),
            group=parameters.text(query.get("group"), "group"),
        )
        with self._turn(request):
            found = self._reader.listed_jobs(wanted)
            positions = self._queue.positions()
            jobs = _foremost(_in_order(found, positions), found, most)
            head = b'{"schema":"mayfly.jobs/1","left_out":%d,"jobs":[' % (len(found) - len(jobs))
            told = partial(self._listed, request.caller, positions, self._holds())
            return HttpReply(200, "application/json", self._jobs_in_pages(head, jobs, told))

    def _estimate(self, request: Request, names: Names) -> HttpReply:
        given = parameters.document(request.body, ESTIMATE)
        command: Command = estimated(CommandRequest(request.caller, given, names, ()))
        if images := images_of(command):
            command = with_seen(command, self.images(images))
        assert isinstance(command, SubmitJob)
        with self._turn(request):
            found = self._queue.estimate(command)
        if isinstance(found, Refusal):
            return error_reply(found.status, found.sentence, found.kind)
        return json_reply(200, {"schema": "mayfly.estimate/1", **found})

    def listing(self, wanted: JobsWanted) -> Listing:
        """The ids of the jobs that are wanted, by how they stand, without a row of any."""
        if not self._listing_of_users.acquire(timeout=LIST_SECONDS):
            raise _TooMany(f"{LISTS} long lists are being made already, and others wait: ask again")
        try:
            found = self._reader.listed_jobs(wanted)
        finally:
            self._listing_of_users.release()
        order = _in_order(found, self._queue.positions())
        return Listing(
            tuple(one for one in order if found[one] is JobState.RUNNING),
            tuple(one for one in order if found[one] is JobState.QUEUED),
            tuple(one for one in reversed(order) if found[one] in ENDED),
        )

    def rows_of(self, caller: Caller, jobs: Sequence[JobId]) -> list[Row]:
        """Those jobs as ``/v1/jobs`` has them, in that order."""
        known = self._queue.positions(), self._holds()
        return [self._listed(caller, *known, row) for row in self._reader.job_rows(jobs)]

    def standings(self, jobs: Sequence[str]) -> Mapping[str, Row]:
        """Of queued jobs: ``position``, ``starts_at`` and ``why``, as ``/v1/jobs/JOB`` has them."""
        return {job: _stamped(row) for job, row in self._queue.standings(jobs).items()}

    def _jobs_in_pages(
        self, head: bytes, jobs: Sequence[JobId], shown: Callable[[Row], Row]
    ) -> Iterator[bytes]:
        """A list, no more of it in memory than a page."""
        yield head
        comma = b""
        for at in range(0, len(jobs), PAGE):
            rows = [shown(row) for row in self._reader.job_rows(jobs[at : at + PAGE])]
            if rows:
                yield comma + as_json(rows)[1:-1]
                comma = b","
        yield b"]}\n"

    def _listed(
        self,
        caller: Caller,
        positions: Mapping[str, int],
        holds: Mapping[str, object],
        row: Row,
    ) -> Row:
        """A job as a list shows it: what it runs is for its owner and operators alone."""
        shown = {key: row.get(key) for key in JOB_KEYS}
        if not caller.may_act_on(row.get("uid")):
            shown |= {"command": None, "variant": None}  # it may have values of variables
        shown["held"] = holds.get(str(row["job"]))
        shown["reservation"] = self._queue.is_reservation(str(row["job"]))
        waits = row.get("state") == JobState.QUEUED
        shown["position"] = positions.get(str(row["job"])) if waits else None
        return _stamped(shown | {"seconds_left": self._seconds_left(row)})

    def _seconds_left(self, row: Row) -> float | None:
        started, running = row.get("started"), row.get("state") == JobState.RUNNING
        if not running or not isinstance(started, int | float):
            return None
        return self._queue.seconds_left(str(row["pool"]), row.get("timeout"), started)

    def _job(self, request: Request, names: Names) -> HttpReply:
        row = self._reader.job(names["job"])
        if row is None:
            return _no_such_job(names["job"])
        self._see_whose_job(request, names["job"])
        shown = {key: value for key, value in row.items() if key != "uid"}
        queued = row.get("state") == JobState.QUEUED
        standing = self._queue.standing(names["job"]) if queued else {}
        told = {"position": None, "starts_at": None, "why": None, **standing}
        told["seconds_left"] = self._seconds_left(row)
        told["results"] = _results_of(row)
        told["held"] = self._holds().get(names["job"])
        told["reservation"] = self._queue.is_reservation(names["job"])
        life = self._life_of(row)
        told["gpu_use"], told["bench"] = life.get("gpu_use") or [], life.get("bench")
        told |= {"refused": life.get("refused", 0), "refusals": life.get("refusals", [])}
        return json_reply(200, {"schema": "mayfly.job/1", **_stamped(shown | told)})

    def _runs(self, request: Request, _: Names) -> HttpReply:
        query = request.query
        wanted = RunsWanted(
            limit=parameters.whole(query, "limit", 50, 1000),
            repository=parameters.text(query.get("repository"), "repository", PATH_MAX),
            ref=parameters.text(query.get("ref"), "ref", REF_MAX),
            state=parameters.job_state(query.get("state")),
            uid=request.caller.uid if parameters.switch(query, "mine") else None,
            since=parameters.moment(query.get("since"), "since"),
        )
        with self._turn(request):
            found = self._reader.listed_runs(wanted)
        runs = [_shown_run(request.caller, row) for row in found]
        return json_reply(200, {"schema": "mayfly.runs/1", "runs": runs})

    def _run(self, request: Request, names: Names) -> HttpReply:
        row = self._reader.run(names["run"])
        if row is None:
            sentence = f"there is no run {names['run']}: see `mayfly runs`"
            return error_reply(404, sentence, "no_such_run")
        return json_reply(200, {"schema": "mayfly.run/1", **_shown_run(request.caller, row)})

    def _life_of(self, row: Row) -> Row:
        """What is told of the agent of a job that has ended; nothing where nothing is."""
        if row.get("finished") is None or row.get("agent") is None:
            return {}
        lives = self._reader.lives([str(row["agent"])])
        return lives[0] if lives else {}

    def _events(self, request: Request, _: Names) -> HttpReply:
        query = request.query
        after = parameters.whole(query, "after", 0, 2**62)
        limit = parameters.whole(query, "limit", 100, 1000)
        slot = parameters.text(query.get("slot"), "slot")
        seconds = parameters.wait(query, WAIT_MAX)
        if "after" in query:
            rows = self._await_events(request, after, limit, slot, seconds)
        else:
            rows = self._reader.events(0, limit, slot, last=True)
        document = {"schema": "mayfly.events/1", "events": [_stamped(row) for row in rows]}
        return json_reply(200, document)

    def _await_events(
        self, request: Request, after: int, limit: int, slot: str | None, seconds: float
    ) -> Sequence[Row]:
        rows = self._reader.events(after, limit, slot)
        if rows or not seconds:
            return rows
        deadline = time.monotonic() + seconds
        with self._waiting(request):
            while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
                seen = self.board.read()
                if rows := self._reader.events(after, limit, slot):
                    return rows
                self.board.wait(seen.rev if seen else 0, min(left, 1.0))
        return ()

    def _history(self, request: Request, _: Names) -> HttpReply:
        query = request.query
        with self._turn(request):
            ended = self._reader.ended_agents(
                since=parameters.moment(query.get("since"), "since"),
                slot=parameters.text(query.get("slot"), "slot"),
                outcome=parameters.text(query.get("outcome"), "outcome"),
                gpu=parameters.text(query.get("gpu"), "gpu"),
                limit=parameters.whole(query, "limit", 1000, 100_000),
            )
        ended = ended[::-1]
        if len(ended) > PAGE:
            return HttpReply(200, "application/json", self._history_in_pages(ended))
        agents = [_shown_life(row) for row in self._reader.lives(ended)]
        return json_reply(200, {"schema": "mayfly.history/1", "agents": agents})

    def _history_in_pages(self, ended: Sequence[str]) -> Iterator[bytes]:
        """A long history, no more of it in memory than a page."""
        yield b'{"schema":"mayfly.history/1","agents":['
        comma = b""
        for at in range(0, len(ended), PAGE):
            rows = [_shown_life(row) for row in self._reader.lives(ended[at : at + PAGE])]
            if rows:
                yield comma + as_json(rows)[1:-1]
                comma = b","
        yield b"]}\n"

    def _report(self, request: Request, _: Names) -> HttpReply:
        asked = usage_document.wanted(request.query, time.time())
        with self._turn(request):
            reader = self._reader
            found = usage_document.document(asked, reader.works, reader.known_from())
        found["host"] = idle_document.hours(self._idle_host, asked)
        return json_reply(200, found)

    def _reservations(self, _: Request, __: Names) -> HttpReply:
        return json_reply(200, self._queue.reservations())

    def _recording(self, _: Request, __: Names) -> HttpReply:
        return json_reply(200, self._recorded())

    def _idle(self, _: Request, __: Names) -> HttpReply:
        idle = self._idle_host
        return json_reply(
            200, idle.document() if idle is not None else idle_document.unconfigured()
        )

    def _gpus(self, _: Request, __: Names) -> HttpReply:
        return json_reply(200, self._gpus_document())

    def _top(self, _: Request, __: Names) -> HttpReply:
        return json_reply(200, self._used())

    def _metrics(self, _: Request, __: Names) -> HttpReply:
        return HttpReply(200, CONTENT_TYPE, self._exposition())

    # -- output ------------------------------------------------------------------------------------

    def _job_output(self, request: Request, names: Names) -> HttpReply:
        job = names["job"]
        row = self._reader.job(job)
        if row is None:
            return _no_such_job(job)
        self._see_whose_job(request, job)
        generation = self._reader.generation_of_job(job)
        if generation is None and parameters.switch(request.query, "follow"):
            with self._waiting(request):
                generation = self._await_agent(job)
        return self._output(request, generation, over=row.get("finished") is not None)

    def _await_agent(self, job: str) -> str | None:
        deadline = time.monotonic() + AGENT_SECONDS
        while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
            seen = self.board.read()
            row = self._reader.job(job)
            generation = self._reader.generation_of_job(job)
            if generation is not None or row is None or row.get("finished") is not None:
                return generation
            self.board.wait(seen.rev if seen else 0, min(left, 0.5))
        return None

    def _slot_output(self, request: Request, names: Names) -> HttpReply:
        previous = parameters.switch(request.query, "previous")
        generation = self._reader.generation_of_slot(names["slot"], previous=previous)
        if generation is None and names["slot"] not in self.slots():
            return error_reply(404, f"there is no slot {names['slot']}", "no_such_slot")
        if generation is not None and not request.caller.operator:
            owner = self._reader.owner_of_agent(generation)
            _see_that_it_is_theirs(request.caller, owner, f"the job in slot {names['slot']}")
        return self._output(request, generation, over=previous)

    def _output(self, request: Request, generation: str | None, *, over: bool) -> HttpReply:
        """What an agent has printed; of one that is ``over``, its last words too, which may still come."""
        query = request.query
        follow = parameters.switch(query, "follow")
        form = query.get("format", "framed")
        if form not in {"framed", "text"}:
            raise BadRequest("format must be framed or text")
        cursor = output_stream.Cursor(
            parameters.whole(query, "mark", 0, 2**63), parameters.whole(query, "count", 0, 2**31)
        )
        if generation is None:
            return HttpReply(204, "text/plain", b"")
        if query.get("agent", generation) != generation:
            cursor = output_stream.Cursor()  # another agent's output was read before
        # What is not followed comes to its end soon, and is refused to nobody.
        release = self._wait_begins(request) if follow else _nothing_held
        limit = time.monotonic() + LATE_SECONDS if over and not follow else math.inf

        late: list[bytes] = []

        def stop() -> bool:
            if time.monotonic() > limit:
                late.append(STILL_COMING)
            return self._stop.is_set() or bool(late)

        try:
            chunks = self._printed.read(Generation(generation), follow=follow or over, stop=stop)
            chunks = _with_notes(chunks, late, self._reader.end_at_gate(generation))
            chunks = output_stream.after(chunks, cursor)
            pieces = (
                output_stream.framed(chunks) if form == "framed" else output_stream.plain(chunks)
            )
        except BaseException:
            release()
            raise
        kind = FRAMED if form == "framed" else "text/plain; charset=utf-8"
        stream = _Held(pieces, release, self._stop.is_set)
        return HttpReply(200, kind, stream, {AGENT_HEADER: generation})

    # -- results -----------------------------------------------------------------------------------

    def _job_results(self, request: Request, names: Names) -> HttpReply:
        job = names["job"]
        row = self._reader.job(job)
        if row is None:
            return _no_such_job(job)
        self._see_whose_job(request, job)
        seconds = parameters.wait(request.query, WAIT_MAX)
        told = _results_of(row)
        if told is None:
            return error_reply(409, f"job {job} has nothing to be brought back", "refused")
        if told["state"] == AWAITED and seconds:
            with self._waiting(request):
                told = self._await_results(job, told, seconds)
        if told["state"] == AWAITED:
            return HttpReply(204, "application/x-tar", b"")
        generation = self._reader.generation_of_job(job)
        kept = self._results
        file = kept.open(Generation(generation)) if kept is not None and generation else None
        if file is None:
            return error_reply(
                404, f"the results of job {job} are not kept (any more)", "no_results"
            )
        return HttpReply(200, "application/x-tar", _Pieces(file))

    def _await_results(self, job: str, told: Row, seconds: float) -> Row:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
            seen = self.board.read()
            told = _results_of(self._reader.job(job) or {}) or told
            if told["state"] != AWAITED:
                break
            self.board.wait(seen.rev if seen else 0, min(left, 1.0))
        return told

    # -- into a running job ------------------------------------------------------------------------

    def _attach_job(self, request: Request, names: Names) -> Reply:
        return self._attached(request, AttachAgent(request.caller, JobId(names["job"]), False))

    def _attach_slot(self, request: Request, names: Names) -> Reply:
        return self._attached(request, AttachAgent(request.caller, SlotName(names["slot"]), True))

    def _attached(self, request: Request, command: AttachAgent) -> Reply:
        given = parameters.document(request.body, ATTACH_BODY)
        rows = parameters.side(given.get("rows"), "rows")
        columns = parameters.side(given.get("columns"), "columns")
        if (rows is None) is not (columns is None):
            raise BadRequest("a terminal has rows and columns: give both, or neither")
        wanted = Wanted(
            parameters.argv(given["argv"]) if given.get("argv") is not None else (),
            Size(rows, columns) if rows is not None and columns is not None else None,
            parameters.terminal_type(given.get("term")),
        )
        if request.upgrade != PROTOCOL:
            sentence = f"this path wants `Connection: Upgrade` and `Upgrade: {PROTOCOL}`"
            return replace(error_reply(426, sentence, "upgrade"), headers=UPGRADE)
        return self._attach_to(command, wanted)

    # -- what they share -----------------------------------------------------------------------------

    def _see_whose_job(self, request: Request, job: str) -> None:
        """What a job runs and prints is shown to its owner and to operators."""
        if not request.caller.operator:
            _see_that_it_is_theirs(request.caller, self._reader.owner_of_job(job), f"job {job}")

    def _wait_begins(self, request: Request) -> Callable[[], None]:
        """Take one of the places for those who wait; what is returned gives it back."""
        uid, operator = request.caller.uid, request.caller.operator
        places = self._places if operator else self._places_of_users
        bounds = LONG_POLLS if operator else LONG_POLLS_OF_USERS
        return _taken(places, bounds, uid, "wait at the manager")

    @contextmanager
    def _turn(self, request: Request) -> Iterator[None]:
        """A turn at making a long list: a few are made at once, and no door takes another's turns."""
        listing = self._listing if request.caller.operator else self._listing_of_users
        if not listing.acquire(timeout=LIST_SECONDS):
            raise _TooMany(f"{LISTS} long lists are being made already, and others wait: ask again")
        try:
            yield
        finally:
            listing.release()

    def _waiting(self, request: Request) -> _Place:
        return _Place(self._wait_begins(request))

    ROUTES: ClassVar[tuple[Route, ...]] = (
        Route("GET", "/v1/version", (), "the manager's version", _version),
        Route("GET", "/v1/openapi.json", (), "these paths for programs, as OpenAPI", _openapi),
        Route("GET", "/v1/status", ("after", "wait"), "how the slots stand", _status),
        Route("GET", "/v1/jobs", JOBS_QUERY, "the embedded queue", _jobs),
        Route("GET", "/v1/jobs/{job}", (), "one job, with its command", _job),
        Route("GET", "/v1/reservations", (), "the calendar of reserved GPUs", _reservations),
        Route("GET", "/v1/runs", RUNS_QUERY, "the jobs of pushes and folders, as one each", _runs),
        Route("GET", "/v1/runs/{run}", (), "one run; its jobs: /v1/jobs?group=", _run),
        Route(
            "GET",
            "/v1/jobs/{job}/results",
            ("wait",),
            "what was brought back of a job, as a tar",
            _job_results,
        ),
        Route("GET", "/v1/jobs/{job}/output", OUTPUT_QUERY, "what a job printed", _job_output),
        Route(
            "GET",
            "/v1/slots/{slot}/output",
            (*OUTPUT_QUERY, "previous"),
            "what a slot's agent printed",
            _slot_output,
        ),
        Route(
            *("POST", "/v1/jobs/{job}/attach", (), "a terminal or a command beside a job"),
            *(_attach_job, ATTACH_BODY),
        ),
        Route(
            *("POST", "/v1/slots/{slot}/attach", (), "the same beside a slot's job"),
            *(_attach_slot, ATTACH_BODY),
        ),
        Route("GET", "/v1/events", EVENTS_QUERY, "what happened, in order", _events),
        Route("GET", "/v1/history", HISTORY_QUERY, "ended agents", _history),
        Route("GET", "/v1/report", REPORT_QUERY, "GPU-hours, wait and energy", _report),
        Route("GET", "/v1/idle", (), "whether this host has anything to do", _idle),
        Route("GET", "/v1/gpus", (), "the GPUs, who holds them, how they are", _gpus),
        Route("GET", "/v1/top", (), "what jobs use now, a second old at the most", _top),
        Route("GET", "/v1/recording", (), "what the loop did of late", _recording, operators=True),
        Route("GET", "/v1/metrics", (), "metrics for Prometheus", _metrics),
        Route(
            "POST",
            "/v1/content/lacking",
            (),
            "which content of those digests the manager has not of the caller",
            _lacking,
            sending.LACKING,
        ),
        Route("POST", "/v1/content", (), "content for jobs", _content, body=(), pieces=True),
        Route(
            "POST",
            "/v1/workspaces",
            (),
            "make a tree of content that was sent a workspace that jobs may start in",
            _tree,
            sending.TREE,
        ),
        Route(
            *("POST", "/v1/jobs/estimate", ()),
            *("where a job would stand that is not submitted", _estimate, ESTIMATE),
        ),
        *(_commanded(route) for route in COMMAND_ROUTES),
    )


class _Pieces(Iterator[bytes]):
    """A file as it is sent."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __next__(self) -> bytes:
        piece = self._file.read(PIECE)
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        self._file.close()


class _NotTheirs(Exception):
    """The caller may not see it."""


class _TooMany(Exception):
    """The places are taken; in one sentence, which."""


def _taken(places: Places, bounds: Bounds, uid: int, what: str) -> Callable[[], None]:
    """Take a place among those who do that; what is returned gives it back."""
    if not places.take(uid):
        those = f"{bounds.of_one} clients of one user, or {bounds.all} of all"
        raise _TooMany(f"{those}, {what} already")
    return partial(places.give_back, uid)


class _Place:
    """A place among those who wait, as a context."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._release()


def _with_notes(
    chunks: Iterator[Chunk], late: Iterable[bytes], at_gate: str | None
) -> Iterator[Chunk]:
    """The chunks, and then a note on what was too ``late`` to be among them.

    Of an agent that ended ``at_gate`` nothing is missing, since it had no job: how it ended stands for all
    notes.
    """
    for chunk in chunks:
        if at_gate is None or chunk.stream != NOTE or not chunk.data:
            yield chunk
    words = [*late] if at_gate is None else [at_gate.encode()]
    for word in words[:1]:
        yield Chunk(NOTE, time.time(), word)


class _Held(Iterator[bytes]):
    """A stream that gives its place back when it is closed, read or not.

    One that ends because the manager stops is broken off, so that nobody takes it for the end.
    """

    def __init__(
        self, pieces: Iterator[bytes], release: Callable[[], None], stopping: Callable[[], bool]
    ) -> None:
        self._pieces = pieces
        self._release: Callable[[], None] | None = release
        self._stopping = stopping

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            if self._stopping():
                raise ConnectionAbortedError from None
            raise

    def close(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


def _shown_life(row: Row) -> dict[str, Any]:
    """An agent's life as everybody may read it: what the job of somebody's asked for is told with the job."""
    kept = {key: value for key, value in row.items() if key != "refusals" or row["job"] is None}
    return _stamped(kept)


def _results_of(row: Row) -> Row | None:
    """What came of what was to be brought back; ``None``: nothing was to be."""
    if not row.get("out"):
        return None
    told = row.get("results")
    state = KEPT if told is not None else AWAITED
    if told is None and row.get("finished") is not None and row.get("started") is None:
        state = NEVER  # it did not run
    told = told or {}
    return {
        "state": state,
        "files": told.get("files", 0),
        "bytes": told.get("size", 0),
        "left_out": told.get("left_out", []),
    }


def _see_that_it_is_theirs(caller: Caller, owner: int | None, what: str) -> None:
    if owner != caller.uid:
        raise _NotTheirs(f"{what} is not one of {caller.name}'s")


def _in_order(jobs: Mapping[JobId, JobState], positions: Mapping[str, int]) -> list[JobId]:
    """What has ended, what runs, what waits for a slot in the order in which it gets one, then the rest."""
    last = len(positions) + 1

    def key(job: JobId) -> int:
        state = jobs[job]
        if state is JobState.QUEUED:
            return positions.get(job, last)
        return 0 if state is JobState.RUNNING else -1

    return sorted(jobs, key=key)


def _foremost(order: list[JobId], jobs: Mapping[JobId, JobState], most: int) -> list[JobId]:
    """At most so many: what runs and waits before what has ended, and of that the last."""
    if len(order) <= most:
        return order
    ended = sum(1 for state in jobs.values() if state in ENDED)
    others = order[ended:][:most]
    room = most - len(others)
    return [*(order[:ended][-room:] if room else ()), *others]


def _nothing_held() -> None:
    pass


def _shown_run(caller: Caller, row: Row) -> Row:
    """A run as it is shown: what its commit says is for its owner and operators alone."""
    shown = {key: row.get(key) for key in RUN_KEYS}
    if not caller.may_act_on(row.get("uid")):
        shown["subject"] = None
    return _stamped(shown)


def _no_such_job(job: str) -> HttpReply:
    return error_reply(404, f"there is no job {job}: see `mayfly jobs`", "no_such_job")


def _stamped(row: Row) -> dict[str, object]:
    """A row with its times as RFC 3339, in the tables inside it too."""
    return {key: _stamped_value(key, value) for key, value in row.items()}


def _stamped_value(key: str, value: object) -> object:
    if isinstance(value, Mapping):
        return _stamped(value)
    if key in TIME_KEYS and isinstance(value, int | float):
        return rfc3339(value)
    return value
