"""What is sent for jobs, over the socket: a hostile body costs its sender alone."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.content_wire import LENGTH
from mayfly.core.tree_manifest import digest_of
from mayfly.edge import http_connection
from mayfly.edge.workspaces import Bounds
from mayfly.service import sending
from mayfly.service.control import UPLOADS
from tests.service.conftest import Ask, Exchange, connect
from tests.service.standin import StandIn

UID = os.getuid()


def record(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


@pytest.fixture
def post(manager: StandIn) -> Callable[[bytes], tuple[int, Any]]:
    """``post(body)``: content for jobs."""

    def one(body: bytes) -> tuple[int, Any]:
        import json

        client = http.client.HTTPConnection("mayfly", timeout=30)
        client.sock = connect(manager.path)
        client.request("POST", "/v1/content", body)
        response = client.getresponse()
        found = response.status, json.loads(response.read())
        client.close()
        return found

    return one


def test_contents_come_in_one_body_and_are_named_by_their_digests(
    manager: StandIn, post: Callable[[bytes], tuple[int, Any]], ask: Ask
) -> None:
    contents = [b"", b"x", b"y" * 700_000]
    status, answer = post(b"".join(map(record, contents)))
    assert (status, answer) == (200, {"digests": [digest_of(one) for one in contents]})
    wanted = [*answer["digests"], "0" * 64]
    told = ask("POST", "/v1/content/lacking", {"digests": wanted}).json
    assert told == {"lacking": ["0" * 64], "most": manager.workspaces.bounds.tree}
    assert ask("POST", "/v1/content/lacking", {"digests": []}).json["lacking"] == []
    assert b"".join(manager.workspaces.content(UID, wanted[2])) == contents[2]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"1234567", "each behind its length"),
        (record(b"x") + b"123", "each behind its length"),
        (LENGTH.pack(2) + b"x", "longer than what is left"),
        (LENGTH.pack(2**64 - 1), "longer than what is left"),
        (record(b"") * 10_001, "10000 at most"),
    ],
)
def test_a_body_that_is_no_contents_is_refused(
    post: Callable[[bytes], tuple[int, Any]], body: bytes, told: str
) -> None:
    status, answer = post(body)
    assert status == 400
    assert told in answer["error"]


def test_a_body_above_the_bound_is_refused_unread(manager: StandIn, exchange: Exchange) -> None:
    manager.workspaces.bounds = Bounds(1000, 10**6, 10**6)
    most = sending.most(manager.workspaces)
    head = f"POST /v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: {most + 1}\r\n\r\n"
    assert b"413" in exchange(head.encode() + b"x" * 1000).splitlines()[0]
    head = f"POST /v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: {'9' * 40}\r\n\r\n"
    assert b"413" in exchange(head.encode()).splitlines()[0]


def test_one_content_above_the_bound_is_told_while_it_is_still_being_sent(
    manager: StandIn, post: Callable[[bytes], tuple[int, Any]]
) -> None:
    manager.workspaces.bounds = Bounds(1000, 10**8, 10**8)
    status, answer = post(record(b"x" * 200_000))
    assert (status, answer["kind"]) == (413, "too_much")


def test_a_client_that_breaks_off_leaves_nothing_and_is_no_bug(
    manager: StandIn, exchange: Exchange, ask: Ask, until: Callable[..., object]
) -> None:
    head = b"POST /v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    assert exchange(head + LENGTH.pack(900) + b"x" * 100) == b""
    assert manager.failures == []
    home: Path = manager.path.parent / "kept-for-jobs"
    until(lambda: not [one for one in home.rglob("*") if one.is_file()])
    assert ask("GET", "/v1/version").status == 200


def half_sent(manager: StandIn) -> socket.socket:
    """A client in the middle of a body of one content."""
    sending_now = connect(manager.path)
    head = b"POST /v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    sending_now.sendall(head + LENGTH.pack(2) + b"x")
    return sending_now


def test_a_body_that_trickles_is_not_waited_for(
    manager: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "PIECES_SECONDS", 0.5)
    head = b"POST /v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n"
    with connect(manager.path) as slow:
        slow.sendall(head + LENGTH.pack(2**30 - LENGTH.size))
        cut = threading.Event()

        def trickle() -> None:
            """Much less than is to come, and never long nothing."""
            while not cut.wait(0.05):
                try:
                    slow.sendall(b"x")
                except OSError:
                    return

        trickling = threading.Thread(target=trickle)
        trickling.start()
        with suppress(ConnectionResetError):
            assert slow.recv(1) == b""
        cut.set()
        trickling.join()
    assert manager.failures == []


class Answers:
    """A connection on which two bytes come at a time, and how long each time they were waited for at most."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []

    def settimeout(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def recv_into(self, buffer: memoryview) -> int:
        buffer[:2] = b"xx"
        return 2


def test_a_body_that_comes_well_is_waited_for_anew() -> None:
    connection = Answers()
    incoming = http_connection._Incoming(connection)  # type: ignore[arg-type]
    incoming.allow(100, 30.0, least=4)
    for _ in range(4):
        incoming.readinto(memoryview(bytearray(16)))
    assert [seconds == 30.0 for seconds in connection.timeouts] == [True, False, True, False]


def test_who_sends_slowly_leaves_room_for_others_and_for_himself(
    manager: StandIn,
    post: Callable[[bytes], tuple[int, Any]],
    ask: Ask,
    until: Callable[..., object],
) -> None:
    many = [half_sent(manager) for _ in range(UPLOADS.of_root)]
    until(lambda: manager.control._sending._taken.total() == UPLOADS.of_root)
    status, answer = post(record(b"one more"))
    assert (status, answer["kind"]) == (503, "busy")
    assert ask("GET", "/v1/version").status == 200
    for one in many:
        one.close()
    until(lambda: manager.control._sending._taken.total() == 0)
    assert post(record(b"one more"))[0] == 200


def test_what_is_no_tree_makes_no_workspace(
    post: Callable[[bytes], tuple[int, Any]], ask: Ask
) -> None:
    post(record(b'["../x","dir",493]\n'))
    answer = ask("POST", "/v1/workspaces", {"manifest": digest_of(b'["../x","dir",493]\n')})
    assert (answer.status, answer.json["kind"]) == (409, "refused")
    answer = ask("POST", "/v1/workspaces", {"manifest": "0" * 64})
    assert (answer.status, answer.json["kind"]) == (409, "lacking")
    for odd in ("../../x", "0" * 63, None, 7, ["0" * 64]):
        assert ask("POST", "/v1/workspaces", {"manifest": odd}).status == 400
        assert ask("POST", "/v1/content/lacking", {"digests": [odd]}).status == 400
    assert ask("POST", "/v1/content/lacking", {"digests": ["0" * 64] * 10_001}).status == 400
