"""The far half of `--host`: bytes go both ways, and neither way waits for the other."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mayfly.cli.relay import GREETING

Manager = Callable[[socket.socket], None]
RELAY = (sys.executable, "-m", "mayfly.cli.relay")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Callable[[Manager], subprocess.Popen[bytes]]]:
    """The relay, once it has greeted, before a manager that does this with the one connection."""
    begun: list[subprocess.Popen[bytes]] = []
    door = socket.socket(socket.AF_UNIX)

    def one(manager: Manager) -> subprocess.Popen[bytes]:
        path = str(tmp_path / "s")
        door.bind(path)
        door.listen()

        def serve() -> None:
            connection, _ = door.accept()
            with connection, suppress(OSError):
                manager(connection)

        threading.Thread(target=serve, daemon=True).start()
        environment = {"MAYFLY_HOST__SOCKET": path, "PYTHONPATH": ":".join(sys.path)}
        begun.append(
            subprocess.Popen(
                RELAY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        )
        assert begun[-1].stdout is not None
        assert begun[-1].stdout.read(len(GREETING)) == GREETING
        return begun[-1]

    yield one
    for process in begun:
        process.kill()
        process.communicate()
    door.close()


def test_a_manager_that_answers_before_it_takes_more_is_read_meanwhile(
    relay: Callable[[Manager], subprocess.Popen[bytes]],
) -> None:
    sent = bytes(range(256)) * 16 * 1024  # 4 MiB, more than lies in all buffers on the way

    def doubled(connection: socket.socket) -> None:
        while data := connection.recv(64 * 1024):
            connection.sendall(data + data)

    process = relay(doubled)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def send() -> None:
        left = memoryview(sent)
        with suppress(OSError):
            while left:
                left = left[stdin.write(left) or 0 :]

    came = bytearray()
    done = threading.Event()

    def read() -> None:
        while len(came) < 2 * len(sent) and (data := stdout.read(64 * 1024)):
            came.extend(data)
        done.set()

    for run in (send, read):
        threading.Thread(target=run, daemon=True).start()
    assert done.wait(60), f"it stands after {len(came)} bytes"
    assert len(came) == 2 * len(sent)


def test_what_a_manager_says_that_turns_away_what_is_sent_comes_through(
    relay: Callable[[Manager], subprocess.Popen[bytes]],
) -> None:
    def refuses(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"no place")

    process = relay(refuses)
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        while True:
            process.stdin.write(b"x" * 64 * 1024)
            if process.poll() is not None:
                break
    assert process.stdout.read() == b"no place"
    assert process.wait(60) == 0
