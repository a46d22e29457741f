"""Who comes in by the users' door submits, reads how things stand, and sees and ends what is theirs."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.core.commands import CancelJobs, SubmitJob
from mayfly.edge import http_connection
from mayfly.edge.unix_http import USERS, admit
from mayfly.service import control
from mayfly.service.control import LISTS, Control
from tests.service.conftest import connect
from tests.service.standin import StandIn, job, run

OWN = os.getuid()


@pytest.fixture
def door(manager: StandIn, tmp_path: Path) -> Iterator[Path]:
    """The manager's door for users, and a job of theirs and one of somebody else in its slots."""
    path = tmp_path / "users.sock"
    server = manager.control.open(path, USERS)
    server.start()
    for name, owner, agent in (("mine", OWN, "g1"), ("other", OWN + 1, "g2"), ("old", None, "g3")):
        manager.account.rows[name] = job(name, agent=agent, argv=["secret"], state="running")
        if owner is not None:
            manager.account.owners[name] = owner
        manager.account.prints(agent, b"printed\n")
        manager.account.ends(agent)
    manager.account.runs = {"r1": run("r1", uid=OWN), "r2": run("r2", uid=OWN + 1)}
    for name in ("mine", "other"):
        manager.account.rows[name] |= {"out": ["results"]}
    manager.account.slots |= {("local-0", False): "g1", ("local-1", False): "g2"}
    yield path
    server.close()


def asked(door: Path, method: str, path: str, body: object = None) -> tuple[int, str]:
    """The status and the kind of an answer."""
    client = http.client.HTTPConnection("mayfly", timeout=30)
    client.sock = connect(door)
    client.request(method, path, None if body is None else json.dumps(body).encode())
    response = client.getresponse()
    data = response.read()
    client.close()
    return response.status, json.loads(data)["kind"] if response.status >= 400 else ""


# What each path answers a user: all of them stand here.
ANSWERS = {
    "GET /v1/version": 200,
    "GET /v1/idle": 200,
    "GET /v1/openapi.json": 200,
    "GET /v1/status": 200,
    "GET /v1/jobs": 200,
    "GET /v1/jobs/mine": 200,
    "GET /v1/jobs/other": 403,
    "GET /v1/jobs/old": 403,
    "GET /v1/jobs/mine/output": 200,
    "GET /v1/jobs/other/output": 403,
    "GET /v1/jobs/other/output?follow=1": 403,
    "GET /v1/jobs/mine/results": 204,
    "GET /v1/jobs/other/results": 403,
    "GET /v1/slots/local-0/output": 200,
    "GET /v1/slots/local-1/output": 403,
    "GET /v1/reservations": 200,
    "GET /v1/runs": 200,
    "GET /v1/runs/r1": 200,
    "GET /v1/events": 200,
    "GET /v1/history": 200,
    "GET /v1/gpus": 200,
    "GET /v1/report": 200,
    "GET /v1/top": 200,
    "GET /v1/recording": 403,
    "GET /v1/metrics": 200,
}


@pytest.mark.parametrize("request_line", ANSWERS)
def test_a_user_reads_how_things_stand_and_of_jobs_what_is_theirs(
    door: Path, request_line: str
) -> None:
    method, path = request_line.split()
    status, kind = asked(door, method, path)
    assert status == ANSWERS[request_line]
    assert kind == ("forbidden" if status == 403 else "")


def test_a_list_shows_what_they_run_and_how_it_differs_to_their_owners_and_to_operators(
    manager: StandIn, door: Path
) -> None:
    for name, owner in (("mine", OWN), ("other", OWN + 1), ("old", None)):
        manager.account.rows[name] |= {"uid": owner, "command": "id", "variant": "SEED=1"}

    def shown(path: Path) -> dict[str, tuple[str | None, str | None]]:
        client = http.client.HTTPConnection("mayfly", timeout=30)
        client.sock = connect(path)
        client.request("GET", "/v1/jobs")
        rows = json.loads(client.getresponse().read())["jobs"]
        client.close()
        assert not any("uid" in row for row in rows)
        return {row["job"]: (row["command"], row["variant"]) for row in rows}

    whole, hidden = ("id", "SEED=1"), (None, None)
    assert shown(door) == {"mine": whole, "other": hidden, "old": hidden}
    assert shown(manager.path) == {"mine": whole, "other": whole, "old": whole}


def test_what_the_commit_of_a_run_says_is_for_its_owner_and_operators(
    manager: StandIn, door: Path
) -> None:
    def shown(path: Path) -> dict[str, str | None]:
        client = http.client.HTTPConnection("mayfly", timeout=30)
        client.sock = connect(path)
        client.request("GET", "/v1/runs")
        rows = json.loads(client.getresponse().read())["runs"]
        client.close()
        assert not any("uid" in row for row in rows)
        return {row["run"]: row["subject"] for row in rows}

    assert shown(door) == {"r1": "Train longer", "r2": None}
    assert shown(manager.path) == {"r1": "Train longer", "r2": "Train longer"}


def test_every_path_that_is_read_stands_in_the_table() -> None:
    reads = {route.path for route in Control.ROUTES if route.body is None}
    named = {line.split()[1].partition("?")[0] for line in ANSWERS}
    assert reads == {
        path.replace("/mine", "/{job}").replace("/r1", "/{run}").replace("/local-0", "/{slot}")
        for path in named
        if not {"other", "old", "local-1"} & set(path.split("/"))
    }


def test_whose_commands_they_are_is_known_where_they_are_judged(
    manager: StandIn, door: Path
) -> None:
    assert asked(door, "POST", "/v1/jobs", {"argv": ["id"]}) == (200, "")
    assert asked(door, "POST", "/v1/jobs/mine/cancel") == (200, "")
    assert asked(manager.path, "POST", "/v1/jobs/mine/cancel") == (200, "")
    submit, cancel, operators = manager.commands
    assert isinstance(submit, SubmitJob)
    assert isinstance(cancel, CancelJobs)
    assert (submit.by.uid, submit.by.operator, cancel.by.operator) == (OWN, False, False)
    assert replace(cancel, by=operators.by) == operators
    assert operators.by.operator


def test_a_group_is_admitted_where_the_file_may_not_be_given_to_it(door: Path) -> None:
    """As in the unit, which has no power over owners; whoever is of no such group stays out."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    for parent in list(door.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    try:
        admit(door, 54321)
    except OSError as error:
        pytest.skip(f"no lists of access here: {error.strerror}")
    script = (
        "import os, socket, sys\n"
        "os.setgroups([int(sys.argv[2])]); os.setgid(65534); os.setuid(65534)\n"
        "socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    )
    for group, code in ((54321, 0), (54322, 1)):
        words = [sys.executable, "-c", script, str(door), str(group)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr


def test_users_keep_no_operator_out(manager: StandIn, door: Path) -> None:
    """Each door has places of its own."""
    held = [connect(door) for _ in range(USERS.bounds.all)]
    assert asked(door, "GET", "/v1/version")[0] == 503
    assert asked(manager.path, "GET", "/v1/version")[0] == 200
    for connection in held:
        connection.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be other users")
def test_slow_clients_of_several_users_keep_no_other_user_out(
    door: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "READ_SECONDS", 600.0)
    door.chmod(0o666)
    door.parent.chmod(0o711)
    slow, users = b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", USERS.bounds
    script = f"""
import os, socket
def connected(user, said):
    os.seteuid(user)
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(60)
    one.connect({door.name!r})
    os.seteuid(0)
    one.sendall(said)
    return one
places = range({users.all - users.kept_for_root})
door = [connected(65000 + n // {users.of_one}, (b"GET", {slow!r})[n % 2]) for n in places]
asked = connected(65100, b"GET /v1/version HTTP/1.1\\r\\n\\r\\n")
print(asked.recv(12).decode(), door[0].recv(12).decode())
"""
    words = [sys.executable, "-c", script]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=door.parent, timeout=120
    )
    assert done.stdout == "HTTP/1.1 200 HTTP/1.1 503\n", done.stderr


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/history"])
def test_lists_of_users_keep_no_operator_from_one_and_no_user_waiting_for_ever(
    manager: StandIn, door: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(control, "LIST_SECONDS", 1.0)
    account, answers = manager.account, []

    def ask() -> None:
        answers.append(asked(door, "GET", "/v1/jobs"))

    account.held_lists = LISTS
    asking = [threading.Thread(target=ask) for _ in range(LISTS)]
    for thread in asking:
        thread.start()
    try:
        with account.changed:
            assert account.changed.wait_for(lambda: account.waiting_lists == LISTS, 60)
        assert asked(door, "GET", path) == (503, "busy")
        assert asked(door, "GET", "/v1/jobs/mine") == (200, ""), "one job is no list"
        assert asked(manager.path, "GET", path) == (200, "")
    finally:
        with account.changed:
            account.held_lists = 0
            account.changed.notify_all()
        for thread in asking:
            thread.join()
    assert answers == [(200, "")] * LISTS
    assert asked(door, "GET", path) == (200, "")
