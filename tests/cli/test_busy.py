"""A busy signal is not an answer: whoever is turned away comes again, and nobody is told what is not so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mayfly.cli.client import Client, Piece
from mayfly.cli.following import follow_job
from mayfly.cli.trouble import Busy, Down, Trouble
from mayfly.cli.verbs_jobs import _print_slot
from mayfly.cli.verbs_status import await_status
from mayfly.edge.unix_http import CONNECTIONS
from mayfly.service.control import LONG_POLLS
from tests.cli.test_jobs import Runs, runs  # noqa: F401  a fixture
from tests.harness import until
from tests.service.standin import StandIn, slot, status

Start = Callable[..., "subprocess.Popen[bytes]"]

# What another user asks twenty times, in turn, without a second try.
ANOTHER = """\
import http.client, os, socket, sys
os.setuid(65534)
for _ in range(20):
    asked = http.client.HTTPConnection("mayfly")
    asked.sock = socket.socket(socket.AF_UNIX)
    asked.sock.connect(sys.argv[1])
    asked.request("GET", "/v1/status")
    print(asked.getresponse().status)
    asked.close()
"""


@contextmanager
def full_of_root(path: Path) -> Iterator[list[socket.socket]]:
    """Every connection that root may have is taken."""
    held = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS.of_root)]
    for one in held:
        one.connect(str(path))
    try:
        yield held
    finally:
        for one in held:
            one.close()


@pytest.mark.long
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_150_wait_and_another_user_is_served(manager: StandIn, runs: Runs) -> None:  # noqa: F811
    runs.row(state="queued")
    runs.starts()
    runs.prints(b"one\n")
    manager.account.slots[("local-0", False)] = "g1"
    manager.publish(status(slot("local-0", phase="busy", job="j1"), slot("local-1")))
    manager.path.chmod(0o666)
    manager.path.parent.chmod(0o711)
    path = str(manager.path)
    jobs: list[list[bytes]] = [[] for _ in range(100)]
    slots: list[list[bytes]] = [[] for _ in range(25)]

    def submitter(came: list[bytes]) -> object:
        def sink(piece: Piece) -> None:
            came.append(piece.data)

        return follow_job(Client(path), "j1", sink)["state"]

    def looker(came: list[bytes]) -> object:
        return _print_slot(Client(path), "local-0", True, False, lambda p: came.append(p.data))

    def waiter() -> object:
        def left(document: dict[str, object]) -> str | None:
            return None if document["headline"] == "over" else "not over"

        return await_status(Client(path), left, None)["headline"]

    with ThreadPoolExecutor(150) as many:
        ends = [
            *(many.submit(submitter, came) for came in jobs),
            *(many.submit(looker, came) for came in slots),
            *(many.submit(waiter) for _ in range(25)),
        ]
        taken = manager.control._places._taken
        until(lambda: taken[0] == LONG_POLLS.of_root, "all places are taken")
        until(lambda: all(jobs), "each waiter of the job has what it printed")
        seen = subprocess.run(
            [sys.executable, "-c", ANOTHER, manager.path.name],
            capture_output=True, text=True, check=False, cwd=manager.path.parent,
        )  # fmt: skip
        assert seen.stdout.split() == ["200"] * 20, seen.stderr
        assert Client(path).get("/v1/status")["headline"]
        runs.prints(b"two\n")
        runs.ends()
        manager.publish(status(slot("local-0"), slot("local-1"), headline="over"))
        found = [end.result(timeout=180) for end in ends]
    assert found == ["succeeded"] * 100 + [True] * 25 + ["over"] * 25
    assert {b"".join(came) for came in [*jobs, *slots]} == {b"one\ntwo\n"}


@pytest.mark.skipif(os.getuid() != 0, reason="the bound tried is root's")
def test_a_verb_waits_for_a_place_and_says_so_once(manager: StandIn, start: Start) -> None:
    with full_of_root(manager.path):
        asked = start("status", "--json")
        assert asked.stderr is not None
        said = asked.stderr.readline().decode()
        assert said == (
            "mayfly: the manager serves as many clients as it may, or as one user may have; trying again\n"
        )
    out, more = asked.communicate(timeout=60)
    assert (asked.returncode, more) == (0, b"")
    assert b"mayfly.status/1" in out


@pytest.mark.skipif(os.getuid() != 0, reason="the bound tried is root's")
def test_who_would_follow_is_told_at_once_that_the_manager_is_busy(manager: StandIn) -> None:
    with full_of_root(manager.path), pytest.raises(Busy):
        list(Client(str(manager.path)).output("/v1/slots/local-0/output", {"follow": 1}))


def test_a_manager_that_lets_nobody_in_for_now_is_not_called_down(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as never_accepts, socket.socket(socket.AF_UNIX) as first:
        never_accepts.bind(str(path))
        never_accepts.listen(0)
        first.connect(str(path))
        with pytest.raises(Busy, match="lets nobody more in for now"):
            list(Client(str(path)).output("/v1/slots/local-0/output", {"follow": 1}))


def test_only_where_nobody_listens_it_is_said_that_none_runs(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with pytest.raises(Down, match="is not running"):
        Client(str(path)).get("/v1/status")
    with socket.socket(socket.AF_UNIX) as breaks_off:
        breaks_off.bind(str(path))
        breaks_off.listen()
        with ThreadPoolExecutor(1) as one:
            asked = one.submit(Client(str(path)).get, "/v1/status")
            breaks_off.accept()[0].close()
            with pytest.raises(Down, match="broke off its answer"):
                asked.result(timeout=30)


def test_a_refusal_that_breaks_off_is_no_bug_where_another_protocol_was_asked_for(
    tmp_path: Path,
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as breaks_off, ThreadPoolExecutor(1) as one:
        breaks_off.bind(str(path))
        breaks_off.listen()
        asked = one.submit(Client(str(path)).upgraded, "/v1/jobs/j1/attach", {}, "mayfly")
        with breaks_off.accept()[0] as connection:
            assert connection.recv(4096).startswith(b"POST /v1/jobs/j1/attach")
            connection.sendall(b'HTTP/1.1 404 No\r\nContent-Length: 99\r\n\r\n{"error": "there')
        with pytest.raises(Down, match="broke off its answer"):
            asked.result(timeout=30)


def test_who_sends_too_much_is_told_that_and_not_that_no_manager_runs(manager: StandIn) -> None:
    with pytest.raises(Trouble, match="the body is longer than 1 MiB"):
        Client(str(manager.path)).post("/v1/jobs", {"argv": ["x" * 120_000] * 100})
