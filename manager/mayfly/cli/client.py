"""The other end of the control socket: one request, one answer, or a stream of output.

A manager that has no place for one more client now is up, and is asked again: busy is not an answer.

Imports nothing heavy: every reading verb pays for this file at each start.
"""

from __future__ import annotations

import errno
import grp
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from mayfly.cli.answer import Answer, asked
from mayfly.cli.trouble import Busy, Denied, Down, Ended, Lacking, NoSuch, TimedOut, Trouble, Usage
from mayfly.edge.pieces import PIECE

START = "sudo systemctl start mayfly"  # what starts the manager
DEFAULT_SOCKET = "/run/mayfly/control.sock"
SECONDS = 40.0  # above the 30 s after which the manager gives up on its loop
BUSY = 503  # the status of an answer of a manager that has no place, or no status yet
SWITCHING = 101  # the status of an answer after which another protocol goes on
PATIENCE = 60.0  # how long a place is tried for
PACE = 0.5  # seconds at least between two questions that are to wait, to one that is a stranger
FRAME = struct.Struct(">BxxxIQ")  # stream, length, timestamp: see docs/reference/control-socket.md
FRAME_MAX = 16 * 1024 * 1024  # bytes of one; what an Engine sends at once is a thousandth of it

Document = dict[str, Any]

_waited: dict[str, float] = {}  # when a stranger was asked last to wait for something, by its name


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of an agent's output; none where the manager only says that it is still there."""

    agent: str
    stream: int  # 1: stdout, 2: stderr, 0: Mayfly's own
    timestamp: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """A body that is made while it is sent."""

    pieces: Callable[[], Iterator[bytes]]
    length: int  # bytes


def connected(path: str, timeout: float | None) -> socket.socket:
    """A connection to the manager behind that socket; ``OSError`` where there is none."""
    try:
        return _reached(path, timeout)
    except PermissionError as error:
        # Who is of the group mayfly-users alone has a door of their own.
        try:
            return _reached(str(Path(path).with_name("users.sock")), timeout)
        except OSError as own:
            # A manager that begins, or was killed, has none: nobody need be let into a group for that.
            raise own if _is_member() and not isinstance(own, PermissionError) else error from None


def _reached(path: str, timeout: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _silent(_: str) -> None:
    pass


class Client:
    """Speaks to the manager behind one socket; every failure is a ``Trouble``."""

    def __init__(
        self,
        path: str,
        say: Callable[[str], None] = _silent,
        patience: float = PATIENCE,
        seconds: float = SECONDS,
        fitted: Callable[[str], str] = str,
        connect: Callable[[float], socket.socket] | None = None,
    ) -> None:
        """``say`` tells people, once, that a place is waited for, at most ``patience`` seconds.

        ``seconds`` is how long the manager may say nothing. ``fitted`` makes lines to paste such that they
        work here. ``connect`` leads to the manager where ``path`` is no socket of this host, but its name; it
        is given the seconds that a connection waits.
        """
        self.path = path
        self.elsewhere = connect is not None  # a manager that is not of this host: a stranger
        self._connect = connect or (lambda timeout: connected(path, timeout))
        self._fitted = fitted
        self._patience = patience
        self._seconds = seconds
        self._say: Callable[[str], None] | None = say

    def get(
        self, path: str, query: Mapping[str, object] | None = None, timeout: float | None = None
    ) -> Document:
        """Read one document; where nobody more may ``wait`` for one, what there is after a while."""
        try:
            wait = float(str((query or {}).get("wait") or 0.0))
            self._pace(query)
            patience = 0.0 if wait else self._patience
            seconds = self._seconds if timeout is None else timeout
            return self._json("GET", _with_query(path, query), None, seconds, patience)
        except Busy as busy:
            if not wait:
                raise
            self._tell(busy)
        time.sleep(min(wait, some_of(2.0)))
        return self.get(path, {key: value for key, value in (query or {}).items() if key != "wait"})

    def post(self, path: str, body: Mapping[str, object]) -> Document:
        """Ask for a change and return what became of it."""
        return self._json("POST", path, json.dumps(body).encode(), self._seconds, self._patience)

    def upload(self, path: str, pieces: Callable[[], Iterator[bytes]], length: int) -> Document:
        """Send a body of so many bytes, made anew for each try, and return what became of it."""
        return self._json("POST", path, Body(pieces, length), self._seconds, self._patience)

    def fetched(self, path: str, query: Mapping[str, object]) -> Generator[bytes, None, None]:
        """The pieces of a body as they come; none where there is nothing yet."""
        self._pace(query)
        response = self._answered("GET", _with_query(path, query), None, 100.0, 0.0)
        try:
            if response.status == 204:
                return
            if response.status != 200:
                raise _refusal(response.status, response.read())
            while piece := response.read(PIECE):
                yield piece
        except OSError as error:
            raise self._trouble(error) from error
        finally:
            response.close()

    def output(
        self, path: str, query: Mapping[str, object], timeout: float = SECONDS
    ) -> Iterator[Piece]:
        """The pieces of an output as they come; ends where the manager ended it in order.

        ``Busy`` at once where nobody more may follow one.
        """
        self._pace(query)
        patience = 0.0 if query.get("follow") else self._patience
        response = self._answered("GET", _with_query(path, query), None, timeout, patience)
        try:
            if response.status == 204:
                return
            if response.status != 200:
                raise _refusal(response.status, response.read())
            agent = response.headers.get("mayfly-agent", "")
            while head := _exactly(response, FRAME.size):
                stream, length, timestamp = FRAME.unpack(head)
                if length > FRAME_MAX:
                    raise ConnectionError("it has a frame that is too large to read")
                yield Piece(agent, stream, timestamp, _exactly(response, length))
        except OSError as error:
            raise self._trouble(error) from error
        finally:
            response.close()

    def upgraded(
        self, path: str, body: Mapping[str, object], protocol: str
    ) -> tuple[socket.socket, bytes]:
        """The connection, once the manager goes on with another protocol, and what came with its answer."""
        response = self._asked(
            *("POST", path, json.dumps(body).encode(), self._seconds),
            {"Connection": "Upgrade", "Upgrade": protocol},
        )
        if response.status != SWITCHING:
            raise _refusal(response.status, self._whole(response))
        try:
            response.socket.setblocking(False)
            return response.socket.dup(), response.ahead()
        except OSError as error:
            raise self._trouble(error) from error
        finally:
            response.close()

    def _json(
        self, method: str, target: str, body: bytes | Body | None, timeout: float, patience: float
    ) -> Document:
        response = self._answered(method, target, body, timeout, patience)
        data = self._whole(response)
        if response.status >= 400:
            raise _refusal(response.status, data)
        return _document(data)

    def _whole(self, response: Answer) -> bytes:
        """All of its body; the connection is let go of."""
        try:
            return response.read()
        except OSError as error:
            raise self._trouble(error) from error
        finally:
            response.close()

    def _answered(
        self, method: str, target: str, body: bytes | Body | None, timeout: float, patience: float
    ) -> Answer:
        """The head of an answer; where there is no place, asked again for so many seconds."""
        end = time.monotonic() + patience
        pause = 0.1
        while True:
            try:
                return self._asked(method, target, body, timeout)
            except Busy as busy:
                if time.monotonic() >= end:
                    raise
                if pause > 0.5:
                    self._tell(busy)
            time.sleep(some_of(pause))
            pause = min(2.0, pause * 2)

    def _asked(
        self,
        method: str,
        target: str,
        body: bytes | Body | None,
        timeout: float,
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = {} if body is None else {"Content-Type": "application/json", **(more or {})}
        data: bytes | Iterator[bytes] = b""
        if isinstance(body, Body):
            data, length = body.pieces(), body.length
            headers = {"Content-Type": "application/octet-stream"}
        elif body is not None:
            data, length = body, len(body)
        if body is not None:
            headers["Content-Length"] = str(length)
        try:
            connection = self._connect(timeout)
        except OSError as error:
            raise self._trouble(error) from error
        try:
            response = asked(connection, method, target, headers, data)
            busy = response.read() if response.status == BUSY else None
        except OSError as error:
            connection.close()
            raise self._trouble(error) from error
        except BaseException:
            connection.close()
            raise
        if busy is not None:
            response.close()
            raise _refusal(BUSY, busy)
        return response

    def _pace(self, query: Mapping[str, object] | None) -> None:
        """Wait where one that is a stranger has been asked to wait, and has not: each question is a login."""
        if not self.elsewhere or not (query and (query.get("wait") or query.get("follow"))):
            return
        now = time.monotonic()
        rest = _waited.get(self.path, now - PACE) + PACE - now
        if rest > 0:
            time.sleep(rest)
        _waited[self.path] = time.monotonic()

    def _tell(self, busy: Busy) -> None:
        say, self._say = self._say, None
        if say is not None:
            say(f"{busy}; trying again")

    def _trouble(self, error: OSError) -> Trouble:
        number = error.errno
        if number in (errno.EACCES, errno.EPERM):
            return Trouble(not_let_in(self.path))
        if isinstance(error, TimeoutError):
            return TimedOut(f"the manager behind {self.path} does not answer in time")
        if number == errno.EAGAIN:  # more wait to be let in than the kernel keeps
            return Busy(f"the manager behind {self.path} lets nobody more in for now")
        if number not in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR, errno.ENOTSOCK):
            return Down(f"the manager behind {self.path} broke off its answer: {error}")
        return Down(
            f"the manager is not running: nobody answers on {self.path}\n"
            + self._fitted(f"  start it: {START}")
        )


def some_of(seconds: float) -> float:
    """About so long, each time another while: those who wait must not all come back at once."""
    from random import uniform  # noqa: PLC0415  costs 2 ms, and is rare

    return uniform(seconds / 2, seconds * 3 / 2)  # noqa: S311  no secret


def not_let_in(path: str) -> str:
    """What somebody may do whom the sockets of this host do not let in."""
    return forbidden(path, _groups())


def forbidden(path: str, groups: frozenset[str]) -> str:
    """Whom to ask, the group that may do the least first; ``groups`` are those that there are."""
    there = [name for name in ("mayfly-users", "mayfly") if name in groups]
    if not there:
        return (
            f"you may not use {path}: use sudo, or let `sudo mayfly install` make the group mayfly"
        )
    asked = (
        f"ask for the group {there[0]} (sudo usermod -aG {there[0]} {_user()}, then log in again)"
    )
    more = ", or for mayfly to do more than submit" if len(there) > 1 else ""
    return f"you may not use {path}: {asked}{more}, or use sudo"


def _is_member() -> bool:
    """Whether this user is of the group that the users' door is for."""
    try:
        return grp.getgrnam("mayfly-users").gr_gid in {os.getgid(), *os.getgroups()}
    except KeyError:
        return False


def _groups() -> frozenset[str]:
    return frozenset(name for name in ("mayfly-users", "mayfly") if _is_group(name))


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _user() -> str:
    return os.environ.get("USER") or "YOU"


def _with_query(path: str, query: Mapping[str, object] | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _exactly(response: Answer, size: int) -> bytes:
    """``size`` bytes, or none at the end; half of them is a broken connection."""
    parts = bytearray()
    while len(parts) < size:
        part = response.read(size - len(parts))
        if not part:
            if parts:
                raise ConnectionResetError("the output ended in the middle of a frame")
            break
        parts += part
    return bytes(parts)


def _document(data: bytes) -> Document:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Trouble("the manager answered with something that is not a JSON document")
    return document


def _refusal(status: int, data: bytes) -> Trouble:
    try:
        document = _document(data)
    except Trouble as error:
        return error
    sentence = str(document.get("error") or f"the manager answered {status}")
    match document.get("kind"), status:
        case (
            (
                "no_such_slot"
                | "no_such_job"
                | "no_such_pool"
                | "no_results"
                | "no_such_run"
                | "no_such_gpu"
                | "no_such_reservation"
            ),
            _,
        ):
            return NoSuch(sentence)
        case "starting", _:
            return Down(sentence)
        case "lacking", _:
            return Lacking(sentence)
        case "busy", _:
            return Busy(sentence)
        case "ended", _:
            return Ended(sentence)
        case _, 403:
            return Denied(sentence)
        case _, 504:
            return TimedOut(sentence)
        case _, 400:
            return Usage(sentence)
    return Trouble(sentence)


def segment(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def find_socket(
    flag: str | None, config: str | None, environ: Mapping[str, str] | None = None
) -> str:
    """``--socket``, else ``host.socket`` of the configuration that is named, else the default."""
    environ = os.environ if environ is None else environ
    if flag:
        return flag
    if named := environ.get("MAYFLY_HOST__SOCKET"):
        return named
    path = config or environ.get("MAYFLY_CONFIG")
    if not path:
        return DEFAULT_SOCKET
    return _socket_in(path, environ)


def _socket_in(path: str, environ: Mapping[str, str]) -> str:
    from mayfly.edge import sources  # noqa: PLC0415  only where a file is named: costs 5 ms

    try:
        layers = [sources.read_toml(file) for file in sources.files(Path(path))]
    except sources.Unreadable as error:
        raise Trouble(str(error)) from error
    host = sources.merge(layers).tree.get("host")
    found = host.get("socket") if isinstance(host, dict) else None
    if isinstance(found, str):
        return found
    for layer in layers:
        if layer.wrong and not layer.text:
            line, sentence = layer.wrong[0]
            raise Trouble(f"{layer.origin}:{line}: {sentence}")
    runtime = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return f"{runtime}/control.sock" if runtime else DEFAULT_SOCKET
