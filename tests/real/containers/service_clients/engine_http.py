"""The Engine's API as a client of Go speaks it: JSON over the socket, and hijacked streams.

A connection a call; an attached stream half-closes, and its answer is frames of eight bytes and a piece.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import quote, urlencode

TIMEOUT = 120.0
SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


class Unlike(Exception):
    """An answer that the client would take for a fault."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(f"{status} {sentence}")
        self.status = status


class _Connection(HTTPConnection):
    def __init__(self) -> None:
        super().__init__("docker", timeout=TIMEOUT)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(SOCKET)


class Engine:
    """The Engine, by the newest version of the API that both sides speak."""

    def __init__(self, newest: tuple[int, int] = (1, 47)) -> None:
        with_head = _Connection()
        with_head.request("HEAD", "/_ping")
        answer = with_head.getresponse()
        answer.read()
        told = answer.headers.get("Api-Version", "1.24").split(".")
        with_head.close()
        theirs = (int(told[0]), int(told[1]))
        self.version = ".".join(map(str, min(theirs, newest)))

    def call(
        self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None
    ) -> Any:
        """The document of the answer; ``Unlike`` where it tells of a fault."""
        connection, answer = self._asked(method, path, body, query)
        try:
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise Unlike(answer.status, _message(text))
        if not text:
            return None
        return json.loads(text) if answer.headers.get_content_type().endswith("json") else text

    def attached(self, container: str, script: str) -> bytes:
        """Attaches, starts the container, writes the script to its input, and reads to the end."""
        streams = {"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1}
        path = f"/v{self.version}/containers/{container}/attach?{urlencode(streams)}"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(SOCKET)
            head = f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n"
            head += "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            connection.sendall(head.encode())
            stream = connection.makefile("rb")
            status = int(stream.readline().split()[1])
            while stream.readline() not in (b"\r\n", b""):
                pass
            if status != 101:
                raise Unlike(status, "attach is not upgraded")
            self.call("POST", f"/containers/{container}/start")
            connection.sendall(script.encode())
            connection.shutdown(socket.SHUT_WR)
            return unframed(stream.read())

    def logs(self, container: str) -> bytes:
        query = {"stdout": 1, "stderr": 1, "timestamps": 1}
        return unframed(self.call("GET", f"/containers/{container}/logs", query=query))

    def _asked(
        self, method: str, path: str, body: object, query: Mapping[str, object] | None
    ) -> tuple[_Connection, HTTPResponse]:
        connection = _Connection()
        target = f"/v{self.version}{quote(path, safe='/:@')}"
        if query:
            target += "?" + urlencode(query)
        sent = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, target, body=sent, headers=headers)
        return connection, connection.getresponse()


def unframed(data: bytes) -> bytes:
    """What two outputs said, without the heads of the frames."""
    found = b""
    while len(data) >= 8:
        size = struct.unpack(">I", data[4:8])[0]
        found += data[8 : 8 + size]
        data = data[8 + size :]
    return found


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200].decode(errors="replace")
