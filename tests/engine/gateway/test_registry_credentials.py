"""A pool's credentials are read for each pull, go to the Engine for the registry, and are told to nobody."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from mayfly.core.model import Registry
from mayfly.engines.docker.gateway.handling import Handling
from mayfly.engines.docker.gateway.registry_credentials import (
    FAILURES,
    REFUSED,
    UNREADABLE,
    RegistryCredentials,
)
from tests.engine.gateway.agent import agent_place, another_generation, given, granted
from tests.engine.gateway.asked import asked, nothing_published, opened
from tests.fakes.docker_engine import Ask, FakeEngine, Serve, chunked, reply

PULL = "/v1.47/images/create?fromImage=registry.lab:5000/ci/tool&tag=1"
ADDRESS = "registry.lab:5000"


def written(secret: Path, text: str) -> None:
    secret.write_text(f"{text}\n")
    secret.chmod(0o600)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    made = tmp_path / "password"
    written(made, "hunter2")
    return made


def place_of(tmp_path: Path, secret: Path) -> Path:
    place = agent_place(tmp_path)
    registry = Registry(ADDRESS, "ci", {"file": str(secret)})
    given(place, granted(allowed_images=(f"{ADDRESS}/*", "*"), registries=(registry,)))
    return place


def sent(ask: Ask) -> dict[str, str] | None:
    said = ask.headers.get("x-registry-auth")
    return None if said is None else json.loads(base64.urlsafe_b64decode(said))


def engine_of_images(engine: FakeEngine) -> None:
    engine.on("GET", "/images/.*/json", reply(404, {"message": "No such image"}))
    engine.on("POST", "/images/create", chunked([b'{"status":"Pull complete"}\n']))


def test_the_secret_of_the_moment_goes_to_the_engine_and_to_no_other_registry(
    tmp_path: Path, secret: Path
) -> None:
    place = place_of(tmp_path, secret)

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            status, said = await asked(place, "POST", PULL)
            assert (status, b"Pull complete" in said) == (200, True)
            written(secret, "changed")
            await asked(place, "POST", PULL)
            await asked(place, "POST", "/images/create?fromImage=busybox&tag=1")

    with FakeEngine() as engine:
        engine_of_images(engine)
        asyncio.run(main(engine))
        first, second, other = (sent(one) for one in engine.asked("POST", "/images/create"))
    assert first == {"username": "ci", "password": "hunter2", "serveraddress": ADDRESS}
    assert second == {"username": "ci", "password": "changed", "serveraddress": ADDRESS}
    assert other is None
    for file in place.rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes()


def test_what_cannot_be_read_is_a_sentence_for_each_and_no_pull(
    tmp_path: Path, secret: Path
) -> None:
    place = place_of(tmp_path, secret)
    secret.chmod(0o644)

    async def main(engine: FakeEngine) -> None:
        handling = Handling(engine.path, nothing_published)
        async with opened(place, engine.path, handling):
            status, said = await asked(place, "POST", PULL)
            assert status == 503
            assert ADDRESS in said.decode()
            assert str(secret) not in said.decode(), "where it is no job is to know"
            (told,) = handling.conditions.document()
            assert (told["code"], told["pool"]) == (UNREADABLE, "lab")
            assert "can be read by others" in str(told["text"])
            written(secret, "hunter2")
            assert (await asked(place, "POST", PULL))[0] == 200
            assert handling.conditions.document() == []

    with FakeEngine() as engine:
        engine_of_images(engine)
        asyncio.run(main(engine))
        assert len(engine.asked("POST", "/images/create")) == 1


def handling_by(engine: FakeEngine, now: list[float]) -> Handling:
    """One by whose clock it is ``now[0]``."""
    handling = Handling(engine.path, nothing_published)
    handling.registries = RegistryCredentials(engine.path, handling.conditions, lambda: now[0])
    return handling


def test_a_registry_that_does_not_take_them_is_told_once_it_has_said_so_itself(
    tmp_path: Path, secret: Path
) -> None:
    """Pulls fail for whatever name a job asks for: the registry is asked."""
    place = place_of(tmp_path, secret)
    now = [0.0]

    async def main(engine: FakeEngine) -> None:
        handling = handling_by(engine, now)
        async with opened(place, engine.path, handling):
            engine.on("POST", "/auth", reply(200, {"Status": "Login Succeeded"}))
            assert (await asked(place, "POST", PULL))[0] == 404
            assert handling.conditions.document() == []
            engine.on("POST", "/auth", reply(401, {"message": "unauthorized: incorrect username"}))
            await asked(place, "POST", PULL)
            assert handling.conditions.document() == [], "it was asked a moment ago"
            now[0] += 61
            await asked(place, "POST", PULL)
            (told,) = handling.conditions.document()
            assert told["code"] == REFUSED
            assert "user ci" in str(told["text"])
            assert "hunter2" not in json.dumps(told)
            status, said = await asked(place, "POST", PULL)
            assert (status, b"is asked again in 60 s" in said) == (429, True)
            now[0] += 61
            engine.on("POST", "/images/create", chunked([b'{"status":"Pull complete"}\n']))
            await asked(place, "POST", PULL)
            assert handling.conditions.document() == []

    with FakeEngine() as engine:
        engine_of_images(engine)
        no = {"message": "pull access denied for registry.lab:5000/ci/tool"}
        engine.on("POST", "/images/create", reply(404, no))
        asyncio.run(main(engine))
        assert len(engine.asked("POST", "/images/create")) == 4, "not while they rest"
        first, second = (json.loads(one.body()) for one in engine.asked("POST", "/auth"))
    assert first == second == {"username": "ci", "password": "hunter2", "serveraddress": ADDRESS}


def test_another_password_does_not_rest(tmp_path: Path, secret: Path) -> None:
    """Who mends it sees at once that it is mended; one that is wrong, too, is asked about at once."""
    place = place_of(tmp_path, secret)

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            assert (await asked(place, "POST", PULL))[0] == 404
            assert (await asked(place, "POST", PULL))[0] == 429
            written(secret, "changed")
            assert (await asked(place, "POST", PULL))[0] == 404
            assert (await asked(place, "POST", PULL))[0] == 429

    with FakeEngine() as engine:
        engine_of_images(engine)
        engine.on("POST", "/images/create", reply(404, {"message": "no"}))
        engine.on("POST", "/auth", reply(401, {"message": "unauthorized: incorrect username"}))
        asyncio.run(main(engine))
        assert len(engine.asked("POST", "/auth")) == 2


def test_an_agent_whose_pulls_fail_waits_and_no_other_does(tmp_path: Path, secret: Path) -> None:
    """Why they fail it decides itself: the pool's others go on."""
    place = place_of(tmp_path, secret)
    now = [0.0]

    async def main(engine: FakeEngine) -> None:
        handling = handling_by(engine, now)
        async with opened(place, engine.path, handling):
            for _ in range(FAILURES):
                assert (await asked(place, "POST", PULL))[0] == 404
            status, said = await asked(place, "POST", PULL)
            assert (status, b"may go on in 60 s" in said) == (429, True)
            registry = Registry(ADDRESS, "ci", {"file": str(secret)})
            another = granted(generation=another_generation())
            assert "ci" not in repr(await handling.registries.header(another, registry))
            now[0] += 61
            assert (await asked(place, "POST", PULL))[0] == 404

    with FakeEngine() as engine:
        engine_of_images(engine)
        engine.on("POST", "/images/create", reply(404, {"message": "no"}))
        engine.on("POST", "/auth", reply(200, {"Status": "Login Succeeded"}))
        asyncio.run(main(engine))


@pytest.mark.parametrize(
    "no",
    [
        reply(404, {"message": "pull access denied for ci/tool, user ci has no leave"}),
        reply(401, {"message": "unauthorized: user ci is locked"}),
        chunked([b'{"error":"toomanyrequests: user ci has had 100 pulls"}\n']),
        chunked([b'{"error":"denied: user ci"}\n']),
    ],
)
def test_what_a_registry_says_of_the_pool_s_user_no_job_is_told(
    tmp_path: Path, secret: Path, no: Serve
) -> None:
    place = place_of(tmp_path, secret)
    said: list[bytes] = []

    async def main(engine: FakeEngine) -> None:
        async with opened(place, engine.path):
            said.append((await asked(place, "POST", PULL))[1])

    with FakeEngine() as engine:
        engine_of_images(engine)
        engine.on("POST", "/images/create", no)
        engine.on("POST", "/auth", reply(200, {"Status": "Login Succeeded"}))
        asyncio.run(main(engine))
    assert b"user ci" not in said[0]
    assert b"does not let pool lab have it" in said[0]


def test_what_no_agent_has_any_more_is_not_told_any_more(tmp_path: Path, secret: Path) -> None:
    async def main() -> None:
        handling = Handling("/nowhere", nothing_published)
        hub = Registry("docker.io", "lab", {"credential": "hub"})
        gone = Registry(ADDRESS, "ci", {"file": str(tmp_path / "gone")})
        await handling.registries.look([granted(registries=(hub, gone))])
        first, second = handling.conditions.document()
        assert "mayfly-gateway.service" in str(first["text"])
        assert "systemctl edit mayfly-gateway" in str(first["fix"])
        assert str(second["fix"]).startswith(f"sudo install -D -m 600 /dev/stdin {tmp_path}/gone")
        await handling.registries.look([granted(registries=(hub,))])
        assert handling.conditions.document() == [first]
        await handling.registries.look([])
        assert handling.conditions.document() == []

    asyncio.run(main())
