"""How the gateway fares, by what it answers and by the connection on which it did."""

from __future__ import annotations

import http.server
import json
import os
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mayfly.core.admission.grant import known_keys
from mayfly.core.model import Condition, GatewayHealth, Generation, PoolName, Severity
from mayfly.edge.doors import Doors
from mayfly.edge.gateway_control import ASKED_EVERY, GatewayControl, rung
from tests.harness import until


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@dataclass
class Answering:
    """A gateway that answers, and what it was asked."""

    status: int
    said: bytes = b"{}"
    asked: list[str] = field(default_factory=list)
    cut: threading.Event = field(default_factory=threading.Event)  # it closes what it has


@contextmanager
def answering(root: Path, status: int = 200, said: bytes = b"{}") -> Iterator[Answering]:
    known = Answering(status, said)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 0.05  # it looks whether it is to close

        def address_string(self) -> str:
            return "a manager"

        def log_message(self, *_: object) -> None: ...

        def handle(self) -> None:
            self.close_connection = False
            while not known.cut.is_set() and not self.close_connection:
                if select.select([self.connection], [], [], 0.02)[0]:
                    self.handle_one_request()

        def do_GET(self) -> None:
            self._answered("GET")

        def do_POST(self) -> None:
            self._answered("POST")

        def _answered(self, method: str) -> None:
            known.asked.append(f"{method} {self.path}")
            self.send_response(known.status)
            self.send_header("Content-Length", str(len(known.said)))
            self.end_headers()
            self.wfile.write(known.said)

    root.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(root, os.O_PATH)
    server = _Server(f"/proc/self/fd/{handle}/control.sock", Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield known
    finally:
        known.cut.set()
        server.shutdown()
        thread.join()
        server.server_close()
        os.close(handle)


class Clock:
    """One that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    deep = tmp_path.joinpath(*["a-name-of-thirty-characters-now"] * 5)  # no socket's path
    deep.mkdir(parents=True)
    return deep / "gateway"


def test_whether_the_gateway_serves_is_asked_of_itself(root: Path) -> None:
    control = GatewayControl(root)
    assert control.health().missing == "the gateway does not run"
    with answering(root) as gateway:
        assert control.health().missing == ""
        assert gateway.asked == ["GET /v1/health"]
    until(lambda: control.health().missing, "that it has ended is seen")
    assert control.health().missing == "the gateway does not run", (
        "its socket is there, and nobody listens"
    )
    (root / "control.sock").unlink()
    with answering(root, 503):
        assert control.health().missing == "the gateway is not well (status 503)"


def test_who_looks_often_asks_seldom(root: Path) -> None:
    clock = Clock()
    control = GatewayControl(root, clock)
    with answering(root) as gateway:
        for _ in range(50):
            assert control.health().missing == ""
        assert len(gateway.asked) == 1
        clock.now += ASKED_EVERY
        for _ in range(50):
            assert control.health().missing == ""
        assert len(gateway.asked) == 2, "it may hang meanwhile"
    control.close()


def test_what_the_gateway_sees_of_the_host_is_read_and_what_nobody_understands_is_not(
    root: Path,
) -> None:
    one = {"code": "x.y", "severity": "warning", "text": "so", "fix": "# do", "pool": "gpu"}
    clock = Clock()
    control = GatewayControl(root, clock)
    with answering(root) as gateway:
        gateway.said = json.dumps({"conditions": [one]}).encode()
        for _ in range(2):  # as it was said, while it is not asked
            assert control.health() == GatewayHealth(
                "", (Condition("x.y", Severity.WARNING, "so", "# do", PoolName("gpu")),)
            )
        for strange in (b"", b"[]", b'{"conditions": [{"code": "x"}]}', b'{"conditions": 7}'):
            clock.now += ASKED_EVERY
            gateway.said = strange
            assert control.health() == GatewayHealth()
    control.close()


def test_one_that_does_not_read_all_that_is_written_for_it_is_waited_for(root: Path) -> None:
    """An upgrade leaves the old one there until nobody speaks with it."""
    clock = Clock()
    control = GatewayControl(root, clock)
    keys = sorted(known_keys())
    with answering(root) as gateway:
        for read, serves in (
            ([one for one in keys if one != "limits.disk"], False),
            (None, False),  # it is of before it told so
            (keys, True),
            ([*keys, "younger"], True),
        ):
            told = {"version": "0.0.1"} | ({} if read is None else {"grant": read})
            gateway.said = json.dumps(told).encode()
            missing = control.health().missing
            assert missing == "" if serves else "another version (0.0.1)" in missing
            clock.now += ASKED_EVERY
    control.close()


def test_an_end_is_seen_without_asking(root: Path) -> None:
    control = GatewayControl(root, Clock())
    with answering(root):
        assert control.health().missing == ""
    until(lambda: control.health().missing, "the kept connection is closed")
    assert control.health().missing == "the gateway does not run"


def test_one_that_is_not_well_is_asked_each_time(root: Path) -> None:
    control = GatewayControl(root, Clock())
    with answering(root, 503) as gateway:
        assert control.health().missing
        assert control.health().missing
        gateway.status = 200
        assert control.health().missing == ""
        assert len(gateway.asked) == 3
    control.close()


def test_one_that_hangs_is_not_waited_for_in_each_look(root: Path) -> None:
    clock = Clock()
    control = GatewayControl(root, clock, answer=0.05)
    root.mkdir(mode=0o700)
    handle = os.open(root, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(f"/proc/self/fd/{handle}/control.sock")
        hangs.listen()
        hangs.settimeout(0.0)

        def asked() -> int:
            """How often, since it was asked for."""
            found = 0
            with suppress(BlockingIOError):
                while True:
                    hangs.accept()[0].close()
                    found += 1
            return found

        for _ in range(50):
            assert "does not answer" in control.health().missing
        assert asked() == 1
        clock.now += ASKED_EVERY
        assert "does not answer" in control.health().missing
        assert asked() == 1, "it may answer by now"
        (root / "control.sock").unlink()
        assert control.health().missing == "the gateway does not run"
        with answering(root):
            assert control.health().missing == "", "another one has come"
        control.close()
    os.close(handle)


def test_a_door_that_is_made_is_told_to_the_gateway_and_one_that_is_away_costs_nothing(
    tmp_path: Path,
) -> None:
    doors = Doors(tmp_path)
    rung(doors.root)
    assert doors.make(Generation("mywpiww03hg4s")).is_dir()
    with answering(doors.root) as gateway:
        doors.make(Generation("mywpiww03hg4t"))
        until(lambda: gateway.asked == ["POST /v1/look"], "it has been told")
