"""An Engine that has no addresses left is a sentence for the job, and a condition for the host."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from mayfly.engines.docker.gateway.engine_words import NO_ADDRESSES
from mayfly.engines.docker.gateway.handling import Handling
from tests.engine.gateway.agent import agent_place, given, granted
from tests.engine.gateway.asked import asked, nothing_published, opened
from tests.fakes.docker_engine import FakeEngine, reply

USED_UP = {"message": "all predefined address pools have been fully subnetted"}
IMAGE = {
    "Id": "sha256:" + "1" * 64,
    "RepoTags": ["busybox:latest"],
    "RepoDigests": ["busybox@sha256:" + "2" * 64],
    "Config": {},
}


def test_a_host_without_addresses_is_told_until_it_has_some_again(tmp_path: Path) -> None:
    """By the network that a job asks for, and by the one that its first container needs."""
    place = agent_place(tmp_path)
    given(place, granted())

    async def main(engine: FakeEngine) -> None:
        handling = Handling(engine.path, nothing_published)

        async def made(path: str, body: object) -> int:
            status, said = await asked(place, "POST", path, body)
            if status >= 300:
                assert json.loads(said) == {"message": NO_ADDRESSES}
            return status

        async with opened(place, engine.path, handling):
            for path, body in (
                ("/v1.47/networks/create", {"Name": "mine"}),
                ("/v1.47/containers/create", {"Image": "busybox"}),
            ):
                engine.on("POST", "/networks/create", reply(500, USED_UP))
                assert await made(path, body) >= 400
                (told,) = handling.conditions.document()
                assert told["code"] == "gateway.addresses"
                assert "default-address-pools" in str(told["fix"])
                engine.on("POST", "/networks/create", reply(201, {"Id": "a" * 64}))
                assert await made("/v1.47/networks/create", {"Name": "mine"}) == 201
                assert handling.conditions.document() == []

    with FakeEngine() as engine:
        engine.on("GET", "/images/.*/json", reply(200, IMAGE))
        engine.on("GET", "/networks", reply(200, []))
        asyncio.run(main(engine))
