"""A stand-in manager on a socket of its own, and raw and polite ways to talk to it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mayfly.edge.page_http import PLACES, UNSENT
from mayfly.edge.tcp_http import TcpServer
from mayfly.service.page.other_boxes import OtherBox
from mayfly.service.page.site import Site
from mayfly.service.page.strip import Stints
from mayfly.service.page.visitor import Visitors
from tests.service.page_visits import ANN, HEADER, ME, Browser, Serve, known
from tests.service.standin import StandIn, job, slot, status


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


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def serve(manager: StandIn, told: list[str]) -> Iterator[Serve]:
    """A page of the manager's, as its visitors see it; ``user``: whom a proxy of this user names."""
    made: list[tuple[Site, TcpServer]] = []

    def fails(where: str, error: BaseException) -> None:
        manager.failures.append(error)

    def _serve(
        user: str | None = None,
        trusted: tuple[str, ...] = (ME,),
        boxes: Callable[[], Sequence[OtherBox]] = tuple,
    ) -> Browser:
        visitors = Visitors(HEADER, trusted, known)
        stints = Stints(manager.account)
        site = Site(
            *(manager.control, manager.board, visitors, stints),
            on_failure=fails,
            ignored=told.append,
            boxes=boxes,
        )
        server = TcpServer("127.0.0.1", 0, site.respond, fails, PLACES, unsent=UNSENT)
        made.append((site, server))
        return Browser(server.address, {HEADER: user} if user else {})

    yield _serve
    for site, server in made:
        site.stop()
        server.close()
    assert manager.failures == []


@pytest.fixture
def anns(manager: StandIn) -> StandIn:
    """A manager with a queued job of ann's."""
    manager.account.rows["j1"] = job("j1", owner="ann", argv=["secret-words"], out=[], results=None)
    manager.account.owners["j1"] = ANN.uid
    return manager
