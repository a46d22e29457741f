"""One agent's socket: who gets in, how many, what ends with the agent and what is seen through."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.admission.grant import Bounds, Grant
from mayfly.engines.docker.gateway import client_connection
from mayfly.engines.docker.gateway.client_connection import Asked, ClientConnection
from mayfly.engines.docker.gateway.counting import Counting
from mayfly.engines.docker.gateway.door import Door
from tests.engine.gateway.agent import GENERATION, given, granted

GET = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
Serve = Callable[[Door, ClientConnection, Asked], Awaitable[bool]]
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Deeper than the path of a socket may be."""
    made = tmp_path / "x".join("deep" for _ in range(30)) / "agents" / GENERATION
    (made / "door").mkdir(parents=True)
    (made / "live").mkdir()
    assert len(str(made)) > 108
    return made


async def pings(door: Door, client: ClientConnection, asked: Asked) -> bool:
    if (grant := await door.granted()) is None:
        return await client.refuse(503, "no grant")
    door.bound_by(grant.bounds)
    return await client.answer(200, (), asked.target.encode())


def grant(**bounds: int) -> Grant:
    return granted(bounds=Bounds(**bounds))


@asynccontextmanager
async def opened(place: Path, serve: Serve) -> AsyncIterator[Door]:
    door = Door(GENERATION, place, serve, Counting("/nowhere"))
    await door.open()
    try:
        yield door
    finally:
        door.shut()


async def connected(place: Path) -> Client:
    folder = os.open(place / "door", os.O_RDONLY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/docker.sock")
    finally:
        os.close(folder)


async def answered(client: Client, sent: bytes = GET) -> tuple[int, bytes]:
    reader, writer = client
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head.split(b" ")[1]), await reader.readexactly(length)


def test_the_socket_is_there_before_the_grant_and_answers_with_it(place: Path) -> None:
    async def main() -> None:
        async with opened(place, pings):
            shown = (place / "door/docker.sock").stat()
            assert stat.S_ISSOCK(shown.st_mode)
            assert stat.S_IMODE(shown.st_mode) == 0o666
            early = asyncio.create_task(answered(await connected(place)))
            await asyncio.sleep(0)
            given(place, grant())
            assert await early == (200, b"/_ping")
            assert [one.name for one in (place / "door").iterdir()] == ["docker.sock"]

    asyncio.run(main())


def test_a_door_is_opened_again_in_place_of_a_dead_gateways(place: Path) -> None:
    async def main() -> None:
        given(place, grant())
        for _ in range(2):
            async with opened(place, pings):
                assert (await answered(await connected(place)))[0] == 200
            with pytest.raises(ConnectionRefusedError):
                await connected(place)

    asyncio.run(main())


def test_more_connections_than_allowed_cost_only_themselves(place: Path) -> None:
    async def main() -> None:
        given(place, grant(connections=2))
        async with opened(place, pings) as door:
            clients = [await connected(place) for _ in range(2)]
            for client in clients:
                assert (await answered(client))[0] == 200
            status, said = await answered(await connected(place))
            assert status == 503
            assert json.loads(said) == {"message": "more than 2 connections at once; close some"}
            clients.pop()[1].close()
            for client in clients:
                assert (await answered(client))[0] == 200
            await emptied(door, 1)
            assert (await answered(await connected(place)))[0] == 200
        assert "more than 2 connections" in (place / "live/refusals").read_text()

    asyncio.run(main())


def test_who_asks_too_fast_waits_and_others_do_not(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "door").mkdir(parents=True)
    (other / "live").mkdir()

    async def main() -> None:
        given(place, grant(requests=5))
        given(other, grant())
        async with opened(place, pings), opened(other, pings):
            loop = asyncio.get_running_loop()
            fast, slow = await connected(other), await connected(place)
            await answered(slow)  # the bound is known from here on
            began = loop.time()
            many = asyncio.create_task(repeated(slow, 8))
            assert await repeated(fast, 100) == [200] * 100
            assert not many.done()
            assert await many == [200] * 8
            assert loop.time() - began > 0.5

    asyncio.run(main())


async def emptied(door: Door, left: int = 0) -> None:
    async with asyncio.timeout(30):
        while door.connections > left:  # noqa: ASYNC110  it is the door's own count
            await asyncio.sleep(0.01)


async def repeated(client: Client, times: int) -> list[int]:
    return [(await answered(client))[0] for _ in range(times)]


def test_a_bad_request_is_told_and_kept_and_ends_its_connection(place: Path) -> None:
    async def main() -> None:
        given(place, grant())
        async with opened(place, pings):
            client = await connected(place)
            status, said = await answered(client, GET.replace(b"Host", b"Host: d\r\nHost"))
            assert (status, b"host is said twice" in said) == (400, True)
            assert await client[0].read() == b""
        [line] = (place / "live/refusals").read_text().splitlines()
        assert "host is said twice" in json.loads(line)["text"]

    asyncio.run(main())


def test_a_door_that_is_shut_cuts_everybody_and_waits_for_what_is_being_made(place: Path) -> None:
    release, begun = asyncio.Event(), asyncio.Event()
    made: list[str] = []

    async def create() -> None:
        begun.set()
        await release.wait()
        made.append("container")

    async def makes(door: Door, client: ClientConnection, asked: Asked) -> bool:
        if asked.method == "GET":
            await client.begin(200, ())
            await client.piece(b"first")
            await asyncio.Event().wait()
        await door.made(create())
        return await client.answer(201, (), b"")

    async def main() -> None:
        given(place, grant())
        async with opened(place, makes) as door:
            streaming, making = await connected(place), await connected(place)
            streaming[1].write(GET)
            await streaming[0].readuntil(b"first")
            making[1].write(b"POST /c HTTP/1.1\r\nHost: d\r\n\r\n")
            await begun.wait()
            assert door.in_flight == 1
            door.shut()
            assert await making[0].read() == b""
            await streaming[0].read()
            assert await door.settled(0.05) == 1, "the Engine has not answered"
            release.set()
            assert await door.settled(30) == 0
            assert made == ["container"]
            assert door.connections == 0
            with pytest.raises(ConnectionRefusedError):
                await connected(place)

    asyncio.run(main())


def test_a_client_that_says_nothing_is_let_go(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "IDLE_SECONDS", 0.05)

    async def main() -> None:
        given(place, grant())
        async with opened(place, pings) as door:
            reader, _ = await connected(place)
            assert await reader.read() == b""
            await emptied(door)

    asyncio.run(main())


def test_nobody_waits_for_a_grant_that_does_not_come(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mayfly.engines.docker.gateway.door.GRANT_SECONDS", 0.0)

    async def main() -> None:
        async with opened(place, pings):
            assert (await answered(await connected(place)))[0] == 503
            (place / "live").rename(place / "over")
            assert (await answered(await connected(place)))[0] == 503

    asyncio.run(main())


def test_a_link_in_place_of_a_door_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "door").symlink_to(tmp_path / "elsewhere")

    async def main() -> Any:
        with pytest.raises(OSError, match="door"):
            await Door(GENERATION, tmp_path, pings, Counting("/nowhere")).open()

    asyncio.run(main())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_who_goes_leaves_nothing_behind(place: Path) -> None:
    async def main() -> None:
        given(place, grant())
        async with opened(place, pings) as door:
            for _ in range(20):
                reader, writer = await connected(place)
                writer.write(GET[:10])
                raw = writer.get_extra_info("socket")
                raw.shutdown(socket.SHUT_RDWR)
                writer.close()
                del reader
            await emptied(door)
            assert (await answered(await connected(place)))[0] == 200

    asyncio.run(main())
