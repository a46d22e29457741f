"""One grammar for requests: what two programs could read in two ways is refused."""

from __future__ import annotations

import pytest

from mayfly.core.admission.outcome import Refuse
from mayfly.core.admission.request import Request, quoted, request_head, target, with_body


@pytest.mark.parametrize(
    ("wanted", "path", "version", "query"),
    [
        ("/_ping", "/_ping", None, {}),
        ("/v1.47/containers/json?all=1", "/containers/json", "1.47", {"all": "1"}),
        ("/v1.24/images/reg.io:5000/a/b:t/json", "/images/reg.io:5000/a/b:t/json", "1.24", {}),
        ("/containers/a%2Eb/json", "/containers/a.b/json", None, {}),
        ("/info?a=x+y%26z&b=", "/info", None, {"a": "x y&z", "b": ""}),
        ("/version", "/version", None, {}),
        ("/v2/info", "/v2/info", None, {}),  # no version: a path that nobody knows
    ],
)
def test_a_path_is_read(wanted: str, path: str, version: str | None, query: dict[str, str]) -> None:
    read = request_head("GET", wanted, [])
    assert isinstance(read, Request)
    assert (read.path, read.version, dict(read.query)) == (path, version, query)


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "*",
        "//containers/json",
        "/containers//json",
        "/containers/json/",
        "/containers/./json",
        "/containers/x/../y/json",
        "/containers/%2e%2e/y/json",
        "/containers/a%2fb/json",
        "/containers/a%2Fb/json",
        "/containers/a%252fb/json",
        "/containers/a%5cb/json",
        "/containers/a\\b/json",
        "/containers/a%00/json",
        "/containers/a%0d%0aX:1/json",
        "/containers/%ff/json",
        "/containers/%c0%ae/json",
        "/containers/%zz/json",
        "/containers/%/json",
        "/containers/é/json",
        "/containers/a b/json",
        "/containers/json#x",
        "/containers/json?a=1&a=2",
        "/containers/json?a=1&%61=2",
        "/containers/json?a=1;b=2",
        "/containers/json?a=%00",
        "http://host/containers/json",
        "containers/json",
        "/v1.41",
        "/" + "a" * 40_000,
    ],
)
def test_what_is_no_path_of_the_engine_is_refused(wanted: str) -> None:
    read = request_head("GET", wanted, [])
    if wanted == "/v1.41":  # a version alone has no path, and none is known that is empty
        assert isinstance(read, Request)
        assert read.path == "/"
        return
    assert isinstance(read, Refuse)
    assert read.status == 400


@pytest.mark.parametrize("method", ["PATCH", "CONNECT", "PRI", "get", "OPTIONS", "TRACE", ""])
def test_a_method_that_the_engine_has_not_is_refused(method: str) -> None:
    read = request_head(method, "/_ping", [])
    assert isinstance(read, Refuse)
    assert read.status == 405


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "3"), ("content-length", "30")],
        [("Content-Length", "3"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "xchunked")],
        [("Content-Length", "+3")],
        [("Content-Length", "3, 3")],
        [("Content-Length", "-1")],
        [("Content-Length", "0x3")],
        [("Upgrade", "tcp"), ("Upgrade", "h2c")],
        [("X-Registry-Auth", "a"), ("x-registry-auth", "b")],
    ],
)
def test_headers_that_say_a_thing_in_two_ways_are_refused(headers: list[tuple[str, str]]) -> None:
    read = request_head("POST", "/containers/create", headers)
    assert isinstance(read, Refuse)
    assert read.status == 400


def test_only_the_headers_that_rules_look_at_are_kept() -> None:
    read = request_head(
        "GET", "/_ping", [("Host", "x"), ("X-HTTP-Method-Override", "DELETE"), ("Upgrade", " tcp ")]
    )
    assert isinstance(read, Request)
    assert dict(read.headers) == {"upgrade": "tcp"}


CREATE = Request("POST", "/containers/create")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"Image": "a", "Image": "b"}',
        b'{"HostConfig": {"Privileged": false, "Privileged": true}}',
        b'{"Image": NaN}',
        b'{"Image": "a"} {"Image": "b"}',
        b'{"Image": "\xff"}',
        b"[]",
        b'"x"',
        b"1",
        b'{"Image": "\\ud800"}',
        b'{"Image": "a\\u0000b"}',
        b"{" + b'"a": {' * 100 + b"}" * 101,
        b"[" * 100_000,
        '{"Image": "a"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"Image": "a"}',
        b'{"n": ' + b"9" * 10_000 + b"}",
        b"{'Image': 'a'}",
    ],
)
def test_a_body_that_two_readers_could_read_in_two_ways_is_refused(raw: bytes) -> None:
    read = with_body(CREATE, raw)
    assert isinstance(read, Refuse)
    assert read.status == 400
    assert "\n" not in read.sentence


def test_a_body_is_read_and_none_is_none() -> None:
    read = with_body(CREATE, b' {"Image": "a", "n": 1} ')
    assert isinstance(read, Request)
    assert read.body == {"Image": "a", "n": 1}
    assert with_body(CREATE, b"") == CREATE
    assert with_body(CREATE, b"null") == CREATE


def test_what_goes_out_is_encoded_anew() -> None:
    made = target("1.45", f"/containers/{quoted('a/b?c#d%')}/json", {"a b": "é&="})
    assert made == "/v1.45/containers/a%2Fb%3Fc%23d%25/json?a%20b=%C3%A9%26%3D"
    again = request_head(
        "GET", made.replace("%2F", ".").replace("%25", "").replace("%3F", "").replace("%23", ""), []
    )
    assert isinstance(again, Request)
    assert dict(again.query) == {"a b": "é&="}
    assert quoted("reg:5000/a/b:t@sha256:0", slashes=True) == "reg:5000/a/b:t@sha256:0"
