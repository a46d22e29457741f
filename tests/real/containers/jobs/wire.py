"""Bytes that a hostile job writes to its socket.

Two requests where one reader sees one, streams that never were, floods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from tests.real.containers.jobs.asking import (
    Expect,
    Seen,
    Try,
    World,
    ask,
    connected,
    container,
    create,
    own,
    removed,
    spoken,
)

HARMLESS = Expect.HARMLESS
# What only the Engine itself would tell.
ALL = b"GET /v1.47/containers/json?all=1 HTTP/1.1\r\nHost: docker\r\n\r\n"
MANY = 1000


def _smuggled(world: World) -> bytes:
    """What is to reach the Engine behind the gateway's back."""
    return (
        b"GET /v1.47/containers/%b/json HTTP/1.1\r\nHost: docker\r\n\r\n" % world.stranger.encode()
    )


def _post(head: bytes, body: bytes = b"") -> bytes:
    return b"POST /v1.47/networks/prune HTTP/1.1\r\nHost: docker\r\n" + head + b"\r\n" + body


def _get(head: bytes, target: bytes = b"/_ping") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: docker\r\n" % target + head + b"\r\n"


def _begun(target: str, *fields: str, length: int = 0) -> bytes:
    """The head of a request that makes something."""
    lines = [f"POST /v1.47{target} HTTP/1.1", "Host: docker", *fields, f"Content-Length: {length}"]
    return "\r\n".join((*lines, "", "")).encode()


def _chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


# One piece of bytes each; what is hidden in it is `_smuggled`.
PIECES: dict[str, Callable[[bytes], bytes]] = {
    "a length and chunks": lambda x: _post(
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + x
    ),
    "chunks and a length": lambda x: _post(
        b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n" % (5 + len(x)), b"0\r\n\r\n" + x
    ),
    "two lengths": lambda x: _post(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(x), x),
    "a list of lengths": lambda x: _post(b"Content-Length: 0, %d\r\n" % len(x), x),
    "a length with a sign": lambda x: _post(b"Content-Length: +0\r\n", x),
    "a length below nothing": lambda x: _post(b"Content-Length: -1\r\n", x),
    "a length in hex": lambda x: _post(b"Content-Length: 0x0\r\n", x),
    "a length of many digits": lambda x: _post(b"Content-Length: 18446744073709551616\r\n", x),
    "a length with a space": lambda x: _post(b"Content-Length : 0\r\n", x),
    "a coding that is none": lambda x: _post(b"Transfer-Encoding: xchunked\r\n", _chunks(x)),
    "two codings": lambda x: _post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n" + x),
    "a coding twice": lambda x: _post(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n" + x
    ),
    "a coding with a tab": lambda x: _post(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n" + x),
    "a coding on the next line": lambda x: _post(
        b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + x
    ),
    "a chunk of too many digits": lambda x: _post(
        b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n" + x
    ),
    "a chunk below nothing": lambda x: _post(b"Transfer-Encoding: chunked\r\n", b"-1\r\n" + x),
    "a chunk with words": lambda x: _post(b"Transfer-Encoding: chunked\r\n", b"0;a=\n\r\n\r\n" + x),
    "a chunk that ends by a line feed": lambda x: _post(
        b"Transfer-Encoding: chunked\r\n", b"1\nx\n0\n\n" + x
    ),
    "trailers": lambda x: _post(
        b"Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n" + x,
    ),
    "lines without a return": lambda x: b"GET /_ping HTTP/1.1\nHost: docker\n\n" + x,
    "a header with a return": lambda x: _get(b"X: a\rGET / HTTP/1.1\r\n") + x,
    "a header with a NUL": lambda x: _get(b"X: a\0b\r\n") + x,
    "a header folded": lambda x: _get(b"X: a\r\n b\r\n") + x,
    "a header without a name": lambda x: _get(b": a\r\n") + x,
    "a space before the first header": lambda x: (
        b"GET /_ping HTTP/1.1\r\n Host: docker\r\n\r\n" + x
    ),
    "no host": lambda x: b"GET /_ping HTTP/1.1\r\n\r\n" + x,
    "two hosts": lambda x: b"GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + x,
    "a request of 0.9": lambda x: b"GET /v1.47/containers/json\r\n" + x,
    "a request of 2": lambda x: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + x,
    "a request of 1.2": lambda x: b"GET /_ping HTTP/1.2\r\nHost: docker\r\n\r\n" + x,
    "a target with a space": lambda x: b"GET /_ping /x HTTP/1.1\r\nHost: docker\r\n\r\n" + x,
    "a target with a request in it": lambda x: (
        b"GET /_ping%20HTTP/1.1%0d%0aX:%20y HTTP/1.1\r\nHost: d\r\n\r\n" + x
    ),
    "a line of a mebibyte": lambda x: (
        b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: d\r\n\r\n" + x
    ),
    "a header of a mebibyte": lambda x: _get(b"X: " + b"a" * (1 << 20) + b"\r\n") + x,
    "ten thousand headers": lambda x: _get(b"X: a\r\n" * 10_000) + x,
    "an expectation": lambda x: _post(b"Expect: 100-continue\r\nContent-Length: 0\r\n", x),
    "a body that a ping brings": lambda x: _get(b"Content-Length: %d\r\n" % len(x)) + x,
    "two in one go": lambda x: _get(b"") + x,
    "another method in a header": lambda x: _get(b"X-HTTP-Method-Override: DELETE\r\n") + x,
    "headers for the hop": lambda x: _post(
        b"Connection: close, Content-Length\r\nContent-Length: 0\r\n", x
    ),
    "another protocol": lambda x: _get(b"Connection: Upgrade\r\nUpgrade: h2c\r\n") + x,
    "bytes that are nothing": lambda x: bytes(range(256)) * 16 + x,
    "a greeting of TLS": lambda x: (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + x
    ),
}
# A stream is asked for where the Engine gives none: what follows on the connection must not be its to read.
UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")
JSON = "Content-Type: application/json"
STREAMS: dict[str, str] = {
    "of a container that is not there": "/containers/nobody/attach?stream=1&stdin=1&stdout=1",
    "of a ping": "/_ping",
    "of a list": "/containers/json?all=1",
    "of a session": "/session",
    "of grpc": "/grpc",
    "of a prune": "/networks/prune",
}


def _piece(made: Callable[[bytes], bytes]) -> Callable[[World], Seen]:
    return lambda world: spoken(made(_smuggled(world) + ALL), quiet=1.5)


def _stream(target: str) -> Callable[[World], Seen]:
    def run(world: World) -> Seen:
        head = _begun(target, *UPGRADE)
        if target in ("/_ping", "/containers/json?all=1"):
            head = head.replace(b"POST", b"GET", 1)
        return spoken(head, _smuggled(world) + ALL)

    return run


def _exec_start(exec_id: str, body: bytes) -> bytes:
    return _begun(f"/exec/{exec_id}/start", *UPGRADE, JSON, length=len(body)) + body


def _exec_that_is_detached(world: World) -> Seen:
    """Started apart the Engine gives no stream, and takes the next bytes for a request."""
    mine = own(world)
    made = ask("POST", f"/containers/{mine}/exec", {"Cmd": ["true"]}).document
    begun = _exec_start(made["Id"], b'{"Detach":true,"Tty":false}')
    seen = spoken(begun, _smuggled(world) + ALL)
    removed(mine)
    return seen


def _exec_that_was(world: World) -> Seen:
    """Started a second time it is refused; the connection is still the gateway's."""
    mine = own(world)
    made = ask("POST", f"/containers/{mine}/exec", {"Cmd": ["true"], "AttachStdout": True}).document
    ask("POST", f"/exec/{made['Id']}/start", {"Detach": False})
    begun = _exec_start(made["Id"], b'{"Detach":false,"Tty":false}')
    seen = spoken(begun, _smuggled(world) + ALL)
    removed(mine)
    return seen


def _attach(container_id: str) -> bytes:
    return _begun(f"/containers/{container_id}/attach?stream=1&stdin=1&stdout=1", *UPGRADE)


def _attach_after_its_end(world: World) -> Seen:
    """The stream of a container that has ended is over; nothing of the connection is the Engine's then."""
    asked = {**container(world), "Cmd": ["true"]}
    mine = create(asked, start=True).made[0]
    ask("POST", f"/containers/{mine}/wait")
    seen = spoken(_attach(mine), _smuggled(world) + ALL, half_close=True)
    removed(mine)
    return seen


def _attach_and_more(world: World) -> Seen:
    """Behind a true stream the bytes are the container's input, which `cat` gives back."""
    asked = {
        **container(world),
        "Cmd": ["cat"],
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
    }
    mine = create(asked).made[0]
    ask("POST", f"/containers/{mine}/start")
    seen = spoken(_attach(mine), _smuggled(world), half_close=True)
    seen.more["given back"] = "GET /v1.47/containers/" in seen.read
    removed(mine)
    return seen


def _many_connections(world: World) -> Seen:
    """A thousand that say nothing: more than it may have are let go, and one of the first still serves."""
    seen = Seen(more={"opened": 0})
    with ExitStack() as stack:
        for _ in range(MANY):
            with suppress(OSError):
                stack.enter_context(connected(5.0))
                seen.more["opened"] += 1
        seen.more["meanwhile"] = ask("GET", "/_ping", patience=10.0).status
    seen.more["after"] = _answers_again()
    return seen


def _slow_heads(world: World) -> Seen:
    """Heads that come a byte at a time."""
    seen = Seen()
    with ExitStack() as stack:
        slow = []
        for _ in range(60):
            with suppress(OSError):
                one = stack.enter_context(connected(5.0))
                one.sendall(b"POST /v1.47/containers/create HTTP/1.1\r\n")
                slow.append(one)
        for letter in b"Host: docker":
            for one in slow:
                with suppress(OSError):
                    one.sendall(bytes([letter]))
            time.sleep(0.05)
    seen.more["after"] = _answers_again()
    return seen


def _slow_body(world: World) -> Seen:
    """A body that is said to come, and does not."""
    with connected(5.0) as one:
        one.sendall(_begun("/containers/create", JSON, length=100_000) + b"{")
        return Seen(more={"after": _answers_again()})


def _flood(head: bytes, piece: bytes, most: int) -> int:
    """Bytes that could be sent before the other side would have no more."""
    sent = 0
    with connected(20.0) as one, suppress(OSError):
        one.sendall(head)
        while sent < most:
            one.sendall(piece)
            sent += len(piece)
    return sent


def _huge_body(world: World) -> Seen:
    """A gibibyte for a container's description."""
    sent = _flood(_begun("/containers/create", JSON, length=1 << 30), b" " * 65_536, 1 << 30)
    return Seen(more={"sent": sent, "after": _answers_again()})


def _body_without_end(world: World) -> Seen:
    """Chunks that do not end."""
    head = _begun("/containers/create", JSON).replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    sent = _flood(head, b"10000\r\n" + b" " * 65_536 + b"\r\n", 1 << 30)
    return Seen(more={"sent": sent, "after": _answers_again()})


def _many_requests(world: World) -> Seen:
    """Some thousand on one connection; however many are answered, the next client is."""
    seen = spoken(_get(b"") * 3000, quiet=2.0)
    seen.read = seen.read[:1000]
    seen.more["after"] = _answers_again()
    return seen


def _answers_again(patience: float = 60.0) -> int:
    """The status of a ping, once there is one; 0: there was none in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if (status := ask("GET", "/_ping", patience=10.0).status) == 200:
            return status
        time.sleep(0.2)
    return 0


def tries() -> Iterator[Try]:
    """All of them."""
    for name, made in PIECES.items():
        yield Try(f"bytes: {name}", _piece(made), HARMLESS)
    for name, target in STREAMS.items():
        yield Try(f"a stream {name}", _stream(target), HARMLESS)
    yield Try("a stream of an exec that is detached", _exec_that_is_detached, HARMLESS)
    yield Try("a stream of an exec that was", _exec_that_was, HARMLESS)
    yield Try("a stream of a container that has ended", _attach_after_its_end, HARMLESS)
    yield Try("a request behind a stream", _attach_and_more, HARMLESS)
    yield Try("a thousand connections", _many_connections, HARMLESS)
    yield Try("slow heads", _slow_heads, HARMLESS)
    yield Try("a slow body", _slow_body, HARMLESS)
    yield Try("a body of a gibibyte", _huge_body, HARMLESS)
    yield Try("a body without end", _body_without_end, HARMLESS)
    yield Try("three thousand requests", _many_requests, HARMLESS)
