"""A Docker Engine as far as its HTTP goes: one answer a connection, of the kinds that a real one gives.

    with FakeEngine() as engine:
        engine.on("GET", "/containers/abc/json", reply(200, {"Id": "abc"}))
        engine.on("POST", "/exec/abc/start", hijack(lambda end: end.sendall(end.recv(10))))
        ...                     # speak to engine.path
        assert engine.asked("POST", "/exec/abc/start")

It has what is hard about the real one: bodies in chunks, answers without an end, raw connections behind a 101
or a 200, sides that are closed for themselves, an answer before a body was read, and none at all.
"""

from __future__ import annotations

import json
import re
import select
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

Serve = Callable[["Ask"], None]


@dataclass
class Ask:
    """A request whose head was read, and the connection that it came by."""

    method: str
    target: str
    headers: dict[str, str]
    end: socket.socket
    held: bytes = b""
    content: bytes = b""
    whole: bool = False  # whether the body was read

    @property
    def json(self) -> Any:
        return json.loads(self.content) if self.content else None

    def more(self) -> bytes:
        """What comes next, as far as it was sent."""
        if self.held:
            taken, self.held = self.held, b""
            return taken
        return self.end.recv(65536)

    def body(self) -> bytes:
        """The whole body, by its length or in chunks; the same again where it was read before."""
        if self.whole:
            return self.content
        self.whole = True
        if self.headers.get("transfer-encoding") == "chunked":
            while True:
                size = int(self._line(), 16)
                piece = self._exactly(size)
                self._line()
                if not size:
                    break
                self.content += piece
        else:
            self.content = self._exactly(int(self.headers.get("content-length", "0")))
        return self.content

    def _line(self) -> bytes:
        while b"\r\n" not in self.held:
            self.held += self._received()
        line, _, self.held = self.held.partition(b"\r\n")
        return line

    def _exactly(self, size: int) -> bytes:
        while len(self.held) < size:
            self.held += self._received()
        taken, self.held = self.held[:size], self.held[size:]
        return taken

    def _received(self) -> bytes:
        piece = self.end.recv(65536)
        if not piece:
            raise ConnectionError("the request breaks off")
        return piece

    def say(self, status: int, headers: dict[str, str] | None = None) -> None:
        """The head of an answer."""
        lines = [f"HTTP/1.1 {status} Said", "Server: Docker/28.5.2 (linux)", "Api-Version: 1.51"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.end.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        """A piece of a body in chunks; an empty one is its end."""
        self.end.sendall(b"%x\r\n%b\r\n" % (len(data), data))


def reply(status: int, document: Any = None) -> Serve:
    """One whole answer."""

    def serve(ask: Ask) -> None:
        ask.body()
        body = b"" if document is None else json.dumps(document).encode() + b"\n"
        if status in (204, 304):
            ask.say(status)
            return
        ask.say(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if ask.method != "HEAD":
            ask.end.sendall(body)

    return serve


def chunked(pieces: Iterable[bytes], kind: str = "application/json") -> Serve:
    """A body in chunks, as they come of the pieces, which may wait."""

    def serve(ask: Ask) -> None:
        ask.body()
        ask.say(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})
        for piece in pieces:
            ask.chunk(piece)
        ask.chunk(b"")

    return serve


def hijack(talk: Callable[[Ask], None]) -> Serve:
    """The raw connection, behind 101 where it was asked for and 200 where not."""

    def serve(ask: Ask) -> None:
        ask.body()
        kind = {"Content-Type": "application/vnd.docker.raw-stream"}
        if "upgrade" in ask.headers:
            ask.say(101, {**kind, "Connection": "Upgrade", "Upgrade": "tcp"})
        else:
            ask.say(200, kind)
        talk(ask)

    return serve


def breaks_off(ask: Ask) -> None:
    """No answer at all."""
    ask.body()


def left_alone(end: socket.socket) -> None:
    """Reads no more of a request that is answered, as Go's server does, until the other side has gone."""
    end.shutdown(socket.SHUT_WR)
    poll = select.poll()
    poll.register(end, 0)
    poll.poll(30_000)


class FakeEngine:
    """Listens on a unix socket; the first rule that fits answers, 404 where none does."""

    def __init__(self) -> None:
        self.path = f"{mkdtemp(prefix='mayfly-fe-')}/docker.sock"
        self.url = f"unix://{self.path}"
        self._rules: list[tuple[str, re.Pattern[str], Serve]] = []
        self._asked: list[Ask] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(self.path)
        self._server.listen(64)
        self._ends: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        Path(self.path).unlink(missing_ok=True)
        Path(self.path).parent.rmdir()

    def on(self, method: str, target: str, serve: Serve) -> None:
        """How that is answered; ``target`` is a pattern for the path without version and query. The last one
        that was said counts."""
        self._rules.insert(0, (method, re.compile(target), serve))

    def forget(self) -> None:
        """Know no rule, and of no request."""
        self._rules.clear()
        self._asked.clear()

    def asked(self, method: str, target: str) -> list[Ask]:
        """The requests that fit, in their order; both are patterns."""
        how, wanted = re.compile(method), re.compile(target)
        return [
            ask
            for ask in self._asked
            if how.fullmatch(ask.method) and wanted.fullmatch(_path(ask.target))
        ]

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._server.accept()
            except OSError:
                return
            self._ends.append(end)
            threading.Thread(target=self._serve, args=(end,), daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        with suppress(OSError, ValueError), end:
            held = b""
            while b"\r\n\r\n" not in held:
                piece = end.recv(65536)
                if not piece:
                    return
                held += piece
            head, _, rest = held.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            ask = Ask(method, target, headers, end, rest)
            self._asked.append(ask)
            path = _path(target)
            for wanted, pattern, serve in tuple(self._rules):
                if wanted == method and pattern.fullmatch(path):
                    serve(ask)
                    return
            reply(404, {"message": "page not found"})(ask)


def _path(target: str) -> str:
    return re.sub(r"^/v1\.[0-9]+(?=/)", "", target.partition("?")[0])
