"""What has come of a process beside a container's own, where the test has the other end of the connection."""

from __future__ import annotations

import select
import socket

import pytest

from mayfly.engines.docker.execution import DockerExecution
from mayfly.engines.docker.wire import Opened

FRAME = b"\x01\0\0\0\0\0\0\x05hello"


@pytest.mark.parametrize(
    ("terminal", "first", "heard"),
    [
        (True, b"$ ", ((1, b"$ "),)),
        (False, FRAME, ((1, b"hello"),)),
        (False, FRAME + FRAME[:9], ((1, b"hello"),)),
    ],
)
def test_what_came_with_the_answers_head_is_had_though_the_connection_shows_nothing(
    terminal: bool, first: bytes, heard: tuple[tuple[int, bytes], ...]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        beside = DockerExecution("unix:///nowhere", "x", Opened(ours, first), terminal=terminal)
        assert select.select([beside], [], [], 0)[0] == []
        assert beside.has_more()
        assert beside.receive() == heard
        assert not beside.has_more()


@pytest.mark.parametrize("first", [b"", FRAME[:3], FRAME[:12]])
def test_of_a_frame_that_is_not_whole_there_is_no_more_yet(first: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        beside = DockerExecution("unix:///nowhere", "x", Opened(ours, first), terminal=False)
        assert not beside.has_more()
        assert beside.receive() == ()
        theirs.sendall(FRAME[len(first) :])
        assert beside.receive() == ((1, b"hello"),)
