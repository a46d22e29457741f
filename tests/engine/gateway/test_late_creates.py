"""What a gateway had asked for as it was killed is looked for until it is there, or cannot come any more."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.core.admission.grant import VolumePlace
from mayfly.edge.faults import Passing
from mayfly.engines.docker.gateway.clearing import LATE_SECONDS, clear
from mayfly.engines.docker.gateway.grant_files import GrantFiles
from tests.engine.gateway.agent import GENERATION, HOST, SEAL, agent_place, given, granted
from tests.engine.gateway.asked import asked, opened
from tests.engine.gateway.test_clearing import LABELS, Things
from tests.fakes.docker_engine import Ask, FakeEngine, breaks_off, reply

NAME = f"mf-{GENERATION}-late"
IMAGE = {
    "Id": "sha256:" + "1" * 64,
    "RepoTags": ["busybox:latest"],
    "RepoDigests": ["busybox@sha256:" + "2" * 64],
    "Config": {},
}
ASKED = {
    "containers": ("/v1.47/containers/create?name=late", {"Image": "busybox"}),
    "networks": ("/v1.47/networks/create", {"Name": "late"}),
    "volumes": ("/v1.47/volumes/create", {"Name": "late"}),
}


def notes(place: Path) -> list[dict[str, str]]:
    folder = place / "live/making"
    return [json.loads(one.read_text()) for one in folder.iterdir()] if folder.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = agent_place(tmp_path)
    given(made, granted(work=VolumePlace("/job", "work")))
    return made


def creating(engine: FakeEngine, serve: Any) -> None:
    engine.on("GET", "/images/.*/json", reply(200, IMAGE))
    bridge = {"Id": "b" * 64, "Name": f"mf-{GENERATION}-bridge", "Labels": LABELS}
    engine.on("GET", "/networks/.*", reply(200, bridge))
    engine.on("GET", "/(containers|networks)(/json)?", reply(200, []))
    engine.on("GET", "/volumes", reply(200, {"Volumes": []}))
    engine.on("POST", "/(containers|networks|volumes)/create", serve)


@pytest.mark.parametrize("kind", ASKED)
def test_what_is_asked_for_is_on_the_disk_until_it_is_answered(place: Path, kind: str) -> None:
    seen: list[Any] = []

    def serve(ask: Ask) -> None:
        seen.append(notes(place))
        reply(201, {"Id": "c" * 64, "Name": NAME, "Warnings": []})(ask)

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            status, said = await asked(place, "POST", *ASKED[kind])
            assert status == 201, said

    with FakeEngine() as engine:
        creating(engine, serve)
        asyncio.run(main(engine))
    assert seen == [[{"kind": kind, "name": NAME}]]
    assert notes(place) == []


def test_what_an_engine_breaks_off_may_have_been_made_and_what_it_never_heard_of_was_not(
    place: Path,
) -> None:
    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            assert (await asked(place, "POST", *ASKED["volumes"]))[0] == 503
            assert notes(place) == [{"kind": "volumes", "name": NAME}]

    async def unheard() -> None:
        async with opened(place, "/nowhere/docker.sock"):
            assert (await asked(place, "POST", *ASKED["volumes"]))[0] == 503

    with FakeEngine() as engine:
        creating(engine, breaks_off)
        asyncio.run(main(engine))
    (place / "live/making").rename(place / "making")
    asyncio.run(unheard())
    assert notes(place) == []


def test_a_note_is_taken_back_also_when_its_agent_has_ended_meanwhile(place: Path) -> None:
    files = GrantFiles(place)
    note = files.note_making("volumes", NAME)
    assert note is not None
    (place / "live").rename(place / "over")
    files.note_answered(note)
    assert list((place / "over/making").iterdir()) == []
    assert files.note_making("volumes", NAME) is None


@pytest.fixture
def engine() -> Iterator[Things]:
    with Things() as made:
        yield made


def killed(place: Path, kind: str, age: float) -> None:
    """A gateway was, that had asked for such a thing so many seconds ago."""
    files = GrantFiles(place)
    files.note_made()
    note = files.note_making(kind, NAME)
    then = time.time() - age
    os.utime(place / "live/making" / str(note), (then, then))
    (place / "live").rename(place / "over")


def cleared(engine: Things, place: Path) -> None:
    clear(engine.url, str(place.parents[2]), HOST, GENERATION, SEAL)


@pytest.mark.parametrize("kind", ASKED)
def test_what_comes_late_is_waited_for_and_removed(engine: Things, place: Path, kind: str) -> None:
    killed(place, kind, 0)
    with pytest.raises(Passing, match="may still come"):
        cleared(engine, place)
    assert place.exists()
    thing = {"Id": "late1", "Name": NAME, "Names": [f"/{NAME}"], "Labels": LABELS}
    engine.there[kind].append(thing)
    engine.on("GET", f"/{kind}/{NAME}(/json)?", reply(200, thing))
    cleared(engine, place)
    assert len(engine.removed) == 1
    assert not place.exists()


def test_what_cannot_come_any_more_is_not_waited_for(engine: Things, place: Path) -> None:
    killed(place, "containers", LATE_SECONDS + 1)
    cleared(engine, place)
    assert not place.exists()


def test_a_clock_that_was_set_back_prolongs_no_wait(engine: Things, place: Path) -> None:
    killed(place, "containers", -3600)
    with pytest.raises(Passing, match="may still come"):
        cleared(engine, place)
    (note,) = (place / "over/making").iterdir()
    since = note.stat().st_mtime
    assert since <= time.time()
    os.utime(note, (since - LATE_SECONDS - 1, since - LATE_SECONDS - 1))
    cleared(engine, place)
    assert not place.exists()


def test_a_note_that_nobody_can_read_is_waited_for_and_no_longer(
    engine: Things, place: Path
) -> None:
    killed(place, "containers", 0)
    (note,) = (place / "over/making").iterdir()
    note.write_text("{")
    with pytest.raises(Passing, match="may still come"):
        cleared(engine, place)
    os.utime(note, (0, 0))
    cleared(engine, place)
    assert not place.exists()
