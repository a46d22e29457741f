"""HTTP/1.1 as the manager serves it: a connection, bounded in size and time, and a place for each client.

Written by hand because no ASGI server asks the kernel who calls or bounds a slow client (docs/adr/0017).
Nothing here knows what a path means, nor what kind of socket it is. Every request is bounded before it
reaches a route, whatever arrives is answered with JSON, and no traceback ever leaves.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import re
import select
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TypeAlias, cast
from urllib.parse import parse_qsl, urlsplit

from mayfly.core.commands import Caller
from mayfly.edge.connections import Connections
from mayfly.edge.lasting_thread import begun
from mayfly.edge.places import Bounds

HEAD_MAX = 64 * 1024  # request line and headers
BODY_MAX = 1024 * 1024
READ_SIZE = 16 * 1024
READ_SECONDS = 15.0  # for a whole head, and again for a whole body
# How long a body that is taken in pieces is waited for, and how many bytes of it are to come meanwhile.
PIECES_SECONDS = 30.0
PIECES_LEAST = 8 * 1024 * 1024
WRITE_SECONDS = 30.0  # for one write to a client that does not read
LINGER_MAX = 8 * 1024 * 1024  # of what a refused client still sends, so that it comes to read why
LINGER_SECONDS = 2.0
# What would act on a terminal or reorder a line, beside what JSON escapes itself; and halves of characters.
UNSHOWN = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
RETRY: Mapping[str, str] = {"Retry-After": "1"}
# RFC 9112, 5: no space before the colon, no line that goes on in the next, no CR that ends none.
HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r?\n")
ENDS = (b"\r\n", b"\n")


class ClientGone(Exception):
    """The client broke off in the middle of what it sent, or was too slow: no answer is owed."""


class Sent:
    """A body that is taken in pieces, as it comes."""

    def __init__(self, file: io.BufferedIOBase, size: int) -> None:
        self._file = file
        self.left = size  # bytes that are still to come

    def read(self, size: int) -> bytes:
        """That many bytes, or fewer where the body ends before; ``ClientGone`` where they do not come."""
        wanted = min(size, self.left)
        try:
            found = self._file.read(wanted)
        except (OSError, TooLarge) as error:
            raise ClientGone("the body does not come") from error
        if len(found) != wanted:
            raise ClientGone("the body is not whole")
        self.left -= wanted
        return found


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole and not yet understood."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    caller: Caller
    sent: Sent | None = None  # the body of a path that takes it in pieces
    upgrade: str = ""  # the protocol that the client wants to go on with; "": HTTP
    # by names in small letters; what was sent several times is joined by commas
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What goes back: bytes with their type, or a stream of them."""

    status: int
    content_type: str
    data: bytes | Iterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The connection goes on with another protocol, on the same thread, until ``go_on`` returns.

    ``go_on`` gets the socket, and what the client has sent ahead; ``close`` is called once it is over, also
    where it never began.
    """

    protocol: str
    go_on: Callable[[socket.socket, bytes], None]
    close: Callable[[], None]


Reply: TypeAlias = HttpReply | Upgrade
Respond = Callable[[Request], Reply]
TakesPieces = Callable[[str, str], int | None]  # method, path
OnFailure = Callable[[str, BaseException], None]


def json_reply(status: int, document: Mapping[str, object]) -> HttpReply:
    """A document as a reply, with a newline at its end for people who use curl."""
    return HttpReply(status, "application/json", as_json(document) + b"\n")


def as_json(value: object) -> bytes:
    """The value, with nothing in it that a terminal would obey."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if text.isascii() and "\x7f" not in text:
        return text.encode()
    return UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def error_reply(status: int, sentence: str, kind: str) -> HttpReply:
    """A failure as a reply: one sentence for people, one word for programs."""
    return json_reply(status, {"error": sentence, "kind": kind})


class TooLarge(Exception):
    """The client sent more than a request may have."""


class Malformed(Exception):
    """What the client sent is no head of a request."""


class _Head(io.BufferedReader):
    """Keeps the lines of a head: what the library makes of them is less than what a proxy saw."""

    def __init__(self, raw: io.RawIOBase, size: int) -> None:
        super().__init__(raw, size)
        self.lines: list[bytes] = []

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        self.lines.append(line)
        return line

    def see_that_it_is_one(self) -> None:
        """Each line is a header, so that no two readers see other headers, or another end.

        The library takes a CR for a line's end, and a line that is no header for the end of all.
        """
        first, *others, last = self.lines
        if last not in ENDS:
            raise ClientGone("the head is not whole")
        if b"\r" in first[:-2] or not all(map(HEADER.fullmatch, others)):
            raise Malformed


class _Incoming(io.RawIOBase):
    """The client's bytes, up to a budget and while they have not been waited for too long."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._budget = 0
        self._seconds = self._left = 0.0
        self._least = self._lacking = 0

    def allow(self, budget: int, seconds: float, least: int = 0) -> None:
        """Wait so long in all; where there is a ``least`` number of bytes, so long for as many each time."""
        self._budget = budget
        self._seconds = self._left = seconds
        self._least = self._lacking = least

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._left <= 0:
            raise TimeoutError
        if self._budget <= 0:
            raise TooLarge
        self._connection.settimeout(self._left)
        began = time.monotonic()
        count = self._connection.recv_into(buffer[: self._budget])
        self._left -= time.monotonic() - began
        self._budget -= count
        self._lacking -= count
        if self._least and self._lacking <= 0:
            self._left, self._lacking = self._seconds, self._least
        return count


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        self.connection = self.request
        self._incoming = _Incoming(self.connection)
        self._head_lines = _Head(self._incoming, READ_SIZE)
        self.rfile = self._head_lines
        self.wfile = cast("io.BufferedIOBase", _Outgoing(self.connection, self.server.connections))
        self.caller = self.server.caller(self.connection)
        self.request_version, self.requestline, self.command = "HTTP/1.0", "", ""

    def finish(self) -> None:
        self.rfile.close()

    def handle_one_request(self) -> None:
        """One request; whatever goes wrong with it ends this connection and nothing else."""
        self.close_connection = True
        self._incoming.allow(HEAD_MAX, self.server.head_seconds or READ_SECONDS)
        self.server.connections.waits(self.connection, asking=True)
        try:
            self._receive()
        except TooLarge:
            self._refuse(431, "the request's head is longer than 64 KiB", "bad_request")
        except Malformed:
            self.send_error(400)
        except (OSError, ClientGone):
            # Gone, idle between requests, or slow on purpose: no answer is owed, and what still comes of a
            # body must not be taken for a request.
            self.close_connection = True
        except Exception as error:  # noqa: BLE001  a bug here must neither end the server nor show itself
            self.server.on_failure(getattr(self, "path", "a request"), error)
            self._refuse(500, "this is a bug in mayfly", "bug")

    def _receive(self) -> None:
        self._head_lines.lines.clear()
        self.raw_requestline = self.rfile.readline(HEAD_MAX + 1)
        if not self.raw_requestline:
            return
        if not self.parse_request():
            return  # send_error has answered
        if self.request_version == self.default_request_version:
            self.send_error(400)
            return
        self._head_lines.see_that_it_is_one()
        if self.command not in {"GET", "POST"}:
            self._refuse(405, f"{self.command} is not used here; GET reads, POST acts", "method")
            return
        if not self.server.is_meant(self.headers.get_all("Host", [])):
            self._refuse(421, "this is not the host that the request names", "bad_request")
            return
        length = self._length()
        if length is None:
            return
        try:
            target = urlsplit(self.path)
            query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=32))
        except ValueError:
            self._refuse(400, "the request's target is not understood", "bad_request")
            return
        most = self.server.takes_pieces(self.command, target.path)
        if length > (BODY_MAX if most is None else most):
            told = f"{(BODY_MAX if most is None else most) >> 20} MiB"
            self._refuse(413, f"the body is longer than {told}", "bad_request")
            return
        if most is None:
            self._incoming.allow(length + HEAD_MAX, READ_SECONDS)
            body = self.rfile.read(length)
            if len(body) == length:
                asked = (self.command, target.path, query, body, self.caller)
                named = self._named()
                request = Request(*asked, upgrade=self._upgrade(), headers=named)
                self._answer(self._respond(request))
            return
        self._incoming.allow(length + HEAD_MAX, PIECES_SECONDS, PIECES_LEAST)
        sent = Sent(self.rfile, length)
        reply = self._respond(Request(self.command, target.path, query, b"", self.caller, sent))
        if sent.left and isinstance(reply, HttpReply):
            self._answer_and_end(reply)
        else:
            self._answer(reply)

    def _respond(self, request: Request) -> Reply:
        if not self.server.connections.works(self.connection):
            raise ClientGone("its place was given up, and it was told so")
        return self.server.respond(request)

    def _answer(self, reply: Reply) -> None:
        if isinstance(reply, Upgrade):
            self._go_on(reply)
        else:
            self._send(reply)

    def _upgrade(self) -> str:
        """The protocol that the client asks for, where it may: a hop of HTTP/1.0 would not hand it on."""
        options = self.headers.get("Connection", "").lower().split(",")
        asked = "upgrade" in [option.strip() for option in options]
        return self.headers.get("Upgrade", "") if asked and self._speaks_1_1() else ""

    def _named(self) -> dict[str, str]:
        """All headers, each once."""
        found: dict[str, str] = {}
        for written, value in self.headers.items():
            name = written.lower()
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    def _speaks_1_1(self) -> bool:
        return self.request_version == "HTTP/1.1"

    def _go_on(self, reply: Upgrade) -> None:
        self.close_connection = True
        try:
            self.send_response(101)
            self.send_header("Upgrade", reply.protocol)
            self.send_header("Connection", "Upgrade")
            self._flush(b"")
            reply.go_on(self.connection, self._sent_ahead())
        finally:
            reply.close()

    def _sent_ahead(self) -> bytes:
        """What came behind the request and was read with it."""
        self._incoming.allow(0, READ_SECONDS)
        try:
            return self.rfile.read1(READ_SIZE)
        except TooLarge:
            return b""

    def _length(self) -> int | None:
        """The length of the request's body; ``None`` where one that cannot be taken was answered."""
        if "Transfer-Encoding" in self.headers:
            self._refuse(411, "send the body with a Content-Length", "bad_request")
            return None
        if len(self.headers.get_all("Content-Length", [])) > 1:
            self._refuse(400, "Content-Length is there twice", "bad_request")
            return None
        text = self.headers.get("Content-Length", "0")
        if not (text.isascii() and text.isdigit()):
            self._refuse(400, "Content-Length is not a number", "bad_request")
            return None
        return int(text) if len(text) < 18 else 10**18

    def _send(self, reply: HttpReply) -> None:
        if isinstance(reply.data, bytes):
            self._head(reply, {"Content-Length": str(len(reply.data))})
            self._flush(reply.data)
            return
        chunked = self._speaks_1_1()
        try:
            self._head(reply, {"Transfer-Encoding": "chunked"} if chunked else {})
            self._flush(b"")
            for piece in reply.data:
                if piece:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                else:
                    see_that_somebody_listens(self.connection)
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
            else:
                self.close_connection = True
        except BaseException:
            self.close_connection = True
            raise
        finally:
            if isinstance(reply.data, Iterator) and hasattr(reply.data, "close"):
                reply.data.close()

    def _head(self, reply: HttpReply, framing: Mapping[str, str]) -> None:
        self.send_response(reply.status)
        headers = {"Content-Type": reply.content_type, **framing, **reply.headers}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)

    def _flush(self, data: bytes) -> None:
        """The head and what follows it in one write."""
        head = getattr(self, "_headers_buffer", [])
        self._headers_buffer: list[bytes] = []
        self.wfile.write(b"".join(head) + b"\r\n" + data)

    def _refuse(self, status: int, sentence: str, kind: str) -> None:
        self._answer_and_end(error_reply(status, sentence, kind))

    def _answer_and_end(self, reply: HttpReply) -> None:
        """The answer to a client that may still be sending, which is to come to read it."""
        self.close_connection = True
        with contextlib.suppress(OSError, TooLarge):
            self._send(reply)
            self.connection.shutdown(socket.SHUT_WR)
            self._incoming.allow(LINGER_MAX, LINGER_SECONDS)
            self.server.connections.waits(self.connection, asking=False)
            while self.rfile.read1(READ_SIZE):
                pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library's parser refuses, in our form and without echoing it."""
        del message, explain
        self.request_version = "HTTP/1.0"  # at least: what came may have named none
        self._refuse(
            int(code), "this is not an HTTP request that is understood here", "bad_request"
        )

    def version_string(self) -> str:
        """The Server header; which version is asked at /v1/version."""
        return "mayfly"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
        """Say nothing: events are the record of what was asked."""


def see_that_somebody_listens(connection: socket.socket) -> None:
    """``ClientGone`` where the client has hung up. Of a piece that is empty it hears nothing, and that it has
    gone would be noticed only by the next that is not.
    """
    looked = select.poll()
    looked.register(connection, select.POLLRDHUP)
    if looked.poll(0):
        raise ClientGone("it has hung up")


class _Outgoing:
    """The client's side of writes: whole, or not within the time it gets."""

    def __init__(self, connection: socket.socket, connections: Connections) -> None:
        self._connection = connection
        self._connections = connections

    def write(self, data: bytes) -> int:
        self._connection.settimeout(WRITE_SECONDS)
        self._connections.waits(self._connection, asking=False)
        self._connection.sendall(data)
        self._connections.works(self._connection)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves each client on a thread of its own, as many as have places."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    head_seconds: float | None = None  # for a whole head; None: READ_SECONDS

    def __init__(
        self,
        address: object,
        respond: Respond,
        on_failure: OnFailure,
        bounds: Bounds,
        *,
        longest_yields: bool = False,
    ) -> None:
        self.respond = respond
        self.on_failure = on_failure
        self.connections = Connections(bounds, _hang_up, longest_yields=longest_yields)
        super().__init__(address, Handler, bind_and_activate=False)  # type: ignore[arg-type]

    def caller(self, connection: socket.socket) -> Caller:
        """Who is at the other end."""
        raise NotImplementedError

    def user(self, connection: socket.socket) -> int:
        """Whose place the connection takes."""
        raise NotImplementedError

    def takes_pieces(self, method: str, path: str) -> int | None:
        """The most bytes of a body there that is taken in pieces; ``None``: it is read whole before."""
        del method, path
        return None

    def is_meant(self, hosts: Sequence[str]) -> bool:
        """Whether a request that names these hosts is for this server."""
        del hosts
        return True

    def accept(self) -> None:
        """Hand each connection to a thread of its own until the socket is shut."""
        while True:
            try:
                connection, address = self.get_request()
            except OSError as error:
                if error.errno in GONE:
                    return
                time.sleep(0.05)  # no room now; those who are served will make some
                continue
            try:
                self.process_request(connection, address)
            except Exception as error:  # noqa: BLE001  one client must not end the others' way in
                self.on_failure("a connection", error)
                self.shutdown_request(connection)

    def process_request(self, request: object, client_address: object) -> None:
        connection = cast("socket.socket", request)
        try:
            user = self.user(connection)
        except OSError:  # it is gone already
            self.shutdown_request(connection)
            return
        if self.connections.admit(connection, user):
            serving = (connection, client_address)
            serve = self.process_request_thread
            if begun(threading.Thread(target=serve, args=serving, name="client", daemon=True)):
                return
        self._turn_away(connection)

    def _turn_away(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(0.2)
            connection.sendall(NO_PLACE)
        self.shutdown_request(connection)

    def shutdown_request(self, request: object) -> None:
        """Close a connection; nobody hangs up on one that is closed."""
        connection = cast("socket.socket", request)
        self.connections.leave(connection)
        super().shutdown_request(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that vanishes is no event; routes catch their own faults."""


def _hang_up(connection: socket.socket, asking: bool) -> None:
    """End it from outside, without waiting for its client; its own thread closes it."""
    with contextlib.suppress(OSError):
        room = select.poll()
        room.register(connection, select.POLLOUT)
        if asking and room.poll(0):
            connection.send(NO_PLACE)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _no_place() -> bytes:
    body = (
        b'{"error":"the manager serves as many clients as it may, or as one user may have",'
        b'"kind":"busy"}\n'
    )
    return (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


NO_PLACE = _no_place()
GONE = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})  # the socket was shut or closed
