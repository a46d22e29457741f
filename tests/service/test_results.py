"""The results of a job, over the socket: for its owner and for operators, once they are there."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mayfly.core.commands import Caller
from mayfly.core.model import Generation
from mayfly.edge.http_connection import HttpReply, Request
from mayfly.edge.results import Taken
from tests.service.conftest import Ask
from tests.service.standin import StandIn, job

AGENT = "0123456789abc"
KEPT = {"files": 1, "size": 4, "left_out": ["x: there is no such file or directory"]}


def ended(**other: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"state": "failed", "agent": AGENT, "started": 1.0, "finished": 2.0}
    return dict(job("j1", **(told | {"out": ["a", "x"]} | other)))


@pytest.fixture
def kept(manager: StandIn) -> None:
    """Something is kept of the agent."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("a")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"data"))

    @contextmanager
    def take(path: str) -> Iterator[Taken]:
        yield Taken(path, iter((made.getvalue(),)))

    manager.results.keep(Generation(AGENT), ("a",), take)


@pytest.mark.usefixtures("kept")
def test_what_was_kept_comes_as_a_tar_and_the_job_says_what_is_in_it(
    manager: StandIn, ask: Ask
) -> None:
    manager.account.rows["j1"] = ended(results=KEPT)
    told = {"state": "kept", "files": 1, "bytes": 4, "left_out": KEPT["left_out"]}
    assert ask("GET", "/v1/jobs/j1").json["results"] == told
    answer = ask("GET", "/v1/jobs/j1/results")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(answer.data)) as archive:
        assert archive.getnames() == ["0"]


@pytest.mark.usefixtures("kept")
def test_results_that_are_being_taken_are_waited_for(manager: StandIn, ask: Ask) -> None:
    manager.account.rows["j1"] = ended()
    assert ask("GET", "/v1/jobs/j1").json["results"]["state"] == "awaited"
    assert ask("GET", "/v1/jobs/j1/results").status == 204
    found: list[int] = []
    waits = Thread(target=lambda: found.append(ask("GET", "/v1/jobs/j1/results?wait=60").status))
    waits.start()
    manager.account.rows["j1"] = ended(results=KEPT)
    waits.join(30)
    assert found == [200]


@pytest.mark.parametrize(
    ("row", "status", "state"),
    [
        (ended(out=[]), 409, None),
        (ended(results=KEPT), 404, "kept"),  # and thrown away since
        (ended(started=None), 404, "never"),
        (ended(agent=None, results=KEPT), 404, "kept"),
    ],
)
def test_what_is_not_there_is_told(
    manager: StandIn, ask: Ask, row: dict[str, Any], status: int, state: str | None
) -> None:
    manager.account.rows["j1"] = row
    assert (ask("GET", "/v1/jobs/j1").json["results"] or {}).get("state") == state
    answer = ask("GET", "/v1/jobs/j1/results")
    assert answer.status == status
    assert answer.json["kind"] == {409: "refused", 404: "no_results"}[status]
    assert ask("GET", "/v1/jobs/nope/results").json["kind"] == "no_such_job"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("uid", "operator", "status"), [(7, False, 200), (8, False, 403), (8, True, 200)]
)
def test_nobody_but_its_owner_and_operators_gets_them(
    manager: StandIn, uid: int, operator: bool, status: int
) -> None:
    manager.account.rows["j1"] = ended(results=KEPT)
    manager.account.owners["j1"] = 7
    by = Caller(1, uid, uid, f"u{uid}", operator)
    reply = manager.control.respond(Request("GET", "/v1/jobs/j1/results", {}, b"", by))
    assert isinstance(reply, HttpReply)
    assert reply.status == status
    close: Callable[[], None] = getattr(reply.data, "close", lambda: None)
    close()
    assert isinstance(manager.path, Path)
