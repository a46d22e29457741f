"""The OpenAPI document says of the control socket what is so: every path, key, answer and kind of failure."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from mayfly.core.model import JobId
from mayfly.service import openapi
from mayfly.service.control import Control
from tests import reference
from tests.service.conftest import Ask
from tests.service.standin import StandIn, job

DOCUMENT: Any = json.loads(json.dumps(openapi.document(Control.ROUTES)))
ROUTES = [pytest.param(route, id=f"{route.method} {route.path}") for route in Control.ROUTES]


def test_it_is_openapi() -> None:
    validate(DOCUMENT)


def test_it_is_served_and_stands_beside_the_reference(ask: Ask) -> None:
    answer = ask("GET", "/v1/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == DOCUMENT
    said = "run `python -m tests.reference`"
    assert (reference.DOCS / "openapi.json").read_text() == reference.openapi_text(), said


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_in_it_with_its_query_and_its_body(route: Any) -> None:
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    assert operation["summary"] == route.does
    told = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
    assert tuple(told) == route.query
    named = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
    assert named == re.findall(r"\{(\w+)\}", route.path)
    content = operation.get("requestBody", {}).get("content", {})
    keys = content.get("application/json", {}).get("schema", {}).get("properties", {})
    assert tuple(keys) == (route.body or ())


def test_there_is_no_path_but_those_of_the_routes() -> None:
    told = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert told == {(route.method.lower(), route.path) for route in Control.ROUTES}
    names = [item[method]["operationId"] for item in DOCUMENT["paths"].values() for method in item]
    assert len(set(names)) == len(names)


def test_every_key_that_is_told_is_one_that_is_taken() -> None:
    assert set(openapi.BODY) == {key for route in Control.ROUTES for key in route.body or ()}
    assert set(openapi.QUERY) == {name for route in Control.ROUTES for name in route.query}


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/version", "/v1/openapi.json", "/v1/status", "/v1/jobs", "/v1/jobs/{job}"),
        *("/v1/events", "/v1/history"),
    ],
)
def test_what_is_read_has_the_keys_that_are_told(manager: StandIn, ask: Ask, path: str) -> None:
    manager.account.rows["j1"] = job("j1", argv=["true"])
    answer = ask("GET", path.replace("{job}", JobId("j1"))).json
    content = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
    schema = content["application/json"]["schema"]
    assert set(schema["required"]) <= answer.keys()
    if "schema" in schema["properties"]:
        assert answer["schema"] == schema["properties"]["schema"]["const"]
