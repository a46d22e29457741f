"""What jobs fetch leaves room on the Engine's disk: no pull begins without, and none goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from mayfly.edge.fetched_images import FetchedImages
from mayfly.edge.room import Room
from mayfly.engines.docker.gateway.handling import Handling
from mayfly.engines.docker.gateway.image_store import CODE, TOLD, ImageStore, NoRoom
from tests.engine.gateway.agent import agent_place, given, granted
from tests.engine.gateway.asked import asked, nothing_published, opened
from tests.fakes.docker_engine import Ask, FakeEngine, chunked, reply

GIB = 1024**3
PULL = "/v1.47/images/create?fromImage=busybox&tag=1"


def test_a_pull_is_refused_where_there_is_no_room_and_broken_off_where_there_is_none_any_more(
    tmp_path: Path,
) -> None:
    place = agent_place(tmp_path)
    given(place, granted())
    free, now = [30 * GIB], [0.0]
    broken = threading.Event()

    def fetching(ask: Ask) -> None:
        """It goes on for as long as somebody listens."""
        ask.body()
        ask.say(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
        ask.chunk(b'{"status":"Downloading"}\n')
        free[0], now[0] = 10 * GIB, now[0] + 60
        try:
            while True:
                ask.chunk(b'{"status":"Downloading"}\n')
        except OSError:
            broken.set()

    async def main(engine: FakeEngine) -> None:
        handling = Handling(engine.path, nothing_published)
        handling.store = ImageStore(
            *(engine.path, handling.conditions),
            lambda path: Room(str(path), free[0], 1000 * GIB),
            lambda: now[0],
        )
        async with opened(place, engine.path, handling):
            status, said = await asked(place, "POST", PULL)
            assert status == 200
            assert TOLD.encode() in said
            assert await asyncio.to_thread(broken.wait, 60)
            (told,) = handling.conditions.document()
            assert told["code"] == CODE
            assert "/d/docker has 10.0 GiB left" in str(told["text"])
            assert "/d/docker" in str(told["fix"])
            assert FetchedImages(tmp_path / "gateway").all() == (), "it did not come"

            status, said = await asked(place, "POST", PULL)
            assert (status, json.loads(said)) == (507, {"message": TOLD})
            free[0] = 30 * GIB
            engine.on("POST", "/images/create", chunked([b'{"status":"Pull complete"}\n']))
            assert (await asked(place, "POST", PULL))[0] == 200
            assert handling.conditions.document() == []

    with FakeEngine() as engine:
        engine.on("GET", "/info", reply(200, {"DockerRootDir": "/d/docker"}))
        engine.on("GET", "/images/.*/json", reply(404, {"message": "No such image"}))
        engine.on("POST", "/images/create", fetching)
        asyncio.run(main(engine))
        assert len(engine.asked("GET", "/info")) == 1
        assert len(engine.asked("POST", "/images/create")) == 2


def test_whoever_looks_looks_for_all() -> None:
    """One who begins pulls all the time does not keep the others from being broken off."""
    free, now = [30 * GIB], [0.0]

    async def main(engine: FakeEngine) -> None:
        handling = Handling(engine.path, nothing_published)
        store = ImageStore(
            *(engine.path, handling.conditions),
            lambda path: Room(str(path), free[0], 1000 * GIB),
            lambda: now[0],
        )
        await store.see_that_there_is_room()
        free[0] = 10 * GIB
        assert await store.filled() == "", "it was looked a moment ago"
        now[0] += 0.5
        with pytest.raises(NoRoom):
            await store.see_that_there_is_room()
        now[0] += 0.5
        assert await store.filled() == TOLD
        free[0] = 30 * GIB
        now[0] += 1
        assert await store.filled() == ""

    with FakeEngine() as engine:
        engine.on("GET", "/info", reply(200, {"DockerRootDir": "/d/docker"}))
        asyncio.run(main(engine))
