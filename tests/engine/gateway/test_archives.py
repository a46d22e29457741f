"""What is copied into a container is read on its way: it goes out as it came, or no further."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from mayfly.engines.docker.gateway.passage import HEADERS_A_REQUEST
from mayfly.engines.docker.gateway.rate import Rate
from tests.engine.gateway.agent import GENERATION, agent_place, given, granted
from tests.engine.gateway.asked import asked, opened
from tests.fakes.docker_engine import Ask, FakeEngine, reply

WEB = "d" * 64
TARGET = "/v1.47/containers/web/archive?path=/"


def tar(*kinds: bytes) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as made:
        for number, kind in enumerate(kinds):
            info = tarfile.TarInfo(f"f{number}")
            info.type = kind
            info.size = 100_000 if kind == tarfile.REGTYPE else 0
            made.addfile(info, io.BytesIO(b"x" * info.size))
    return whole.getvalue()


def engine_with_a_container(engine: FakeEngine, serve: Callable[[Ask], None]) -> None:
    name = f"mf-{GENERATION}-web"
    shown = {"Id": WEB, "Name": f"/{name}", "Config": {"Labels": granted().labels}}
    engine.on("GET", f"/containers/{name}/json", reply(200, shown))
    engine.on("PUT", f"/containers/{WEB}/archive", serve)


def test_a_device_goes_no_further_than_the_gateway(tmp_path: Path) -> None:
    place = agent_place(tmp_path)
    given(place, granted())
    plain, hostile = tar(tarfile.REGTYPE, tarfile.DIRTYPE), tar(tarfile.REGTYPE, tarfile.BLKTYPE)
    received: list[bytes] = []

    def serve(ask: Ask) -> None:
        try:
            ask.body()
        finally:
            received.append(ask.content)
        reply(200)(ask)

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            assert (await asked(place, "PUT", TARGET, plain))[0] == 200
            status, said = await asked(place, "PUT", TARGET, hostile)
            assert status == 403
            assert b"no process of a job makes any" in said

    with FakeEngine() as engine:
        engine_with_a_container(engine, serve)
        asyncio.run(main(engine))
    assert received[0] == plain
    assert not any(b"f1" in part for part in received[1:])
    assert b"no process of a job" in (place / "live/refusals").read_bytes()


def test_an_agent_waits_for_the_headers_that_it_had_read(tmp_path: Path) -> None:
    place = agent_place(tmp_path)
    given(place, granted())
    charged: list[float] = []

    class Charged(Rate):
        def charge(self, requests: float) -> None:
            charged.append(requests)
            super().charge(requests)

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path) as door:
            door._rate = Charged(door.bounds.requests)
            assert (await asked(place, "PUT", TARGET, tar(*5000 * [tarfile.DIRTYPE])))[0] == 200

    with FakeEngine() as engine:
        engine_with_a_container(engine, reply(200))
        asyncio.run(main(engine))
    assert sum(charged) > 5000 / HEADERS_A_REQUEST
