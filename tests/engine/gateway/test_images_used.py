"""When an image was used last is noted by the names that it was fetched by: what is used is not old."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from mayfly.edge.fetched_images import FetchedImages
from tests.engine.gateway.agent import agent_place, given, granted
from tests.engine.gateway.asked import asked, opened
from tests.fakes.docker_engine import Ask, FakeEngine, chunked, reply

IMAGE = "sha256:" + "2" * 64
DIGEST = "lab/tool@sha256:" + "3" * 64
LONG_AGO = 1_000_000.0


def aged(images: FetchedImages, *names: str) -> None:
    for name in names:
        images.fetched(name)
        os.utime(images.folder / quote(name, safe=""), (LONG_AGO, LONG_AGO))


def used(images: FetchedImages) -> set[str]:
    return {one.name for one in images.all() if one.used > LONG_AGO}


@pytest.mark.parametrize(
    ("said", "noted"),
    [
        ("lab/tool:1", {"lab/tool:1"}),
        ("docker.io/lab/tool:1", {"lab/tool:1"}),
        (IMAGE, {"lab/tool:1", "lab/tool:2", DIGEST}),
        (IMAGE.removeprefix("sha256:")[:12], {"lab/tool:1", "lab/tool:2", DIGEST}),
        (DIGEST, {"lab/tool:1", "lab/tool:2", DIGEST}),
        (DIGEST.replace("@", ":1@"), {"lab/tool:1", "lab/tool:2", DIGEST}),
    ],
)
def test_a_container_is_a_use_of_its_image_whatever_the_job_calls_it(
    tmp_path: Path, said: str, noted: set[str]
) -> None:
    place = agent_place(tmp_path)
    given(place, granted())
    images = FetchedImages(tmp_path / "gateway")
    aged(images, "lab/tool:1", "lab/tool:2", DIGEST, "lab/other:1")

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            body = {"Image": said, "HostConfig": {"NetworkMode": "none"}}
            status, answer = await asked(place, "POST", "/containers/create", body)
            assert status == 201, answer

    with FakeEngine() as engine:
        shown = {
            "Id": IMAGE,
            "RepoTags": ["lab/tool:1", "lab/tool:2"],
            "RepoDigests": [DIGEST],
            "Config": {},
        }
        engine.on("GET", "/images/.*/json", reply(200, shown))
        engine.on("GET", "/containers/json", reply(200, []))
        engine.on("POST", "/containers/create", reply(201, {"Id": "5" * 64, "Warnings": []}))
        asyncio.run(main(engine))
    assert used(images) == noted


def test_an_image_that_was_long_on_its_way_is_as_young_as_its_coming(tmp_path: Path) -> None:
    """What is young is left to the job that fetched it; and how much there is now is looked at anew."""
    place = agent_place(tmp_path)
    given(place, granted())
    images = FetchedImages(tmp_path / "gateway")

    def fetching(ask: Ask) -> None:
        aged(images, "lab/tool:1")
        os.utime(images.folder, (LONG_AGO, LONG_AGO))
        chunked([b'{"status":"Pull complete"}\n'])(ask)

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            target = "/images/create?fromImage=lab/tool&tag=1"
            assert (await asked(place, "POST", target))[0] == 200

    with FakeEngine() as engine:
        engine.on("GET", "/info", reply(200, {}))
        engine.on("GET", "/images/.*/json", reply(404, {"message": "No such image"}))
        engine.on("POST", "/images/create", fetching)
        asyncio.run(main(engine))
    assert used(images) == {"lab/tool:1"}
    assert images.changed() > LONG_AGO
