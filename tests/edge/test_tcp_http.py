"""HTTP on loopback: whoever knocks has a few places, has to be quick, and has to mean this host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path

import pytest

from mayfly.core.commands import Caller
from mayfly.edge import connections, http_connection, tcp_http
from mayfly.edge.http_connection import HttpReply, Request
from mayfly.edge.places import Bounds
from mayfly.edge.tcp_http import (
    PLACES,
    UNKNOWN,
    TcpServer,
    Users,
    cluster_domains,
    is_own_name,
    whose_place,
)
from tests.harness import until

GET = b"GET /metrics HTTP/1.0\r\n\r\n"


@pytest.fixture(params=["127.0.0.1", "::1"])
def server(request: pytest.FixtureRequest) -> Iterator[TcpServer]:
    def fails(where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    try:
        made = TcpServer(request.param, 0, lambda _: HttpReply(200, "text/plain", b"up 1\n"), fails)
    except OSError as error:
        pytest.skip(f"no {request.param} here: {error.strerror}")
    yield made
    made.close()


def connect(server: TcpServer) -> socket.socket:
    return socket.create_connection(server.address, timeout=30)


def answered(connection: socket.socket, request: bytes = GET) -> bytes:
    """The first line of the answer to a request; empty where none came."""
    with connection:
        try:
            connection.sendall(request)
            return connection.makefile("rb").readline().strip()
        except ConnectionResetError:
            return b""


def test_one_user_s_idle_connections_keep_nobody_else_out(
    server: TcpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_http._Server, "head_seconds", 600.0)
    before = threading.active_count()
    idle = [connect(server) for _ in range(100)]
    if os.getuid() == 0:
        words = f"""
import encodings.idna, os, socket  # while it may read the library
os.setgroups([]); os.setgid(65534); os.setuid(65534)
c = socket.create_connection({server.address!r}, timeout=30)
c.sendall({GET!r}); print(c.makefile().readline().strip())
"""
        done = subprocess.run(
            [sys.executable, "-c", words], capture_output=True, text=True, check=True
        )
        assert done.stdout == "HTTP/1.1 200 OK\n"
    assert answered(connect(server)).startswith(b"HTTP/1.1 503"), "ours are taken"
    assert threading.active_count() - before <= PLACES.all
    for connection in idle:
        connection.close()
    until(lambda: answered(connect(server)) == b"HTTP/1.1 200 OK", "places are given back")


def test_who_asks_nothing_is_hung_up_on(server: TcpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_http._Server, "head_seconds", 1.0)
    with connect(server) as silent, connect(server) as slow:
        slow.sendall(b"GET / HT")
        assert (silent.recv(1), slow.recv(1)) == (b"", b"")


def test_who_was_refused_and_does_not_hang_up_gives_its_place_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    users = chain([1001, 1001], repeat(1002))
    monkeypatch.setattr(tcp_http, "PLACES", Bounds(all=2, of_one=2, of_root=2))
    monkeypatch.setattr(tcp_http._Server, "user", lambda *_: next(users))
    monkeypatch.setattr(connections, "READING", 0.0)
    monkeypatch.setattr(http_connection, "LINGER_SECONDS", 600.0)
    server = TcpServer("127.0.0.1", 0, lambda _: HttpReply(200, "text/plain", b"up 1\n"), fails)
    with ExitStack() as lingering:
        lingering.callback(server.close)
        for _ in range(2):
            one = lingering.enter_context(connect(server))
            one.sendall(b"PUT /metrics HTTP/1.0\r\n\r\n")
            assert b" 405 " in one.makefile("rb").readline()
        until(lambda: answered(connect(server)) == b"HTTP/1.1 200 OK", "somebody else has a place")


def test_who_is_at_the_other_end_is_known_from_the_kernel(server: TcpServer) -> None:
    host, _ = server.address
    with (
        socket.create_server((host, 0), family=_family(host)) as ours,
        socket.create_connection(ours.getsockname()[:2]),
    ):
        connection, _ = ours.accept()
        with connection:
            assert Users().of(connection) == os.getuid()
            assert Users(()).of(connection) == tcp_http.UNKNOWN


def test_a_flood_has_the_kernel_s_table_read_once_for_all_that_wait() -> None:
    read: list[Path] = []

    def counted(table: Path) -> bytes:
        read.append(table)
        return table.read_bytes()

    with ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        for _ in range(60):
            held.enter_context(socket.create_connection(server.getsockname()))
        mapped = held.enter_context(socket.socket(socket.AF_INET6))
        try:
            mapped.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error.strerror}")
        accepted = [held.enter_context(server.accept()[0]) for _ in range(61)]
        users = Users(read=counted)
        began = time.monotonic()
        assert {users.of(one) for one in accepted} == {os.getuid()}
        readings = 1 + int((time.monotonic() - began) / tcp_http.FRESH)
        assert len(read) <= readings * len(tcp_http.TABLES)


def test_who_has_hung_up_has_no_place_of_root_s() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()):
            connection, _ = server.accept()
        with connection:
            assert Users().of(connection) == tcp_http.UNKNOWN


@pytest.mark.skipif(os.getuid() != 0, reason="connects as two users")
def test_who_takes_a_trusted_user_s_port_after_him_is_not_taken_for_him(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp_http, "FRESH", 600.0)
    seen: list[Caller] = []

    def respond(request: Request) -> HttpReply:
        seen.append(request.caller)
        return HttpReply(200, "text/plain", b"ok\n")

    def fails(where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    proxy, other = 65533, 65534
    server = TcpServer("127.0.0.1", 0, respond, fails, trusts=lambda uid: uid == proxy)
    port = "0"
    for user in (proxy, other):
        words = f"""
import encodings.idna, os, socket  # while it may read the library
os.setgroups([]); os.setgid({user}); os.setuid({user})
c = socket.socket(); c.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
c.bind(("127.0.0.1", {port})); c.connect({server.address!r}); c.sendall({GET!r})
f = c.makefile(); f.read(); print(c.getsockname()[1])
"""
        asking = [sys.executable, "-c", words]
        port = subprocess.run(asking, capture_output=True, text=True, check=True).stdout.strip()
    server.close()
    assert seen[0].uid == proxy
    assert seen[1].uid != proxy
    assert seen[1].name == tcp_http.ANYBODY.name, "nor is it a machine of that address"


HEADS = {
    "a CR that ends no line": b"X-A: a\rX-Remote-User: root\r\n",
    "a name with a space": b"X a: b\r\nHost: evil.example\r\n",
    "a space before the colon": b"Content-Length : 40\r\n",
    "a line that goes on": b"X-A: a\r\n X-Remote-User: root\r\n",
    "no colon": b"nothing\r\nContent-Length: 40\r\n",
    "an envelope": b"From nobody\r\n",
    "a NUL": b"X-A: a\0\r\n",
}


@pytest.mark.parametrize("lines", HEADS.values(), ids=HEADS)
def test_a_head_that_a_proxy_could_read_in_another_way_is_refused_whole(
    server: TcpServer, lines: bytes
) -> None:
    hidden = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n" + hidden)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1, "what came behind it is no request"


def test_half_a_head_is_no_request(server: TcpServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Remote-User: ann")
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == b""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("localhost", True),
        ("localhost:9925", True),
        ("LOCALHOST:1", True),
        ("127.0.0.1:9925", True),
        ("127.8.8.8", True),
        ("[::1]:9925", True),
        ("[::1]", True),
        ("evil.example", False),
        ("evil.example:9925", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_a_browser_that_was_led_here_under_another_name_reads_nothing(
    server: TcpServer, named: str, meant: bool
) -> None:
    assert is_own_name(named, "127.0.0.1") is meant
    line = answered(connect(server), f"GET / HTTP/1.1\r\nHost: {named}\r\n\r\n".encode())
    assert line.startswith(b"HTTP/1.1 200" if meant else b"HTTP/1.1 421")


def test_two_hosts_are_two_claims(server: TcpServer) -> None:
    both = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert answered(connect(server), both).startswith(b"HTTP/1.1 421")


@pytest.fixture
def everywhere() -> Iterator[TcpServer]:
    """A server as a manager has it that is a pod."""

    def fails(where: str, error: BaseException) -> None:
        raise AssertionError(where) from error

    made = TcpServer("0.0.0.0", 0, lambda _: HttpReply(200, "text/plain", b"ok\n"), fails)
    yield made
    made.close()


def test_slow_connections_from_a_probe_s_own_address_keep_the_probe_out_of_nothing(
    everywhere: TcpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_http._Server, "head_seconds", 600.0)
    with ExitStack() as slow:
        for _ in range(3):
            for _ in range(PLACES.all):
                slow.enter_context(connect(everywhere)).sendall(b"GET /livez HT")
            assert answered(connect(everywhere)) == b"HTTP/1.1 200 OK"


def test_the_places_of_others_go_by_the_address_that_they_come_from() -> None:
    apart = ["10.244.0.1", "10.244.0.7", "fd00::1", "fd00::7", "::1"]
    assert len({whose_place(one) for one in apart}) == len(apart)
    assert all(whose_place(one) < 0 for one in apart), "no user's"
    assert whose_place("::ffff:10.244.0.7") == whose_place("10.244.0.7")
    assert whose_place("fe80::7%eth0") == whose_place("fe80::7")
    assert {whose_place(one) for one in ("127.0.0.1", "127.8.8.8", "::1")} == {UNKNOWN}


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("10.244.0.7:9925", True),
        ("[fd00::7]:9925", True),
        ("mayfly:9925", True),
        ("mayfly.ci:9925", True),
        ("mayfly.ci.svc:9925", True),
        ("mayfly.ci.svc.cluster.test:9925", True),
        ("mayfly.ci.svc.cluster.test.:9925", True),
        ("mayfly-0.mayfly.ci.svc.cluster.local", True),
        ("mayfly.elsewhere:9925", False),
        ("mayfly.ci.evil.example", False),
        ("mayfly.ci.svc.evil.example", False),
        ("evil.example", False),
        (".ci", False),
        ("", False),
    ],
)
def test_a_pod_s_manager_answers_to_its_service_s_names(
    tmp_path: Path, named: str, meant: bool
) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "nameserver 10.96.0.10\nsearch ci.svc.cluster.test svc.cluster.test cluster.test lab.example\n"
        "options ndots:5\n"
    )
    domains = cluster_domains(file)
    assert domains == ("ci.svc.cluster.test",)
    for own in ("0.0.0.0", "::"):
        assert is_own_name(named, own, domains) is meant
    assert not is_own_name(named, "127.0.0.1", domains)
    assert not is_own_name(named, "localhost", domains)


def test_a_host_outside_of_a_cluster_has_no_service_s_names(tmp_path: Path) -> None:
    assert cluster_domains(tmp_path / "none") == ()
    assert not is_own_name("mayfly", "0.0.0.0", ())
    assert not is_own_name("mayfly", "", ())
