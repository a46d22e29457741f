"""What comes back on the socket is read to its own end, and never taken for whole where it is not."""

from __future__ import annotations

import socket

import pytest

from mayfly.cli import answer as answers
from mayfly.cli.answer import HEAD_MAX, Answer, asked
from mayfly.cli.client import FRAME, FRAME_MAX, Client
from mayfly.cli.trouble import Trouble

OK = b"HTTP/1.1 200 OK\r\nServer: mayfly\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def answer(data: bytes) -> Answer:
    """What a server that says this and closes has answered."""
    here, there = socket.socketpair()
    with there:
        there.sendall(data)
    return Answer(here)


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nwhole and more", b"whole"),
        (OK + b"content-length:0\r\n\r\n", b""),
        (CHUNKED + b"3\r\nin \r\nA;x=y\r\ntwo pieces\r\n0\r\n\r\n", b"in two pieces"),
        (CHUNKED + b"0a \t;x=y\r\ntwo pieces\r\n0\r\n\r\n", b"two pieces"),
        (CHUNKED + b"0\r\nTrailer: x\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_a_body_is_read_to_its_end(data: bytes, body: bytes) -> None:
    found = answer(data)
    assert found.status in (200, 204)
    assert found.read() == body
    assert found.read(10) == b""
    found.close()


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 5\r\n\r\nhal",
        CHUNKED + b"5\r\nhal",
        CHUNKED + b"5\r\nwhole\r\n",
        CHUNKED + b"5\r\nwhole",
        *(
            CHUNKED + size + b"\r\nwhole\r\n0\r\n\r\n"
            for size in (
                b"",
                b"five",
                b"-5",
                b"+5",
                b"0x5",
                b"0_5",
                b" 5",
                b"5\xa0",
                b"4",
                b"5" * 16,
            )
        ),
        CHUNKED,
    ],
)
def test_a_body_that_breaks_off_is_no_shorter_one(data: bytes) -> None:
    found = answer(data)
    with pytest.raises(OSError, match=r"it closed|without a size|longer than"):
        found.read()
    found.close()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (CHUNKED + b"64\r\n" + b"x" * 100 + b"\r\n64\r\n" + b"x" * 100 + b"\r\n", "too large"),
        (OK + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 200, "too large"),
        (CHUNKED + b"0\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 70, "no end"),
    ],
)
def test_an_answer_without_end_is_not_read_to_it(
    monkeypatch: pytest.MonkeyPatch, data: bytes, why: str
) -> None:
    monkeypatch.setattr(answers, "WHOLE_MAX", 150)
    found = answer(data)
    with pytest.raises(OSError, match=why):
        found.read()
    found.close()


def client(data: bytes) -> Client:
    """Of a manager that says this to whatever it is asked."""
    here, there = socket.socketpair()
    with there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        return Client("somewhere", connect=lambda _: here)


def test_what_is_nested_without_end_is_no_document() -> None:
    nested = b"[" * 100_000
    manager = client(OK + b"Content-Length: %d\r\n\r\n" % len(nested) + nested)
    with pytest.raises(Trouble, match="not a JSON document"):
        manager.get("/v1/status")


def test_a_frame_of_output_that_no_manager_sends_is_not_waited_for() -> None:
    frame = FRAME.pack(1, FRAME_MAX + 1, 0)
    manager = client(OK + b"Content-Length: %d\r\n\r\n" % len(frame) + frame)
    with pytest.raises(Trouble, match="too large"):
        list(manager.output("/v1/jobs/j/output", {}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 fine\r\n\r\n",
        OK,
        *(
            OK + b"Content-Length:" + no + b"\r\n\r\nwhole"
            for no in (b"", b"-5", b"0x5", b"five", b"5 5")
        ),
        OK + b"\r\nup to the end",
        OK + b"X: " + b"y" * HEAD_MAX,
        OK + (b"X: " + b"y" * 1000 + b"\r\n") * 70,
    ],
)
def test_what_is_no_answer_is_none(data: bytes) -> None:
    here, there = socket.socketpair()
    with there:
        there.sendall(data)
    with here, pytest.raises(OSError, match=r"no answer|it closed|no end"):
        Answer(here)


def test_who_is_turned_away_before_all_is_sent_reads_why() -> None:
    here, there = socket.socketpair()
    there.sendall(OK.replace(b"200 OK", b"503 Busy") + b"Content-Length: 4\r\n\r\nfull")
    there.close()
    found = asked(here, "POST", "/v1/jobs", {"Content-Length": "9"}, iter([b"too", b" much"]))
    assert (found.status, found.read()) == (503, b"full")
    found.close()


def test_what_comes_behind_an_answer_is_another_protocols() -> None:
    found = answer(b"HTTP/1.1 101 Go On\r\nUpgrade: x\r\n\r\nahead")
    assert (found.status, found.headers["upgrade"], found.ahead()) == (101, "x", b"ahead")
    found.close()
