"""One request to the manager and the head and body of its answer, as bytes on a unix socket (RFC 9112).

Written by hand since every verb pays for it at each start: ``http.client`` brings TLS and the headers of
mails, which takes as long as Python itself. It speaks to our own server alone (``edge/http_connection.py``),
which frames a body by its length or in chunks. A body that ends too early is an error, never a shorter body.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping

from mayfly.core.quantities import whole_number

HEAD_MAX = 64 * 1024  # bytes of an answer's head, and of the line before a chunk
WHOLE_MAX = 128 * 1024 * 1024  # bytes of a body that is read at once; the largest are lists of jobs
BODILESS = (101, 204)  # the status of an answer that has no body
SIZE = re.compile("[0-9A-Fa-f]{1,15}")  # of a chunk


class Answer:
    """An answer whose head is read; ``OSError`` where it is none, or breaks off."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")
        first, *lines = self._head()
        version, _, rest = first.partition(" ")
        status = whole_number(rest.partition(" ")[0])
        if not version.startswith("HTTP/1.") or status is None:
            raise ConnectionError("this is no answer")
        self.status = status
        named = (line.partition(":") for line in lines)
        self.headers: Mapping[str, str] = {
            name.strip().lower(): value.strip() for name, _, value in named
        }
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self._left = 0 if self._chunked else self._length()
        self._ended = self.status in BODILESS or (not self._chunked and not self._left)

    def read(self, most: int | None = None) -> bytes:
        """So many bytes of the body at most, as they come, none at its end; without a number all of it,
        which is an error where that is too much to be a document.
        """
        if most is not None:
            return self._piece(most)
        whole = bytearray()
        while piece := self._piece(HEAD_MAX):
            whole += piece
            if len(whole) > WHOLE_MAX:
                raise ConnectionError("its answer is too large to read")
        return bytes(whole)

    def ahead(self) -> bytes:
        """What has come behind an answer after which another protocol goes on."""
        return self._file.read1(HEAD_MAX) or b""

    def close(self) -> None:
        """Let go of the connection."""
        self._file.close()
        self.socket.close()

    def _head(self) -> list[str]:
        lines: list[str] = []
        size = 0
        while line := self._line():
            lines.append(line)
            size += len(line)
            if size > HEAD_MAX:
                raise ConnectionError("the head of its answer has no end")
        if not lines:
            raise ConnectionError("this is no answer")
        return lines

    def _line(self) -> str:
        line = self._file.readline(HEAD_MAX)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("it closed the connection")
        return line.rstrip(b"\r\n").decode("latin-1")

    def _length(self) -> int:
        if self.status in BODILESS:
            return 0
        length = whole_number(self.headers.get("content-length", ""))
        if length is None:
            raise ConnectionError("this is no answer: it has no length")
        return length

    def _piece(self, most: int) -> bytes:
        if self._ended:
            return b""
        if self._chunked and not self._left and not self._chunk():
            return b""
        piece = self._file.read1(min(most, self._left))
        if not piece:
            raise ConnectionResetError("it closed the connection before the end of its answer")
        self._left -= len(piece)
        if self._chunked and not self._left and self._line():
            raise ConnectionError("its answer has a chunk that is longer than its size")
        self._ended = not self._chunked and not self._left
        return piece

    def _chunk(self) -> int:
        """The size of the next chunk; 0 at the end."""
        text = self._line().partition(";")[0].rstrip(" \t")
        if not SIZE.fullmatch(text):
            raise ConnectionError("its answer has a chunk without a size")
        self._left = int(text, 16)
        if not self._left:
            size = 0
            while line := self._line():
                size += len(line)
                if size > HEAD_MAX:
                    raise ConnectionError("the end of its answer has no end")
            self._ended = True
        return self._left


def asked(
    connection: socket.socket,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes],
) -> Answer:
    """Send a request, and read the head of what is answered; the connection stays the caller's to close."""
    lines = [f"{method} {target} HTTP/1.1", "Host: mayfly"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
    try:
        if isinstance(body, bytes):
            connection.sendall(head + body)
        else:
            connection.sendall(head)
            for piece in body:
                connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # turned away before all was sent: why stands in an answer, if it came to one
    return Answer(connection)
