"""Which images are fetched, from where, and with whose credentials."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from mayfly.core.admission.outcome import Answer, Forward, Refuse, Reply, Streams
from mayfly.core.model import Registry
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


LAB = Registry("registry.lab:5000", "ci", {"file": "/etc/mayfly/credentials/registry"})
HUB = Registry("docker.io", "lab", {"credential": "hub"})
LABS = replace(
    GRANT,
    allowed_images=("registry.lab:5000/*", "*.lab/*", "*.lab:5000/*", "registry.lab/*", "*"),
    registries=(LAB, HUB),
)


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("registry.lab:5000/x/y", "registry.lab:5000"),
        ("registry.lab:5000/x@sha256:" + "0" * 64, "registry.lab:5000"),
        ("lab/x", "docker.io"),
        ("index.docker.io/lab/x", "docker.io"),
        ("registry-1.docker.io/lab/x", "docker.io"),
        ("ghcr.io/lab/x", None),
        ("registry.lab/x", None),  # another port
        ("evil.registry.lab:5000/x", None),
        ("Registry.lab:5000/x", None),
        ("ghcr.io/registry.lab/x", None),
        ("quay.io/docker.io/x", None),
    ],
)
def test_a_pools_credentials_go_to_the_registry_that_they_are_for_and_no_other(
    name: str, registry: str | None
) -> None:
    """Where they go the Engine is told by the name that goes out beside them."""
    outcome = decided("POST", f"/images/create?fromImage={name}", grant=LABS)
    if isinstance(outcome, Refuse):  # not allowed at all
        assert registry is None
        return
    assert isinstance(outcome, Forward)
    assert outcome.registry == registry
    if registry is not None:
        assert outcome.target.startswith(f"/images/create?fromImage={quote(registry, safe='')}%2F")
    assert "X-Registry-Auth" not in outcome.headers, "the gateway reads them for each pull"


@pytest.mark.parametrize(
    "name",
    [
        "registry.lab:5000@evil/x",
        "registry.lab:5000%40evil.example/x",
        "registry.lab:5000%2F..%2F..%2Fx",
        "registry.lab:5000%23.evil.example/x",
        "registry.lab:5000%3F.evil.example/x",
        "user:x@registry.lab:5000/x",
        "https://registry.lab:5000/x",
        "registry.lab:5000\\evil/x",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_no_name(name: str) -> None:
    refused("POST", f"/images/create?fromImage={name}", grant=LABS)


def test_a_clients_own_credentials_are_used_in_place_of_the_pools() -> None:
    def going(said: Any) -> Forward:
        headers = [("X-Registry-Auth", encoded(said))]
        return forwarded(
            "POST", "/images/create?fromImage=registry.lab:5000/x", headers=headers, grant=LABS
        )

    own = going({"username": "me", "password": "x"})
    assert own.registry is None
    assert "X-Registry-Auth" in own.headers
    for nothing in ({}, {"serveraddress": "registry.lab:5000"}, {"username": "", "password": ""}):
        assert going(nothing).registry == "registry.lab:5000"
        assert "X-Registry-Auth" not in going(nothing).headers
    bare = replace(LABS, registries=())
    assert forwarded("POST", "/images/create?fromImage=lab/x", grant=bare).registry is None


def test_credentials_allow_no_image_that_the_pool_does_not() -> None:
    grant = replace(LABS, allowed_images=("registry.lab:5000/ci/*",))
    forwarded("POST", "/images/create?fromImage=registry.lab:5000/ci/x", grant=grant)
    for name in ("registry.lab:5000/private", "lab/x"):
        assert (
            "allowed_images"
            in refused("POST", f"/images/create?fromImage={name}", grant=grant).sentence
        )


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
