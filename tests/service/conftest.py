"""A stand-in manager on a socket of its own, and raw and polite ways to talk to it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.service.standin import StandIn, slot, status


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[StandIn]:
    """A manager with two idle slots."""
    stand_in = StandIn(tmp_path / "control.sock")
    stand_in.publish(status(slot("local-0"), slot("local-1")))
    yield stand_in
    stand_in.close()


@dataclass(frozen=True)
class Answered:
    """An answer, read whole."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


Ask = Callable[..., Answered]
Exchange = Callable[..., bytes]


def connect(path: Path, timeout: float = 30) -> socket.socket:
    """A bare connection to the control socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    connection.connect(str(path))
    return connection


@pytest.fixture
def ask(manager: StandIn) -> Ask:
    """``ask(method, path, body=None)`` over a connection of its own."""

    def _ask(method: str, path: str, body: object = None) -> Answered:
        client = http.client.HTTPConnection("mayfly", timeout=30)
        client.sock = connect(manager.path)
        data = json.dumps(body).encode() if body is not None else None
        client.request(method, path, data)
        response = client.getresponse()
        answered = Answered(response.status, dict(response.headers), response.read())
        client.close()
        return answered

    return _ask


@pytest.fixture
def exchange(manager: StandIn) -> Callable[..., bytes]:
    """``exchange(bytes)``: send them, say that no more come, return all that comes back."""

    def _exchange(data: bytes, timeout: float = 30) -> bytes:
        with connect(manager.path, timeout) as connection:
            received = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused in the middle: what was answered is what counts
            while True:
                try:
                    part = connection.recv(65536)
                except ConnectionResetError:
                    return received
                if not part:
                    return received
                received += part

    return _exchange
