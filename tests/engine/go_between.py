"""A unix socket that passes everything on to an Engine and counts what was asked.

Where ``nonsense`` has a pattern for a request's line, it answers that one itself, and not as an Engine would;
where ``refusals`` or ``failures`` has one, it refuses or fails that request, once, in an Engine's own words
for what is rare;
where ``astray`` has one, the frames of the whole answer are those that its function makes of them.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from typing import TYPE_CHECKING, Self

from mayfly.edge.output_kept import frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_REQUEST = re.compile(rb"^(GET|POST|DELETE|PUT|HEAD) (\S+) HTTP/1\.[01]\r$", re.MULTILINE)


class GoBetween:
    """Listens at ``url``; ``asked`` grows by one line, such as ``GET /containers/json``, a request."""

    def __init__(self, directory: Path, engine_url: str) -> None:
        self._changes: dict[socket.socket, Callable[[list[bytes]], list[bytes]]] = {}
        self._engine = engine_url.removeprefix("unix://")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(directory / "between.sock"))
        self._listener.listen(128)
        self.url = f"unix://{directory}/between.sock"
        self.asked: list[str] = []
        self.nonsense: dict[
            str, bytes
        ] = {}  # a pattern for `POST /containers/create` -> the JSON instead
        self.refusals: dict[str, str] = {}  # a pattern -> the message of a 403
        self.failures: dict[str, str] = {}  # a pattern -> the message of a 500
        self.astray: dict[str, Callable[[list[bytes]], list[bytes]]] = {}

    def __enter__(self) -> Self:
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who accepts
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                engine.connect(self._engine)
                for way in (self._pass_on, self._pass_back):
                    threading.Thread(target=way, args=(client, engine), daemon=True).start()

    def _own_answer(self, asked: list[str]) -> bytes | None:
        for pattern, body in self.nonsense.items():
            if any(re.search(pattern, line) for line in asked):
                return _answer("200 OK", body)
        for status, said in (("403 Forbidden", self.refusals), ("500 Failed", self.failures)):
            for pattern, message in said.items():
                if any(re.search(pattern, line) for line in asked):
                    del said[pattern]
                    return _answer(status, json.dumps({"message": message}).encode())
        return None

    def _pass_on(self, client: socket.socket, engine: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                asked = [b" ".join(found).decode() for found in _REQUEST.findall(data)]
                self.asked += asked
                if (reply := self._own_answer(asked)) is not None:
                    client.sendall(reply)
                    client.shutdown(socket.SHUT_RDWR)
                    break
                for pattern, change in self.astray.items():
                    if any(re.search(pattern, line) for line in asked):
                        self._changes[engine] = change
                engine.sendall(data)
            engine.shutdown(socket.SHUT_WR)

    def _pass_back(self, client: socket.socket, engine: socket.socket) -> None:
        with contextlib.suppress(OSError):
            whole = bytearray()
            while data := engine.recv(65536):
                if engine in self._changes:
                    whole += data
                else:
                    client.sendall(data)
            if engine in self._changes:
                client.sendall(_changed(bytes(whole), self._changes.pop(engine)))
            client.shutdown(socket.SHUT_WR)


def _changed(answer: bytes, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    head, end, body = answer.partition(b"\r\n\r\n")
    return head + end + b"".join(change([body[at : at + 8 + size] for at, size in frames(body)]))


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
