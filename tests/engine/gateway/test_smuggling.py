"""Whatever bytes a hostile client sends, the Engine is asked for nothing but what was admitted."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.gateway.agent import GENERATION, agent_place, granted
from tests.engine.gateway.agent import given as give
from tests.engine.gateway.served import Client, Gateway, door_of
from tests.fakes.docker_engine import FakeEngine, hijack, reply

WEB, EXEC, STRANGER = "a" * 64, "e" * 64, "b" * 64
# What a client wants the Engine to read as a request of its own.
EVIL = (
    b"POST /containers/create?name=evil HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
    b'Content-Length: 36\r\n\r\n{"Image":"x","HostConfig":{"P":true}}'
)
UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    shown = {
        "Id": WEB,
        "Name": f"/mf-{GENERATION}-web",
        "Config": {"Labels": granted().labels},
        "State": {"Running": True},
    }
    with FakeEngine() as made:
        made.on("GET", ".*", reply(404, {"message": "no such thing"}))
        made.on("GET", "/_ping", reply(200, "OK"))
        made.on("GET", f"/containers/(mf-{GENERATION}-web|{WEB})/json", reply(200, shown))
        made.on("GET", f"/containers/{STRANGER}/json", reply(200, {"Id": STRANGER, "Config": {}}))
        made.on("GET", f"/exec/{EXEC}/json", reply(200, {"ID": EXEC, "ContainerID": WEB}))
        made.on("POST", f"/exec/{EXEC}/start", hijack(lambda ask: ask.end.sendall(b"bye")))
        made.on("POST", f"/containers/{WEB}/kill", reply(204))
        yield made


@pytest.fixture(scope="module")
def door(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    state = tmp_path_factory.mktemp("state")
    with Gateway(state, engine.path) as gateway:
        place = agent_place(state)
        give(place, granted())
        yield door_of(place)
        assert "Traceback" not in gateway.said(), gateway.said()


def changes(engine: FakeEngine) -> list[str]:
    """What the Engine was asked to do, beside what the tests mean it to."""
    meant = re.compile(rf"(/v1\.[0-9]+)?/(exec/{EXEC}/start|containers/{WEB}/kill)(\?.*)?")
    return [
        f"{ask.method} {ask.target}"
        for ask in engine.asked(".*", ".*")
        if ask.method not in ("GET", "HEAD") and not meant.fullmatch(ask.target)
    ]


def said_to(door: Path, *pieces: bytes, most: int = 200_000) -> bytes:
    """All that is answered to these bytes."""
    with Client(door) as client:
        client.end.settimeout(5)
        with suppress(OSError):
            for piece in pieces:
                client.end.sendall(piece)
            client.end.shutdown(socket.SHUT_WR)
        said = b""
        with suppress(OSError):
            while len(said) < most and (piece := client.end.recv(65536)):
                said += piece
    return said


PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n"
POST = b"POST /v1.47/containers/web/kill HTTP/1.1\r\nHost: d\r\n"
START = b"POST /v1.47/exec/" + EXEC.encode() + b"/start HTTP/1.1\r\nHost: d\r\n"
LENGTH = b"Content-Length: %d\r\n"
SMUGGLED = {
    "length and chunks": POST + LENGTH % 5 + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\n" + LENGTH % 5 + b"\r\n0\r\n\r\n" + EVIL,
    "two lengths": POST + LENGTH % 0 + LENGTH % len(EVIL) + b"\r\n" + EVIL,
    "two equal lengths": POST + LENGTH % 0 + LENGTH % 0 + b"\r\n" + EVIL,
    "a list of lengths": POST + b"Content-Length: 0, 5\r\n\r\n" + EVIL,
    "a length with a sign": POST + b"Content-Length: +5\r\n\r\n" + EVIL,
    "a length in hex": POST + b"Content-Length: 0x5\r\n\r\n" + EVIL,
    "a length with a space before": POST + b"Content-Length : 5\r\n\r\n" + EVIL,
    "a header of a line feed": POST + b"X: a\nContent-Length: 5\r\n\r\n" + EVIL,
    "a header of a carriage return": POST + b"X: a\rContent-Length: 5\r\n\r\n" + EVIL,
    "a head that ends in line feeds": POST[:-2] + b"\n\n" + EVIL,
    "a folded header": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "other codings": POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "a coding in disguise": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + EVIL,
    "a coding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + EVIL,
    "a chunk that is too long": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + EVIL,
    "a chunk that is none": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + EVIL,
    "chunks with extensions": POST + b"Transfer-Encoding: chunked\r\n\r\n0;a=b\r\n\r\n" + EVIL,
    "trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n" + EVIL,
    "behind a request": POST + LENGTH % 0 + b"\r\n" + EVIL,
    "behind a refusal": b"GET /v1.47/swarm HTTP/1.1\r\nHost: d\r\n\r\n" + EVIL,
    "behind a body that nobody reads": PING + LENGTH % 3 + b"\r\nabc" + EVIL,
    "an upgrade of a plain request": PING + UPGRADE + b"\r\n" + EVIL,
    "an upgrade to another protocol": START + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + LENGTH % 2
    + b"\r\n{}" + EVIL,
    "an upgrade to something twice": START + UPGRADE + b"Upgrade: h2c\r\n" + LENGTH % 2 + b"\r\n{}" + EVIL,
    "an upgrade that is refused": START.replace(b"e" * 64, b"d" * 64) + UPGRADE + LENGTH % 2
    + b"\r\n{}" + EVIL,
    "behind an upgrade": START + UPGRADE + LENGTH % 2 + b"\r\n{}" + EVIL,
    "a detached start with an upgrade": START + UPGRADE + LENGTH % 15 + b'\r\n{"Detach":true}' + EVIL,
    "a connection that names headers": POST + b"Connection: Content-Length, close\r\n" + LENGTH % 0
    + b"\r\n" + EVIL,
    "an absolute address": b"GET http://other/_ping HTTP/1.1\r\nHost: d\r\n\r\n" + EVIL,
    "another host": PING.replace(b"d\r\n", b"evil\r\nX-Forwarded-Host: x\r\n") + b"\r\n" + EVIL,
    "another method by a header": POST + b"X-HTTP-Method-Override: DELETE\r\n" + LENGTH % 0 + b"\r\n" + EVIL,
    "a tunnel": b"CONNECT /_ping HTTP/1.1\r\nHost: d\r\n\r\n" + EVIL,
    "HTTP of old": b"GET /_ping\r\n\r\n" + EVIL,
    "HTTP/2 from the start": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + EVIL,
    "line ends in the path": b"GET /_ping%0d%0aX:%20y HTTP/1.1\r\nHost: d\r\n\r\n" + EVIL,
    "a dot segment": b"POST /v1.47/containers/../../containers/" + STRANGER.encode()
    + b"/kill HTTP/1.1\r\nHost: d\r\n\r\n",
    "an encoded dot segment": b"POST /containers/web/%2e%2e/" + STRANGER.encode()
    + b"/kill HTTP/1.1\r\nHost: d\r\n\r\n",
    "an encoded slash": b"POST /containers/web%2f..%2f" + STRANGER.encode()
    + b"/kill HTTP/1.1\r\nHost: d\r\n\r\n",
    "a doubled slash": b"POST //containers/" + STRANGER.encode() + b"/kill HTTP/1.1\r\nHost: d\r\n\r\n",
    "a question mark that is encoded": b"POST /containers/web%3f/kill HTTP/1.1\r\nHost: d\r\n\r\n",
    "a fragment": b"POST /containers/web#/kill HTTP/1.1\r\nHost: d\r\n\r\n",
    "a stranger by id": b"POST /containers/" + STRANGER.encode() + b"/kill HTTP/1.1\r\nHost: d\r\n\r\n",
    "the API's version twice": b"POST /v1.47/v1.47/containers/" + STRANGER.encode()
    + b"/kill HTTP/1.1\r\nHost: d\r\n\r\n",
}  # fmt: skip
# Behind these a whole second request follows, as one may; it is decided on like any other.
FOLLOWS = {
    "behind a request",
    "behind a refusal",
    "behind a body that nobody reads",
    "chunks with extensions",
    "trailers",
}


@pytest.mark.parametrize("how", SMUGGLED)
def test_nothing_gets_past_what_is_admitted(how: str, door: Path, engine: FakeEngine) -> None:
    said = said_to(door, SMUGGLED[how])
    assert changes(engine) == [], how
    first = said.split(b"\r\n", 1)[0]
    refused = re.match(rb"HTTP/1\.1 4[0-9]{2} ", first) is not None
    if how in FOLLOWS:
        assert b'{"message"' in said.rpartition(b"\r\n\r\n")[2], "the second one is refused"
    elif not refused:
        assert first.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204", b"HTTP/1.1 101")), said
        assert said.count(b"HTTP/1.1") <= 2
    else:
        assert json.loads(said.rpartition(b"\r\n\r\n")[2])["message"]
    with Client(door) as client:
        assert client.ask("GET", "/_ping")[0] == 200


def test_what_is_on_a_raw_connection_is_no_request(door: Path, engine: FakeEngine) -> None:
    before = len(engine.asked("POST", ".*"))
    said = said_to(door, START + UPGRADE + LENGTH % 2 + b"\r\n{}" + EVIL)
    assert said.endswith(b"bye")
    assert len(engine.asked("POST", ".*")) == before + 1


BYTES = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from(
            [PING, POST, START, UPGRADE, EVIL, b"\r\n", b"\r\n\r\n", b"\n", b" ", b"0\r\n\r\n", LENGTH % 0,
             LENGTH % 7, b"Transfer-Encoding: chunked\r\n", b"5\r\nabcde\r\n", b"{}", b"\0", b"Host: d\r\n"]
        ),
        max_size=8,
    ).map(b"".join),
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=st.lists(BYTES, min_size=1, max_size=4))
def test_any_bytes_leave_it_as_it_was(sent: list[bytes], door: Path, engine: FakeEngine) -> None:
    said_to(door, *sent)
    assert changes(engine) == []
    with Client(door) as client:
        assert client.ask("GET", "/_ping")[0] == 200
