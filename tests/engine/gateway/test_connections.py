"""Requests are read strictly and answered whole; raw connections go both ways, each side closed alone."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from mayfly.engines.docker.gateway import client_connection, relay
from mayfly.engines.docker.gateway.client_connection import BadRequest, ClientConnection
from mayfly.engines.docker.gateway.engine_connection import EngineConnection, EngineGone, asked
from tests.fakes.docker_engine import Ask, FakeEngine, breaks_off, chunked, hijack, reply

Serve = Callable[[ClientConnection], Awaitable[Any]]
GET = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: d\r\n"


def spoken(serve: Serve, talk: Callable[[socket.socket], Any]) -> Any:
    """What a client that talks so comes to, where each of its connections is served so; bad requests are told
    as a door does."""

    async def main() -> Any:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=65536)
        client = ClientConnection(reader, writer)

        async def served() -> None:
            try:
                await serve(client)
            except BadRequest as bad:
                await client.turn_away(bad.status, str(bad))
            finally:
                await client.close()

        task = asyncio.create_task(served())
        theirs.settimeout(30)
        found = await asyncio.to_thread(talk, theirs)
        theirs.close()
        await task
        return found

    return asyncio.run(main())


def everything(end: socket.socket) -> bytes:
    said = b""
    while piece := end.recv(65536):
        said += piece
    return said


async def echo(client: ClientConnection) -> None:
    while (ask := await client.asked()) is not None:
        body = await client.body(1000)
        if not await client.answer(200, (("X-Target", ask.target),), body):
            return


def test_requests_follow_one_another_also_where_they_are_sent_at_once() -> None:
    two = (
        POST
        + b"Content-Length: 3\r\n\r\nabc"
        + POST
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
    )

    def talk(end: socket.socket) -> bytes:
        end.sendall(two + GET)
        end.shutdown(socket.SHUT_WR)
        return everything(end)

    said = spoken(echo, talk)
    assert said.count(b"HTTP/1.1 200") == 3
    assert said.index(b"\r\n\r\nabc") < said.index(b"\r\n\r\nde") < said.index(b"X-Target: /_ping")


def test_a_head_may_come_byte_by_byte_and_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(end: socket.socket) -> bytes:
        for byte in GET:
            end.sendall(bytes([byte]))
        return end.recv(4096)

    assert b" 200 " in spoken(echo, slowly)
    monkeypatch.setattr(client_connection, "HEAD_SECONDS", 0.05)

    def never(end: socket.socket) -> bytes:
        end.sendall(GET[:-2])
        return everything(end)

    assert b"408 Request Timeout" in spoken(echo, never)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", b"400"),
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n", b"400"),
        (POST + b"Content-Length: -1\r\n\r\n", b"400"),
        (POST + b"X: a\r\n b: c\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (POST + b"X: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (POST + b"Content-Length: 1001\r\n\r\n" + b"a" * 1001, b"413"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + b"a" * 500 + b"\r\n"
         + b"1f5\r\n" + b"a" * 501 + b"\r\n0\r\n\r\n", b"413"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_and_nothing_behind_it_is_read(
    sent: bytes, status: bytes
) -> None:
    def talk(end: socket.socket) -> bytes:
        end.sendall(sent + GET)
        end.shutdown(socket.SHUT_WR)
        return everything(end)

    said = spoken(echo, talk)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert b'{"message": ' in said
    assert said.count(b"HTTP/1.1") == 1


def test_a_client_that_waits_to_be_told_to_go_on_is_told() -> None:
    def talk(end: socket.socket) -> bytes:
        end.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        told = end.recv(4096)
        assert told.startswith(b"HTTP/1.1 100 ")
        end.sendall(b"ok")
        return end.recv(4096)

    assert spoken(echo, talk).endswith(b"\r\n\r\nok")


def test_whoever_is_refused_while_sending_reads_why() -> None:
    """More than a socket holds is on its way, and nobody reads it."""

    async def refuses(client: ClientConnection) -> None:
        assert await client.asked() is not None
        assert not await client.refuse(403, "not that")

    def talk(end: socket.socket) -> bytes:
        end.sendall(POST + b"Content-Length: 5000000\r\n\r\n")
        end.sendall(b"a" * 5_000_000)
        return everything(end)

    said = spoken(refuses, talk)
    assert b"403" in said.splitlines()[0]
    assert b"not that" in said


# -- the Engine's side -----------------------------------------------------------------------------


def test_the_engine_answers_whole_and_in_chunks_and_is_told_where_it_breaks_off() -> None:
    async def main(path: str) -> None:
        assert await asked(path, "POST", "/things", {"a": 1}) == (201, {"Id": "x"})
        assert await asked(path, "GET", "/missing") == (404, "page not found")
        async with EngineConnection(path) as engine:
            await engine.send("GET", "/stream")
            assert (await engine.head()).status == 200
            assert b"".join([piece async for piece in engine.pieces()]) == b"onetwo"
        with pytest.raises(EngineGone):
            await asked(path, "GET", "/broken")
        with pytest.raises(EngineGone):
            await asked(path, "GET", "/half")
        with pytest.raises(EngineGone):
            await asked(f"{path}.not", "GET", "/things")

    def half(ask: Ask) -> None:
        ask.say(200, {"Content-Length": "100"})
        ask.end.sendall(b"{")

    with FakeEngine() as engine:
        engine.on("POST", "/things", reply(201, {"Id": "x"}))
        engine.on("GET", "/stream", chunked([b"one", b"two"]))
        engine.on("GET", "/broken", breaks_off)
        engine.on("GET", "/half", half)
        asyncio.run(main(engine.path))
        [ask] = engine.asked("POST", "/things")
        assert ask.json == {"a": 1}


def relaying(path: str) -> Serve:
    """Each request is the raw connection to the Engine, as it asks for it."""

    async def serve(client: ClientConnection) -> None:
        ask = await client.asked()
        assert ask is not None
        await client.body(1000)
        async with EngineConnection(path) as engine:
            upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"} if ask.upgrades else {}
            await engine.send("POST", "/attach", upgrade.items())
            head = await engine.head()
            early = await client.switch(b"HTTP/1.1 %d OK\r\n\r\n" % head.status)
            await relay.relayed(
                relay.End(client.reader, client.writer, early),
                relay.End(engine.reader, engine.writer, engine.raw()),
                client.hung_up,
            )

    return serve


ATTACH = b"POST /a HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
PLAIN = b"POST /a HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(("asks", "status"), [(ATTACH, b"101"), (PLAIN, b"200")])
def test_who_closes_its_side_reads_on(asks: bytes, status: bytes) -> None:
    """As the docker command does at the end of its standard input; some of which came with the request."""

    def counts(ask: Ask) -> None:
        total = 0
        while piece := ask.more():
            total += len(piece)
        ask.end.sendall(b"%d bytes" % total)

    def talk(end: socket.socket) -> bytes:
        end.sendall(asks + b"early")
        end.sendall(b"x" * 3_000_000)
        end.shutdown(socket.SHUT_WR)
        return everything(end)

    with FakeEngine() as engine:
        engine.on("POST", "/attach", hijack(counts))
        said = spoken(relaying(engine.path), talk)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert said.endswith(b"3000005 bytes")


def test_output_that_nobody_takes_is_not_taken_from_the_engine() -> None:
    """What is between is bounded, and all of it arrives once it is read."""
    sent: list[int] = []
    full = threading.Event()

    def floods(ask: Ask) -> None:
        ask.end.settimeout(0.5)
        total = 0
        with suppress(TimeoutError):
            while total < 50_000_000:
                total += ask.end.send(b"y" * 65536)
        sent.append(total)
        full.set()
        ask.end.settimeout(30)
        ask.end.sendall(b"z")
        ask.end.shutdown(socket.SHUT_WR)

    def talk(end: socket.socket) -> int:
        end.sendall(ATTACH)
        assert full.wait(30)
        return len(everything(end))

    with FakeEngine() as engine:
        engine.on("POST", "/attach", hijack(floods))
        received = spoken(relaying(engine.path), talk)
    assert sent[0] < 4_000_000, "the Engine was held back"
    assert received == len(b"HTTP/1.1 101 OK\r\n\r\n") + sent[0] + 1


def test_a_client_that_has_gone_ends_what_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that had closed its side before, of which nothing comes any more."""
    monkeypatch.setattr(relay, "LOOK_SECONDS", 0.05)
    ended = threading.Event()

    def waits(ask: Ask) -> None:
        while ask.more():
            pass
        poll = select.poll()
        poll.register(ask.end, 0)
        if poll.poll(30_000):
            ended.set()

    def talk(end: socket.socket) -> None:
        end.sendall(ATTACH)
        assert end.recv(4096).startswith(b"HTTP/1.1 101")
        end.shutdown(socket.SHUT_WR)

    with FakeEngine() as engine:
        engine.on("POST", "/attach", hijack(waits))
        spoken(relaying(engine.path), talk)
        assert ended.wait(30)
