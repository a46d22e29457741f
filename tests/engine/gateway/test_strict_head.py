"""A head that two programs could read in two ways is refused, each with its sentence."""

from __future__ import annotations

import pytest

from mayfly.engines.docker.gateway.strict_head import FIELDS_MOST, fault_of

GOOD = b"POST /v1.45/exec/abc/start?x=%20y HTTP/1.1\r\nHost: docker\r\nContent-Length: 2"


def test_a_head_as_clients_write_it_is_taken() -> None:
    assert fault_of(GOOD) is None
    assert fault_of(b"GET /_ping HTTP/1.0") is None
    assert fault_of(b"GET / HTTP/1.1\r\nhost:docker\r\nEmpty:\r\nX-Registry-Auth: e30=") is None


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (GOOD + b"\r\nContent-Length: 2", "content-length is said twice"),
        (GOOD + b"\r\ncontent-length: 3", "content-length is said twice"),
        (GOOD + b"\r\nHOST: other", "host is said twice"),
        (GOOD + b"\r\nTransfer-Encoding: chunked", "a length and comes in chunks"),
        (GOOD + b"\r\n folded: on", "second line"),
        (GOOD + b"\r\nX: a\r\n\tb", "second line"),
        (GOOD + b"\r\nX: a\nY: b", "does not end"),
        (GOOD + b"\r\nX: a\rY: b", "does not end"),
        (GOOD + b"\r\nX: a\0", "does not end"),
        (GOOD + b"\r\nX : a", "not written"),
        (GOOD + b"\r\nno colon", "not written"),
        (GOOD + b"\r\nX: \x01", "not written"),
        (GOOD + b"\r\nX: \xc3\xa9", "not written"),
        (b"GET http://docker/ HTTP/1.1\r\nHost: docker", "request line"),
        (b"CONNECT docker:80 HTTP/1.1\r\nHost: docker", "request line"),
        (b"GET /a b HTTP/1.1\r\nHost: docker", "request line"),
        (b"GET / HTTP/2.0\r\nHost: docker", "request line"),
        (b"GET /\r\nHost: docker", "request line"),
        (b"get / HTTP/1.1\r\nHost: docker", "request line"),
        (b"\r\nGET / HTTP/1.1\r\nHost: docker", "request line"),
        (b"GET / HTTP/1.1\r\n" + b"\r\n".join(b"X%d: 1" % n for n in range(FIELDS_MOST + 1)), "more than"),
    ],
)  # fmt: skip
def test_what_is_none_is_told(head: bytes, told: str) -> None:
    assert told in (fault_of(head) or "")
