"""What one container weighs in the lists and events that are read for all agents is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from mayfly.core.admission.admit import NAMED_MOST
from mayfly.core.admission.request import VALUES
from mayfly.core.admission.weights import (
    ALIASES,
    COMMAND_WEIGHS,
    EXPOSED,
    LABELS,
    LABELS_WEIGH,
    weight,
)
from mayfly.core.model import LABEL_GENERATION, LABEL_HOST
from tests.core.admission.clients import made
from tests.core.admission.engine import DB, Engine, engine, forwarded, refused

CREATE = "/v1.47/containers/create?name=job"
LONG = "x" * COMMAND_WEIGHS


def with_image(**config: Any) -> Engine:
    """An Engine whose image says that of its containers."""
    world = engine()
    path = "/v1.45/images/alpine:latest/json"
    found = world.things[path]
    world.things[path] = {**found, "Config": {**found["Config"], **config}}
    return world


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"Labels": {f"l{n}": "" for n in range(LABELS + 1)}}, "Labels"),
        ({"Labels": {"a": "x" * LABELS_WEIGH}}, "Labels"),
        ({"Cmd": [LONG]}, "Cmd"),
        ({"Entrypoint": ["sh"], "Cmd": ["<" * (COMMAND_WEIGHS // 6)]}, "Cmd"),
        ({"Healthcheck": {"Test": ["CMD-SHELL", LONG]}}, "Healthcheck"),
        ({"ExposedPorts": {f"{n}/tcp": {} for n in range(1, EXPOSED + 2)}}, "ExposedPorts"),
    ],
)
def test_a_container_does_not_fill_the_engines_lists(config: dict[str, Any], where: str) -> None:
    outcome = refused("POST", CREATE, made({"Image": "alpine", **config}))
    assert where in outcome.sentence
    assert (outcome.status, outcome.told) == (403, True)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"Labels": {f"l{n}": "" for n in range(LABELS + 1)}}, "Labels"),
        ({"Labels": {"l" * LABELS_WEIGH: ""}}, "Labels"),
        ({"Labels": {LABEL_GENERATION: "mb7x2k9qa0001"}}, LABEL_GENERATION),
        ({"Cmd": [LONG]}, "Cmd"),
        ({"Entrypoint": LONG}, "Cmd"),
        ({"Healthcheck": {"Test": ["CMD", LONG]}}, "Healthcheck"),
        ({"ExposedPorts": {f"{n}/tcp": {} for n in range(1, EXPOSED + 2)}}, "ExposedPorts"),
    ],
)
def test_nor_does_its_image(config: dict[str, Any], where: str) -> None:
    body = made({"Image": "alpine:latest"})
    assert where in refused("POST", CREATE, body, world=with_image(**config)).sentence


def test_a_long_label_of_an_image_is_said_empty() -> None:
    """As builders of images write them, with all that they know."""
    world = with_image(Labels={"build": "x" * 60_000, "short": "kept"})
    forward = forwarded("POST", CREATE, made({"Image": "alpine:latest"}), world=world)
    assert forward.body is not None
    assert forward.body["Labels"]["build"] == ""
    assert "short" not in forward.body["Labels"]  # the Engine takes it from the image


def test_a_container_of_a_job_is_not_among_those_that_agents_are_listed_by() -> None:
    forward = forwarded("POST", CREATE, made())
    assert forward.body is not None
    assert LABEL_GENERATION not in forward.body["Labels"]
    assert forward.body["Labels"][LABEL_HOST] == ""


def test_a_process_does_not_fill_the_engines_events() -> None:
    path = f"/v1.47/containers/{DB}/exec"
    assert "Cmd" in refused("POST", path, {"Cmd": [LONG]}).sentence
    assert forwarded("POST", path, {"Cmd": [LONG[: COMMAND_WEIGHS // 2]]}).body is not None


def test_a_place_in_a_network_has_few_names() -> None:
    endpoints = {"net": {"Aliases": [f"a{n}" for n in range(ALIASES + 1)]}}
    body = made() | {"NetworkingConfig": {"EndpointsConfig": endpoints}}
    body["HostConfig"]["NetworkMode"] = "net"
    assert "Aliases" in refused("POST", CREATE, body).sentence


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CREATE, made({"Image": "alpine"}, networks={f"n{n}": {} for n in range(300)})),
        (CREATE, made({"Image": "alpine"}, {"Links": [f"c{n}" for n in range(300)]})),
        (
            CREATE,
            made(networks={f"n{m}": {"Links": [f"c{n}" for n in range(90)]} for m in range(3)}),
        ),
        (
            "/v1.47/networks/net/connect",
            {"Container": "db", "EndpointConfig": {"Links": [f"c{n}" for n in range(300)]}},
        ),
    ],
)
def test_a_request_that_names_very_much_is_refused_before_anything_is_looked_up(
    path: str, body: dict[str, Any]
) -> None:
    world = engine()
    outcome = refused("POST", path, body, world=world)
    assert (outcome.status, world.asked) == (400, [])
    assert str(NAMED_MOST) in outcome.sentence


def test_a_body_of_very_many_values_is_no_body() -> None:
    body = b'{"Cmd":[' + b",".join([b"0"] * VALUES) + b"]}"
    assert refused("POST", CREATE, body).status == 400


def test_weighed_is_what_the_engine_writes() -> None:
    assert weight(["<&>\x01\x02"]) >= 5 * 6
    assert weight(["abc", "é"]) >= 5
