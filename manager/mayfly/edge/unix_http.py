"""HTTP/1.1 on a unix socket: who may connect, how much they may send, how long they may take.

Written by hand because no ASGI server asks the kernel who calls or bounds a slow client (docs/adr/0017).
Nothing here knows what a path means. Every request is bounded in size and time before it reaches a
route, whatever arrives is answered with JSON, and no traceback ever leaves.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import io
import json
import os
import pwd
import socket
import socketserver
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from mayfly.core.commands import Caller
from mayfly.edge.faults import Refused
from mayfly.edge.places import Bounds, Places

HEAD_MAX = 64 * 1024  # request line and headers
BODY_MAX = 1024 * 1024
READ_SIZE = 16 * 1024
READ_SECONDS = 15.0  # for a whole head, and again for a whole body
WRITE_SECONDS = 30.0  # for one write to a client that does not read
LINGER_MAX = 8 * 1024 * 1024  # of what a refused client still sends, so that it comes to read why
LINGER_SECONDS = 2.0
# Of one user, so that others are served; whatever root waits for, one other user has all its places.
CONNECTIONS = Bounds(all=64, of_one=24, of_root=40, kept_for_root=8)
RETRY: Mapping[str, str] = {"Retry-After": "1"}
MODE = 0o660
GROUP = "mayfly"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole and not yet understood."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    caller: Caller


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What goes back: bytes with their type, or a stream of them."""

    status: int
    content_type: str
    data: bytes | Iterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


Respond = Callable[[Request], HttpReply]
OnFailure = Callable[[str, BaseException], None]


def json_reply(status: int, document: Mapping[str, object]) -> HttpReply:
    """A document as a reply, with a newline at its end for people who use curl."""
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
        errors="backslashreplace"
    )
    return HttpReply(status, "application/json", data + b"\n")


def error_reply(status: int, sentence: str, kind: str) -> HttpReply:
    """A failure as a reply: one sentence for people, one word for programs."""
    return json_reply(status, {"error": sentence, "kind": kind})


class TooLarge(Exception):
    """The client sent more than a request may have."""


class _Incoming(io.RawIOBase):
    """The client's bytes, until a deadline and up to a budget."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = 0.0
        self._budget = 0

    def allow(self, budget: int, seconds: float) -> None:
        self._budget = budget
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._budget <= 0:
            raise TooLarge
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer[: self._budget])
        self._budget -= count
        return count


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        self.connection = self.request
        self._incoming = _Incoming(self.connection)
        self.rfile = io.BufferedReader(self._incoming, READ_SIZE)
        self.wfile = cast("io.BufferedIOBase", _Outgoing(self.connection))
        self.caller = peer(self.connection)
        self.request_version, self.requestline, self.command = "HTTP/1.0", "", ""

    def finish(self) -> None:
        self.rfile.close()

    def handle_one_request(self) -> None:
        """One request; whatever goes wrong with it ends this connection and nothing else."""
        self.close_connection = True
        self._incoming.allow(HEAD_MAX, READ_SECONDS)
        try:
            self._receive()
        except TooLarge:
            self._refuse(431, "the request's head is longer than 64 KiB", "bad_request")
        except OSError:
            # Gone, idle between requests, or slow on purpose: no answer is owed, and what still comes of a
            # body must not be taken for a request.
            self.close_connection = True
        except Exception as error:  # noqa: BLE001  a bug here must neither end the server nor show itself
            self.server.on_failure(getattr(self, "path", "a request"), error)
            self._refuse(500, "this is a bug in mayfly", "bug")

    def _receive(self) -> None:
        self.raw_requestline = self.rfile.readline(HEAD_MAX + 1)
        if not self.raw_requestline:
            return
        if not self.parse_request():
            return  # send_error has answered
        if self.request_version == self.default_request_version:
            self.send_error(400)
            return
        if self.command not in {"GET", "POST"}:
            self._refuse(405, f"{self.command} is not used here; GET reads, POST acts", "method")
            return
        body = self._body()
        if body is None:
            return
        try:
            target = urlsplit(self.path)
            query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=32))
        except ValueError:
            self._refuse(400, "the request's target is not understood", "bad_request")
            return
        request = Request(self.command, target.path, query, body, self.caller)
        self._send(self.server.respond(request))

    def _body(self) -> bytes | None:
        """The request's body; ``None`` where one that cannot be taken was answered."""
        if "Transfer-Encoding" in self.headers:
            self._refuse(411, "send the body with a Content-Length", "bad_request")
            return None
        text = self.headers.get("Content-Length", "0")
        if not (text.isascii() and text.isdigit()):
            self._refuse(400, "Content-Length is not a number", "bad_request")
            return None
        if len(text) > 9 or int(text) > BODY_MAX:
            self._refuse(413, "the body is longer than 1 MiB", "bad_request")
            return None
        self._incoming.allow(int(text) + HEAD_MAX, READ_SECONDS)
        body = self.rfile.read(int(text))
        return body if len(body) == int(text) else None

    def _send(self, reply: HttpReply) -> None:
        if isinstance(reply.data, bytes):
            self._head(reply, {"Content-Length": str(len(reply.data))})
            self._flush(reply.data)
            return
        chunked = self.request_version == "HTTP/1.1"
        try:
            self._head(reply, {"Transfer-Encoding": "chunked"} if chunked else {})
            self._flush(b"")
            for piece in reply.data:
                if piece:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
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
        self.close_connection = True
        with contextlib.suppress(OSError, TooLarge):
            self._send(error_reply(status, sentence, kind))
            self.connection.shutdown(socket.SHUT_WR)
            self._incoming.allow(LINGER_MAX, LINGER_SECONDS)
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


class _Outgoing:
    """The client's side of writes: whole, or not within the time it gets."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        self._connection.settimeout(WRITE_SECONDS)
        self._connection.sendall(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, path: Path, respond: Respond, on_failure: OnFailure) -> None:
        self.respond = respond
        self.on_failure = on_failure
        self._places = Places(CONNECTIONS)
        super().__init__(str(path), _Handler, bind_and_activate=False)

    def process_request(self, request: object, client_address: object) -> None:
        connection = cast("socket.socket", request)
        _, uid, _ = _peer(connection)
        if self._places.take(uid):
            try:
                super().process_request(connection, client_address)
                return
            except RuntimeError:  # no thread can be started now
                self._places.give_back(uid)
        try:
            connection.settimeout(0.2)
            body = (
                b'{"error":"the manager serves as many clients as it may, or as one user may have",'
                b'"kind":"busy"}\n'
            )
            connection.sendall(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                b"Retry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
        except OSError:
            pass
        self.shutdown_request(connection)

    def process_request_thread(self, request: object, client_address: object) -> None:
        connection = cast("socket.socket", request)
        _, uid, _ = _peer(connection)
        try:
            super().process_request_thread(connection, client_address)
        finally:
            self._places.give_back(uid)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that vanishes is no event; routes catch their own faults."""


class UnixServer:
    """A bound socket and the thread that accepts on it."""

    def __init__(self, path: Path, respond: Respond, on_failure: OnFailure) -> None:
        """Bind ``path``; ``Refused`` where another one answers there or it cannot be made.

        ``on_failure`` hears of bugs: on which path, and what was raised.
        """
        self.path = path
        make_way(path)
        self._server = _Server(path.with_name(path.name + ".new"), respond, on_failure)
        try:
            self._bind()
        except OSError as error:
            self._server.server_close()
            raise Refused(
                f"the control socket {path} cannot be made: {error.strerror or error}"
            ) from error
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)

    def _bind(self) -> None:
        """Bound under another name, given its mode, and only then put where clients look."""
        new = Path(str(self._server.server_address))
        new.unlink(missing_ok=True)
        self._server.server_bind()
        _give_to_group(new)
        new.chmod(MODE)
        self._server.server_activate()
        new.rename(self.path)
        self._inode = self.path.stat().st_ino

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering, and remove the socket unless another manager has put its own there."""
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        if self._thread.is_alive():
            self._thread.join()
        self._server.server_close()

    def _accept(self) -> None:
        """Hand each connection to a thread of its own; asleep while nobody calls."""
        while True:
            try:
                connection, address = self._server.get_request()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED):
                    time.sleep(0.05)  # no room now; those who are served will make some
                    continue
                return
            self._server.process_request(connection, address)


def _give_to_group(path: Path) -> None:
    # no such group, or not root: the owner alone may use it
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)


def make_way(path: Path) -> None:
    """See that a socket can be put here: the directory is made, and nobody answers there.

    What a dead manager left is replaced; anything that is no socket is ``Refused``.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"the control socket {path} cannot be made: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise Refused(f"{path} is not a socket; move it away, or set [host] socket")
    probe = socket.socket(socket.AF_UNIX)
    probe.settimeout(2.0)
    try:
        probe.connect(str(path))
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return
    finally:
        probe.close()
    raise Refused(f"another manager answers on {path}; stop it first, or set [host] socket")


def peer(connection: socket.socket) -> Caller:
    """Who is at the other end, as the kernel says."""
    pid, uid, gid = _peer(connection)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return Caller(pid, uid, gid, name)


def _peer(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of the other end."""
    size = struct.calcsize("3i")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, gid = struct.unpack("3i", found)
    return pid, uid, gid
