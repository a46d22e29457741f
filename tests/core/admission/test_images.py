"""Which images are fetched, from where, and with whose credentials."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from mayfly.core.admission.outcome import Answer, Reply, Streams
from tests.core.admission.engine import decided, engine, forwarded, refused
from tests.core.admission.granted import GRANT


@pytest.mark.parametrize(
    ("query", "name", "tag"),
    [
        ("fromImage=busybox&tag=1", "docker.io/library/busybox", "1"),
        ("fromImage=busybox:1", "docker.io/library/busybox", "1"),
        ("fromImage=busybox:1&tag=1", "docker.io/library/busybox", "1"),
        ("fromImage=docker.io/library/busybox", "docker.io/library/busybox", "latest"),
        ("fromImage=ghcr.io/lab/x&tag=sha256:" + "0" * 64, "ghcr.io/lab/x", "sha256:" + "0" * 64),
        ("fromImage=lab/x@sha256:" + "0" * 64, "docker.io/lab/x", "sha256:" + "0" * 64),
        ("fromImage=busybox&fromSrc=&repo=&tag=1", "docker.io/library/busybox", "1"),
    ],
)
def test_one_image_is_fetched_and_never_all_of_its_tags(query: str, name: str, tag: str) -> None:
    forward = forwarded("POST", f"/images/create?{query}")
    told = tag.replace(":", "%3A")
    assert forward.target == f"/images/create?fromImage={name.replace('/', '%2F')}&tag={told}"
    assert (forward.streams, forward.answer, forward.makes) == (Streams.LINES, Answer.PULL, False)


def test_a_pool_says_when_images_are_fetched() -> None:
    path = "/images/create?fromImage=alpine&tag=3"
    assert isinstance(decided("POST", path), Reply)
    forwarded("POST", path, grant=replace(GRANT, pull="always"))
    told = refused("POST", path, grant=replace(GRANT, pull="never"))
    assert "pull = never" in told.sentence


HUBS = ("docker.io/", "index.docker.io/", "registry-1.docker.io/", "")


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize("more", ["", "&platform=linux/arm64"])
def test_an_image_that_is_there_is_up_to_date_however_its_name_is_written(
    hub: str, more: str
) -> None:
    assert isinstance(decided("POST", f"/images/create?fromImage={hub}alpine&tag=3{more}"), Reply)


@pytest.mark.parametrize("hub", HUBS)
def test_what_agents_are_made_of_is_fetched_for_no_job(hub: str) -> None:
    for pull in ("missing", "always"):
        grant = replace(GRANT, pull=pull, agents=("lab/torch:*", "docker.io/lab/agent"))
        for name in ("mayfly/github:cpu", "lab/torch:2", "lab/agent"):
            told = refused("POST", f"/images/create?fromImage={hub}{name}", grant=grant)
            assert "agents of this host are made of" in told.sentence
        forwarded("POST", f"/images/create?fromImage={hub}lab/tool", grant=grant)


def test_what_was_made_on_this_host_keeps_its_name() -> None:
    world = engine()
    path = "/v1.45/images/alpine:3/json"
    world.things[path] = {**world.things[path], "RepoDigests": []}
    grant = replace(GRANT, pull="always")
    target = "/images/create?fromImage=registry-1.docker.io/alpine&tag=3"
    told = refused("POST", target, grant=grant, world=world)
    assert "was made on this host" in told.sentence
    forwarded("POST", "/images/create?fromImage=postgres:16", grant=grant, world=world)


def test_an_image_is_fetched_for_this_host_whatever_platform_is_said() -> None:
    forward = forwarded("POST", "/images/create?fromImage=busybox&platform=linux/s390x")
    assert "platform" not in forward.target


def test_only_images_that_the_pool_allows_are_fetched() -> None:
    grant = replace(GRANT, allowed_images=("lab/*", "ghcr.io/lab/*"))
    for name in ("lab/x", "ghcr.io/lab/x:1"):
        forwarded("POST", f"/images/create?fromImage={name}", grant=grant)
    for name in ("busybox", "ghcr.io/other/x", "evil.io/lab/x"):
        told = refused("POST", f"/images/create?fromImage={name}", grant=grant)
        assert "allowed_images: lab/*, ghcr.io/lab/*" in told.sentence


def encoded(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def fetched(header: str) -> dict[str, str]:
    headers = [("X-Registry-Auth", header)]
    return dict(forwarded("POST", "/images/create?fromImage=busybox", headers=headers).headers)


def test_a_clients_credentials_go_along_put_together_anew() -> None:
    said = {
        "username": "me",
        "password": "x",
        "serveraddress": "https://index.docker.io/v1/",
        "email": "a",
    }
    told = fetched(encoded(said))["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(told)) == {
        key: said[key] for key in ("username", "password", "serveraddress")
    }
    assert fetched(encoded({})) == fetched("") == fetched(encoded(None)) == {}
    assert fetched(encoded(said).rstrip("=")) == {"X-Registry-Auth": told}


@pytest.mark.parametrize(
    "header",
    [
        "%%%",
        encoded([1]),
        encoded("x"),
        encoded({"username": 1}),
        encoded({"proxy": "http://x"}),
        "YQ==",
    ],
)
def test_credentials_that_are_none_are_refused(header: str) -> None:
    told = refused(
        "POST", "/images/create?fromImage=busybox", headers=[("X-Registry-Auth", header)]
    )
    assert told.status in (400, 403)


def test_a_login_goes_to_a_registry_of_the_pools() -> None:
    said = {
        "username": "me",
        "password": "x",
        "email": "",
        "serveraddress": "https://index.docker.io/v1/",
    }
    forward = forwarded("POST", "/auth", said)
    assert forward.body == {key: value for key, value in said.items() if key != "email"}
    assert forward.answer is Answer.LOGIN
    grant = replace(GRANT, allowed_images=("ghcr.io/*",))
    assert "docker.io" in refused("POST", "/auth", said, grant=grant).sentence
    forwarded("POST", "/auth", {**said, "serveraddress": "ghcr.io"}, grant=grant)


def test_looks_at_images_go_by_their_id() -> None:
    for rest, answer in (("json", Answer.IMAGE), ("history", Answer.HISTORY)):
        forward = forwarded("GET", f"/v1.47/images/alpine:3/{rest}?manifests=1")
        assert forward.target.startswith("/v1.47/images/sha256%3A0")
        assert forward.target.endswith(f"/{rest}")
        assert forward.answer is answer


def test_a_prune_of_images_removes_nothing() -> None:
    outcome = decided("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D")
    assert isinstance(outcome, Reply)
    assert outcome.body["SpaceReclaimed"] == 0
