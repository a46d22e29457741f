"""Malformed, oversized and slow requests: an answer or a closed connection, and nothing else happens."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.core.commands import DrainSlots, SubmitJob
from mayfly.edge import http_connection
from mayfly.service.control import Control
from tests.service.conftest import Ask, connect
from tests.service.standin import StandIn, job, slot, status

MANY = int(os.environ.get("MAYFLY_FUZZ", "800")) // 4  # four tests share it, here and in tests/edge
LIMIT = 10.0  # seconds; what takes longer hangs


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    path: Path = tmp_path_factory.mktemp("fuzz") / "control.sock"
    manager = StandIn(path)
    manager.publish(status(slot("local-0")))
    manager.account.rows["j1"] = job("j1", agent="g1")
    manager.account.prints("g1", b"out\n")
    manager.account.ends("g1")
    yield manager
    manager.close()


def exchange(path: Path, data: bytes) -> bytes:
    """Send, say that no more comes, return what comes back until the end."""
    received = bytearray()
    with connect(path, LIMIT) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    return bytes(received)


def sane(answer: bytes) -> None:
    """An HTTP answer whose body, where it is JSON, is a document; or nothing at all."""
    assert b"Traceback" not in answer
    assert b'File "' not in answer
    if not answer:
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1."), answer[:100]
    code = int(head.split(b" ", 2)[1])
    assert code != 500, answer
    if code >= 400:
        document = json.loads(body.split(b"\n")[0])
        assert set(document) == {"error", "kind"}


PATHS = st.sampled_from(
    [route.path.replace("{job}", "j1").replace("{slot}", "local-0") for route in Control.ROUTES]
)
NAMES = st.sampled_from(sorted({name for route in Control.ROUTES for name in route.query}))
QUERIES = st.lists(st.tuples(NAMES | st.text(max_size=5), st.text(max_size=10)), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["argv", "env", "slots", "force", "note", "until", "timeout", "dry_run"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)


def request(method: str, path: str, query: Any, body: bytes, extra: bytes) -> bytes:
    from urllib.parse import urlencode

    told = urlencode([(k, v.encode(errors="surrogatepass")) for k, v in query], errors="replace")
    target = f"{path}?{told}" if told else path
    head = f"{method} {target} HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
    return head + extra + b"Connection: close\r\n\r\n" + body


@settings(max_examples=MANY, deadline=None)
@given(data=st.binary(max_size=400))
def test_any_bytes(target: StandIn, data: bytes) -> None:
    sane(exchange(target.path, data))
    assert target.failures == []


@settings(max_examples=MANY, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "get", "G\u00c9T"]),
    path=PATHS | st.text(max_size=30).map(lambda text: "/" + text),
    query=QUERIES,
    body=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100),
    extra=st.binary(max_size=40),
)
def test_any_request_that_looks_like_one(
    target: StandIn, method: str, path: str, query: Any, body: bytes, extra: bytes
) -> None:
    data = request(method, path, query, body, extra)
    before = len(target.commands)
    sane(exchange(target.path, data))
    assert target.failures == []
    for command in target.commands[before:]:
        if isinstance(command, DrainSlots):
            assert command.force in (False, True)
        if isinstance(command, SubmitJob):
            assert isinstance(command.payload.argv, tuple)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 20_000 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 200 + b"\r\n", b"431"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", b"413"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 2\r\n\r\n\xff\xff", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 3\r\n\r\nNaN", b"400"),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60_000, b"400"),
        (b"GET /v1/status HTTP/9.9\r\n\r\n", b"505"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_what_is_malformed_or_too_large_is_refused(
    manager: StandIn, exchange: Callable[..., bytes], data: bytes, code: bytes
) -> None:
    answer = exchange(data)
    sane(answer)
    assert answer.split(b" ")[1] == code
    assert manager.commands == []


@pytest.mark.parametrize("size", [http_connection.BODY_MAX + 1, 4 * http_connection.BODY_MAX])
def test_whoever_sends_too_much_comes_to_read_why(ask: Ask, size: int) -> None:
    answer = ask("POST", "/v1/jobs", {"argv": ["x" * size]})
    assert (answer.status, answer.json["kind"]) == (413, "bad_request")


def test_a_refused_client_that_sends_for_ever_is_cut_off(
    manager: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "LINGER_SECONDS", 0.3)
    with connect(manager.path) as endless:
        endless.sendall(b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n")
        assert b"413" in endless.recv(100)
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            endless.sendall(bytes(1 << 30))


def test_half_a_body_is_no_command(manager: StandIn, exchange: Callable[..., bytes]) -> None:
    assert exchange(b"POST /v1/resume HTTP/1.1\r\nContent-Length: 10\r\n\r\n{}") == b""
    assert manager.commands == []


def test_a_slow_client_is_cut_off_and_keeps_nobody_waiting(
    manager: StandIn, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "READ_SECONDS", 2.0)  # each answer comes well within it
    with connect(manager.path) as slow:
        cut = threading.Event()

        def drip() -> None:
            """A byte now and then: each is in time, the whole is not."""
            while not cut.wait(0.05):
                try:
                    slow.sendall(b"G")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert ask("GET", "/v1/status").status == 200
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""
        cut.set()
        dripping.join()


def test_what_comes_late_of_a_body_is_no_request(
    manager: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "READ_SECONDS", 0.3)
    with connect(manager.path) as slow:
        slow.sendall(b"POST /v1/resume HTTP/1.1\r\nContent-Length: 4096\r\n\r\n{")
        assert slow.recv(1) == b""
        with contextlib.suppress(OSError):
            slow.sendall(b"POST /v1/resume HTTP/1.1\r\n\r\n")
            assert slow.recv(1) == b""
    assert manager.commands == []


def test_a_client_that_does_not_read_is_cut_off(
    manager: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "WRITE_SECONDS", 0.3)
    manager.account.rows["j1"] = job("j1", agent="g1")
    for _ in range(64):
        manager.account.prints("g1", b"x" * 65536)
    manager.account.ends("g1")
    with connect(manager.path) as deaf:
        deaf.sendall(b"GET /v1/jobs/j1/output HTTP/1.1\r\n\r\n")
        waiting = select.poll()
        waiting.register(deaf, select.POLLRDHUP)
        assert waiting.poll(60_000), "it is cut off"
        received = 0
        while part := deaf.recv(1 << 20):
            received += len(part)
    assert received < 64 * 65536
