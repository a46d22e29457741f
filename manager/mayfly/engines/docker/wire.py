"""The Engine's HTTP as bytes on its unix socket, for what a client library does badly: streams, hijacked
sockets, and what is asked for every job (0.2 ms of processor time a call instead of 1.2).

Requests are HTTP/1.0 (a body then ends with the connection and is never chunked) and carry no API
version: what is asked here has kept its meaning in all versions. Nothing here retries, and nothing
waits without a bound in time, or reads without one in bytes.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mayfly.edge.faults import Passing, Refused
from mayfly.edge.pieces import PIECE, gathered
from mayfly.engines.docker import faults

_HEAD_MAX = 64 * 1024
PATH_STAT = "x-docker-container-path-stat"
BODY_MAX = 64 * 1024 * 1024
SO_ALREADY = 304  # what was asked for is so


@dataclass(frozen=True, slots=True)
class Opened:
    """A socket past the head of a successful answer, and what of the body came with the head."""

    socket: socket.socket
    first: bytes


def socket_path(base_url: str) -> str:
    """The path in ``unix:///path``; ``Refused`` for any other address."""
    path = base_url.removeprefix("unix://")
    if path == base_url or not path.startswith("/"):
        raise Refused(
            f"The Engine's address {base_url!r} is not a unix socket; write it as unix:///path/docker.sock"
        )
    return path


def request(method: str, target: str, *, upgrade: bool = False, body: bytes | None = None) -> bytes:
    """The bytes of a request; ``upgrade`` asks for the raw socket behind it."""
    lines = [f"{method} {target} HTTP/1.{int(upgrade)}", "Host: docker"]
    if upgrade:
        lines += ["Connection: Upgrade", "Upgrade: tcp"]
    if body is not None or upgrade:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body or b'')}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def head(received: bytes | bytearray) -> tuple[int, int] | None:
    """The status and the length of an answer's head; None while it is not complete, ValueError if
    it is no HTTP.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        if len(received) > _HEAD_MAX:
            raise ValueError("no end of the head")
        return None
    words = bytes(received[:end]).split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("not an HTTP answer")
    return int(words[1]), end + 4


def message(body: bytes) -> str:
    """The Engine's own words in the body of a failure."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]


def _headed(conn: socket.socket, deadline: float) -> tuple[int, int, bytes]:
    """The status of an answer, the length of its head, and all that has come with that."""
    received = bytearray()
    while (parsed := head(received)) is None:
        chunk = _received(conn, deadline)
        if not chunk:
            raise ConnectionError("closed")
        received += chunk
    return (*parsed, bytes(received))


def _complaint(conn: socket.socket, received: bytes, length: int, deadline: float) -> str:
    """The Engine's own words in a failure whose head, of that length, and some of its body have come."""
    body = received[length:] + _rest(conn, deadline, _HEAD_MAX, until=b"}\n")
    chunked = b"\r\ntransfer-encoding: chunked\r\n" in received[:length].lower()
    return message(_unchunked(body) if chunked else body)


def _unchunked(body: bytes) -> bytes:
    """What is in a body in chunks, as a long answer to HTTP/1.1 is; it may break off."""
    out = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length <= 0:
            break
        out += body[:length]
        body = body[length + 2 :]
    return bytes(out)


def open_stream(
    base_url: str,
    method: str,
    target: str,
    doing: str,
    *,
    timeout: float,
    upgrade: bool = False,
    body: bytes | None = None,
) -> Opened:
    """Send a request and read the head of its answer; raises the fault for an answer that is not
    1xx or 2xx.

    The socket that is returned still has ``timeout`` on every call.
    """
    try:
        conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:  # no descriptor is left
        raise faults.unreachable(base_url, doing, error) from error
    deadline = time.monotonic() + timeout
    try:
        conn.settimeout(timeout)
        conn.connect(socket_path(base_url))
        conn.sendall(request(method, target, upgrade=upgrade, body=body))
        status, length, received = _headed(conn, deadline)
        if status < 300 or status == SO_ALREADY:
            conn.settimeout(timeout)
            return Opened(conn, received[length:])
        text = _complaint(conn, received, length, deadline)
        conn.close()
    except (OSError, ValueError) as error:
        conn.close()
        raise faults.unreachable(base_url, doing, error) from error
    except BaseException:
        conn.close()
        raise
    raise faults.answered(status, text, doing)


def put_stream(
    base_url: str, target: str, pieces: Iterable[bytes], doing: str, *, timeout: float
) -> None:
    """Send a tar of unknown length in chunks; ``timeout`` is for all of it and the answer.

    What an Engine that refuses it halfway says is what is told.
    """
    deadline = time.monotonic() + timeout
    try:
        conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:  # no descriptor is left
        raise faults.unreachable(base_url, doing, error) from error
    with conn:
        try:
            conn.settimeout(timeout)
            conn.connect(socket_path(base_url))
            lines = (
                f"PUT {target} HTTP/1.1",
                "Host: docker",
                "Connection: close",
                "Content-Type: application/x-tar",
                "Transfer-Encoding: chunked",
            )
            conn.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            try:
                for piece in gathered(pieces):
                    conn.settimeout(_left(deadline))
                    conn.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                conn.sendall(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has answered already
            status, length, received = _headed(conn, deadline)
            text = _complaint(conn, received, length, deadline) if status >= 300 else ""
        except (OSError, ValueError) as error:
            raise faults.unreachable(base_url, doing, error) from error
    if status >= 300:
        raise faults.untaken(status, text, doing)


def look_at(base_url: str, target: str, doing: str, *, timeout: float) -> str | None:
    """What the Engine says of a path in a container, as it says it; ``None`` where nothing is there."""
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conn:
            conn.settimeout(timeout)
            conn.connect(socket_path(base_url))
            conn.sendall(request("HEAD", target))
            status, length, received = _headed(conn, deadline)
    except (OSError, ValueError) as error:
        raise faults.unreachable(base_url, doing, error) from error
    if status == 404:
        return None
    if status >= 300:
        raise faults.answered(status, "", doing)
    for line in received[:length].decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == PATH_STAT:
            return value.strip()
    return ""


def served_by(base_url: str) -> int | None:
    """The process that listens on the socket (unix(7), ``SO_PEERCRED``); ``None`` where nobody of this
    host's."""
    size = struct.calcsize("3i")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conn:
            conn.settimeout(1.0)
            conn.connect(socket_path(base_url))
            found = conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    except OSError:
        return None
    process, _, _ = struct.unpack("3i", found)
    return process or None


def pieces(opened: Opened, deadline: float, doing: str) -> Iterator[bytes]:
    """A body as it comes, up to its end; ``Refused`` at the deadline: it is no shorter the next time."""
    if opened.first:
        yield opened.first
    while True:
        try:
            chunk = _received(opened.socket, deadline, PIECE)
        except TimeoutError as error:
            raise Refused("it does not come to its end in time") from error
        except OSError as error:
            raise Passing(f"{doing}: it breaks off; it is tried again", 15.0) from error
        if not chunk:
            return
        yield chunk


def get_json(base_url: str, target: str, doing: str, *, timeout: float) -> Any:
    """The parsed body of a GET."""
    return _asked(base_url, "GET", target, doing, timeout, None)


def post_json(base_url: str, target: str, doing: str, document: Any, *, timeout: float) -> Any:
    """The parsed body of the answer to a POST of that document."""
    return _asked(base_url, "POST", target, doing, timeout, json.dumps(document).encode())


def do(
    base_url: str, method: str, target: str, doing: str, *, timeout: float, document: Any = None
) -> None:
    """Have something done; what the answer says beside that it was is not read."""
    body = json.dumps(document).encode() if document is not None else b""
    opened = open_stream(base_url, method, target, doing, timeout=timeout, body=body)
    opened.socket.close()


def _asked(
    base_url: str, method: str, target: str, doing: str, timeout: float, body: bytes | None
) -> Any:
    opened = open_stream(base_url, method, target, doing, timeout=timeout, body=body)
    try:
        return json.loads(read_all(opened, timeout))
    except (OSError, ValueError) as error:
        raise faults.unreachable(base_url, doing, error) from error


def read_all(opened: Opened, timeout: float, most: int = BODY_MAX) -> bytes:
    """The body up to its end; ``OSError`` where it is longer than that, or takes longer."""
    with opened.socket as conn:
        body = opened.first + _rest(conn, time.monotonic() + timeout, most)
    if len(body) >= most:
        raise OSError(f"the answer is longer than {most >> 20} MiB")
    return body


def read_frames(opened: Opened, deadline: float, most: int, doing: str) -> bytes:
    """The payloads of a multiplexed stream up to its end, at most ``most`` bytes of them;
    ``Passing`` at the deadline.
    """
    held, out = bytearray(opened.first), bytearray()
    with opened.socket as conn:
        while True:
            while len(held) >= 8 and len(held) >= 8 + (size := int.from_bytes(held[4:8], "big")):
                out += held[8 : 8 + size]
                del held[: 8 + size], out[most:]
            left = deadline - time.monotonic()
            if left <= 0:
                raise Passing(f"{doing}: no end within its time; it is tried again")
            conn.settimeout(left)
            try:
                chunk = conn.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise Passing(f"{doing}: the connection broke off; it is tried again") from error
            if not chunk:
                return bytes(out)
            held += chunk


def _rest(conn: socket.socket, deadline: float, most: int, until: bytes | None = None) -> bytes:
    out = bytearray()
    while len(out) < most and not (until is not None and out.endswith(until)):
        chunk = _received(conn, deadline)
        if not chunk:
            break
        out += chunk
    return bytes(out)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _received(conn: socket.socket, deadline: float, most: int = 65536) -> bytes:
    """What comes next; ``TimeoutError`` at the deadline, however slowly the rest trickles in."""
    conn.settimeout(_left(deadline))
    return conn.recv(most)
