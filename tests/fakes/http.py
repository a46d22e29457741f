"""What the fakes share: a small HTTP server with routes, recorded calls and faults on order.

    class Service(Fake):
        def __init__(self) -> None:
            super().__init__()
            self.route("GET", "/things/{name}", self.thing)

        def thing(self, call: Call) -> Answer:
            return Answer(200, {"name": call.at["name"]})

    with Service() as service:
        service.fail("GET", "/things", Fault(status=503, times=2))
        ...                       # speak to service.url
        assert service.count("GET", "/things") == 3

A handler runs under the fake's one lock (``self.lock``), so it may change state as it likes; what has to wait
(a long poll) returns a ``Wait`` and is asked again, outside the lock, until it gives an ``Answer``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.ending import EndsAtOnce

HUNG_UP = 0.5  # seconds between looks at whether a client that waits is still there


@dataclass(slots=True)
class Call:
    """One request as it came, and, once it is answered, with what."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    content: bytes
    number: int
    at: Mapping[str, str] = field(default_factory=dict)  # what stood in the route's {places}
    pairs: tuple[tuple[str, str], ...] = ()  # of the query, where a name may come more than once
    status: int = 0  # 0: no answer was sent
    when: float = field(default_factory=time.monotonic)
    gone: Callable[[], bool] = lambda: False  # whether its client has hung up meanwhile

    @property
    def json(self) -> Any:
        """The body as JSON; None without one."""
        return json.loads(self.content) if self.content else None

    @property
    def form(self) -> Mapping[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.content.decode()))


@dataclass(slots=True)
class Answer:
    """What a handler gives: ``body`` is sent as JSON, as it is where it is bytes, not at all where None."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: the handler is asked again when the state changes; after ``seconds`` it is ``otherwise``."""

    seconds: float
    otherwise: Answer


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next calls that match.

    ``status`` answers it instead of the handler, with ``body`` and ``headers``. ``slow`` waits that many
    seconds first. ``lost="before"`` closes the connection without doing it, ``lost="after"`` does it and then
    loses the reply. ``garbage`` sends bytes that are no JSON after doing it.
    """

    status: int | None = None
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    slow: float = 0.0
    lost: str | None = None
    garbage: bytes | None = None
    times: int | None = 1  # None: until it is taken away
    skip: int = 0  # calls that go well before
    over: float | None = None  # by the monotonic clock; None: not before it has hit so often

    def due(self) -> bool:
        """Whether this call is hit; counts it."""
        if self.over is not None and time.monotonic() > self.over:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


Handler = Callable[[Call], "Answer | Wait"]


class Fake:
    """A service on 127.0.0.1: a context manager, or ``start`` and ``stop``."""

    skew = 0.0  # seconds that its clock is ahead
    address = "127.0.0.1"  # where clients find it; another one answers there by ``start_on``
    scheme = "http"  # what they speak there

    def __init__(self) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.calls: list[Call] = []
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self._faults: list[tuple[str, str, Fault]] = []
        self._numbers = itertools.count(1)
        self._server: _Server | None = None
        self._others: list[_Server] = []
        self._port = 0
        self._reserved: socket.socket | None = None  # holds the port while nobody answers there
        # What is done to each answer at last: a service that says what none should.
        self.spoil: Callable[[Answer], Answer] = lambda answer: answer

    # -- its life ----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._let_go()

    def start(self, port: int = 0, address: str = "127.0.0.1") -> None:
        """Answer on that port (0: the one of the last time, else a free one) until ``stop``."""
        self._server = _Server((address, port or self._port), self)
        self._port = self._server.server_address[1]
        self._let_go()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def start_on(self, listener: socket.socket) -> None:
        """Answer there too, until ``stop``: a listener in another network namespace, at the same port."""
        server = _Server(("", 0), self, listener)
        self._others.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def leave_others(self) -> None:
        """Answer at its own address alone."""
        others, self._others = self._others, []
        for server in others:
            server.shutdown()
            server.server_close()

    def stop(self) -> None:
        """Answer no more; state is kept, and ``start`` goes on at the same address, kept free."""
        stopped = self._server is not None
        if stopped:
            self._reserved = socket.socket()
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        servers = [*self._others, *([self._server] if self._server is not None else [])]
        self._server, self._others = None, []
        for server in servers:
            server.shutdown()
            server.server_close()
        if stopped and self._reserved is not None:
            self._reserved.bind(("127.0.0.1", self._port))
        with self.lock:
            self.lock.notify_all()

    def _let_go(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self._server is not None

    @property
    def port(self) -> int:
        """Where it answers."""
        return self._port

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self.scheme}://{self.address}:{self._port}"

    # -- what it does -------------------------------------------------------------------------------

    def route(self, method: str, path: str, handler: Handler) -> None:
        """Have ``handler`` answer that method and path; ``{name}`` matches one part, ``{name*}`` the rest."""
        pattern = re.sub(r"\\{(\w+)\\\*\\}", r"(?P<\1>.+)", re.escape(path))
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", pattern)
        self._routes.append((method, re.compile(pattern), handler))

    def fail(self, method: str, path: str, fault: Fault, lasts: float | None = None) -> Fault:
        """Have the next calls fail whose method and path begin so ("" matches every method).

        ``lasts``: in so many seconds it is over, whether it has hit anybody or not.
        """
        if lasts is not None:
            fault.over = time.monotonic() + lasts
        with self.lock:
            self._faults.append((method, path, fault))
        return fault

    def heal(self) -> None:
        """Take all faults away."""
        with self.lock:
            self._faults.clear()

    def count(self, method: str, path: str) -> int:
        """How many calls came whose method and path begin so."""
        with self.lock:
            return sum(
                1
                for call in self.calls
                if call.method.startswith(method) and call.path.startswith(path)
            )

    def before(self, call: Call) -> Answer | None:
        """What the service does before any route: authentication, limits. ``None``: go on."""
        return None

    def after(self, call: Call, answer: Answer) -> Answer:
        """What the service does to every answer: limit headers, entity tags."""
        return answer

    def missing(self, call: Call) -> Answer:
        """The answer where no route fits."""
        return Answer(404, {"message": f"fake: nothing at {call.method} {call.path}"})

    # -- inside ---------------------------------------------------------------------------------------

    def fault_for(self, call: Call) -> Fault | None:
        """The fault that hits this call."""
        with self.lock:
            for method, path, fault in self._faults:
                fits = method in ("", call.method) and call.path.startswith(path)
                if fits and fault.due():
                    return fault
        return None

    def answer(self, call: Call) -> Answer:
        """Do what was asked."""
        deadline: float | None = None
        with self.lock:
            while True:
                given = self._do(call)
                if isinstance(given, Answer):
                    return self.after(call, given)
                deadline = deadline or time.monotonic() + given.seconds
                left = deadline - time.monotonic()
                if left <= 0 or not self.running or call.gone():
                    return self.after(call, given.otherwise)
                self.lock.wait(min(left, HUNG_UP))
                if call.gone():
                    return self.after(call, given.otherwise)

    def _do(self, call: Call) -> Answer | Wait:
        early = self.before(call)
        if early is not None:
            return early
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(call.path)
            if match and method == call.method:
                call.at = match.groupdict()
                return handler(call)
        return self.missing(call)


class _Server(EndsAtOnce, ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], fake: Fake, listener: socket.socket | None = None
    ) -> None:
        self.fake = fake
        self.open: set[socket.socket] = set()
        super().__init__(address, _Handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket = listener
            self.server_address = listener.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""

    def server_close(self) -> None:
        """Close kept connections too: a service that is down answers nobody."""
        super().server_close()
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a head and a body are two writes
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.request)

    def finish(self) -> None:
        self.server.open.discard(self.request)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence: the calls are recorded."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate((timestamp or time.time()) + self.server.fake.skew, usegmt=True)

    def _handle(self) -> None:
        fake = self.server.fake
        parts = urlsplit(self.path)
        content = self._content()
        with fake.lock:
            call = Call(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                {name.lower(): value for name, value in self.headers.items()},
                content,
                next(fake._numbers),
                pairs=tuple(parse_qsl(parts.query, keep_blank_values=True)),
                gone=self._gone,
            )
            fake.calls.append(call)
        fault = fake.fault_for(call)
        if fault is None:
            self._reply(call, fake.answer(call))
            return
        if fault.slow:
            time.sleep(fault.slow)  # what is being tested is the slowness itself
        if fault.lost == "before":
            self._hang_up()
            return
        if fault.status is not None:
            self._reply(call, Answer(fault.status, fault.body, dict(fault.headers)))
            return
        answer = fake.answer(call)
        if fault.lost == "after":
            self._hang_up()
        elif fault.garbage is not None:
            self._reply(call, Answer(answer.status, fault.garbage, dict(fault.headers)))
        else:
            self._reply(call, answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _gone(self) -> bool:
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"")
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _reply(self, call: Call, answer: Answer) -> None:
        answer = self.server.fake.spoil(answer)
        body = answer.body
        content = (
            body
            if isinstance(body, bytes)
            else json.dumps(body).encode()
            if body is not None
            else b""
        )
        call.status = answer.status
        try:
            if "Date" in answer.headers:  # in place of its own
                self.send_response_only(answer.status)
            else:
                self.send_response(answer.status)
            kind = "application/json; charset=utf-8"
            if isinstance(body, bytes):
                kind = "text/html" if body.lstrip()[:1] == b"<" else "application/octet-stream"
            headers = {"Content-Type": kind, **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            if answer.status not in (204, 304):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if answer.status not in (204, 304):
                self.wfile.write(content)
        except OSError:
            self.close_connection = True


def serve(fake: Fake, description: str, about: Callable[[], str] = lambda: "") -> None:
    """The command line of a fake: serve until interrupted, and print each call."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--address", default="127.0.0.1")
    given = parser.parse_args()
    fake.start(given.port, given.address)
    print(f"listening on {fake.url}", flush=True)
    if about():
        print(about(), flush=True)
    shown = 0
    try:
        while True:
            time.sleep(0.2)
            with fake.lock:
                for call in fake.calls[shown:]:
                    print(f"{call.method} {call.path} {call.status or '…'}", flush=True)
                shown = len(fake.calls)
    except KeyboardInterrupt:
        fake.stop()
