"""The Engine's HTTP as bytes: whatever comes, and however slowly, there is a bound in time and in bytes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mayfly.core.model import ContainerId, Generation
from mayfly.core.workspace import Unbrought
from mayfly.edge.faults import Passing, Unbringable
from mayfly.edge.tree_archive import END
from mayfly.engines.docker import events, wire
from mayfly.engines.docker.engine import DockerEngine
from mayfly.engines.docker.gate_socket import GateSocket

HEAD = b"HTTP/1.0 200 OK\r\n\r\n"


@contextmanager
def served(home: Path, answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """An Engine's socket that answers every request so; its address."""
    path = home / "engine.sock"
    stop = threading.Event()

    def serve() -> None:
        while True:
            conn, _ = server.accept()
            if stop.is_set():
                conn.close()
                return
            with conn:
                conn.recv(65536)
                try:
                    answer(conn)
                except OSError:
                    continue

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            stop.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
            thread.join()


def trickled(before: bytes) -> Callable[[socket.socket], None]:
    """That, and then a byte at a time for ever, each sooner than any single wait would end."""

    def answer(conn: socket.socket) -> None:
        conn.sendall(before)
        while True:
            conn.sendall(b"x")
            time.sleep(0.02)

    return answer


CALLS: dict[str, Callable[[str], object]] = {
    "a stream": lambda url: wire.open_stream(url, "GET", "/", "asking", timeout=0.5),
    "a document": lambda url: wire.get_json(url, "/", "asking", timeout=0.5),
    "past events": lambda url: events.replay(url, None, timeout=0.5),
}


@pytest.mark.parametrize(
    ("call", "before"),
    [
        ("a stream", b""),
        ("a stream", b"HTTP/1.0 500 No\r\n\r\n"),
        ("a document", b""),
        ("a document", HEAD),
        ("past events", b""),
        ("past events", HEAD),
    ],
)
def test_an_answer_that_trickles_in_is_given_up_in_time(
    tmp_path: Path, call: str, before: bytes
) -> None:
    with served(tmp_path, trickled(before)) as url:
        with pytest.raises(Passing) as caught:
            CALLS[call](url)
        # It would go on for as long as the thread lives.
        assert "did not answer in time" in str(caught.value)


def test_an_answer_without_end_is_given_up_at_its_size(tmp_path: Path) -> None:
    def answer(conn: socket.socket) -> None:
        conn.sendall(HEAD)
        while True:
            conn.sendall(b"x" * 65536)

    with served(tmp_path, answer) as url:
        opened = wire.open_stream(url, "GET", "/", "asking", timeout=30)
        with pytest.raises(OSError, match="the answer is longer than 1 MiB"):
            wire.read_all(opened, 30, most=1 << 20)
        assert opened.socket.fileno() == -1


def test_a_gate_whose_way_is_dead_is_closed_when_it_gets_another(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def answer(conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        heard.append(conn.recv(65536))

    ours, theirs = socket.socketpair()
    theirs.close()
    generation, container = Generation("g1"), ContainerId("c" * 64)
    with served(tmp_path, answer) as url:
        engine = DockerEngine(url, timeout=5)
        engine._gates[generation] = GateSocket(ours, container)
        engine.open(generation, container, b"job")
    assert heard == [b"job"]
    assert ours.fileno() == -1


def test_a_long_refusal_of_a_tree_which_comes_in_chunks_is_understood(tmp_path: Path) -> None:
    path = "/".join(["y" * 200] * 21)
    said = json.dumps({"message": f"open /workspace/{path}: file name too long"}).encode() + b"\n"
    pieces = [said[at : at + 2048] for at in range(0, len(said), 2048)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (*pieces, b""))

    def answer(conn: socket.socket) -> None:
        conn.sendall(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        # Who closes with something unread takes back what it has sent.
        conn.settimeout(0.5)
        while conn.recv(65536):
            pass

    with served(tmp_path, answer) as url, pytest.raises(Unbringable) as caught:
        DockerEngine(url).put_tree(ContainerId("c" * 64), [END])
    assert caught.value.why is Unbrought.NAME_TOO_LONG
    assert str(caught.value).endswith("y: file name too long")
