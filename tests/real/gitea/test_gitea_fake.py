"""The fake answers as the server does: the same calls to both, and what Mayfly reads is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.fakes.gitea import REGISTER, FakeGitea
from tests.real.gitea.real_server import GiteaServer

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.seen("gitea", "no new job", with_="server"),
]
BASE = "/api/v1/orgs/ourlab/actions"
READ, WRITE, NONE, WRONG = "read:organization", "write:organization", "", "f" * 40
LOOKS, RUNS = "read:repository", "write:repository"
REPOSITORY = "/api/v1/repos/ourlab/train"
HELLO = "on: workflow_dispatch\njobs:\n  hello:\n    runs-on: [nobody]\n    steps:\n      - run: 'true'\n"
SCOPES = (READ, WRITE, LOOKS, RUNS)


class Both:
    """The server and its fake, with the same people."""

    def __init__(self, server: GiteaServer, fake: FakeGitea) -> None:
        self._sides = (
            (server.url, {scope: server.token(scope) for scope in SCOPES}),
            (fake.url, {scope: fake.person(scope) for scope in SCOPES}),
        )

    def ask(
        self, method: str, path: str, scope: str = WRITE, body: object = None
    ) -> list[requests.Response]:
        """Both answers."""
        return [self.ask_one(side, method, path, scope, body) for side in (0, 1)]

    def ask_one(
        self, side: int, method: str, path: str, scope: str = WRITE, body: object = None
    ) -> requests.Response:
        """The answer of the server (0) or of the fake (1)."""
        url, tokens = self._sides[side]
        token = tokens.get(scope, scope)
        headers = {"Authorization": f"token {token}"} if token else {}
        return requests.request(method, url + path, json=body, headers=headers, timeout=30)

    def register(self, name: str, **more: object) -> list[requests.Response]:
        """A runner on both sides, each by its own registration token."""
        found = []
        for url, tokens in self._sides:
            headers = {"Authorization": f"token {tokens[WRITE]}"}
            path = f"{url}{BASE}/runners/registration-token"
            token = requests.post(path, headers=headers, timeout=30).json()["token"]
            assert len(token) == 40
            body = {"name": name, "token": token, "labels": ["gpu", "lab"], **more}
            found.append(requests.post(url + REGISTER, json=body, timeout=30))
        return found


@pytest.fixture(scope="module")
def both(server: GiteaServer) -> Iterator[Both]:
    server.make_repository("ourlab", "train")
    with FakeGitea() as fake:
        pushed = HELLO.replace("workflow_dispatch", "pull_request")
        fake.workflows = {"hello.yml": HELLO, "pushed.yml": pushed}
        for file, text in fake.workflows.items():
            server.add_workflow("ourlab/train", file, text)
        yield Both(server, fake)


def shape(value: object) -> Any:
    """What kinds of things stand where."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", f"{BASE}/runners", READ),
        ("GET", f"{BASE}/runners", WRITE),
        ("GET", f"{BASE}/runners", WRONG),
        ("GET", f"{BASE}/jobs?status=in_progress", READ),
        ("GET", "/api/v1/version", NONE),
        ("GET", "/.well-known/openid-configuration", NONE),
        ("POST", f"{BASE}/runners/registration-token", READ),
        ("GET", f"{BASE}/runners/987654321", READ),
        ("DELETE", f"{BASE}/runners/987654321", READ),
        ("DELETE", f"{BASE}/runners/987654321", WRITE),
        ("PATCH", f"{BASE}/runners/987654321", READ),
        ("GET", "/api/v1/admin/actions/runners", WRITE),
        ("GET", "/api/v1/user/actions/runners", WRITE),
        ("GET", "/api/v1/repos/ourlab/train/actions/jobs", WRITE),
        ("GET", "/api/v1/orgs/nobody/actions/runners", WRITE),
        ("GET", REPOSITORY, LOOKS),
        ("GET", f"{REPOSITORY}/actions/workflows", LOOKS),
        ("GET", f"{REPOSITORY}/actions/workflows", WRITE),
        ("GET", f"{REPOSITORY}/contents/.gitea/workflows/hello.yml", LOOKS),
        ("GET", f"{REPOSITORY}/contents/.gitea/workflows/nobody.yml", LOOKS),
        ("GET", f"{REPOSITORY}/actions/runs/987654321", LOOKS),
        ("GET", "/api/v1/orgs/ourlab/repos", READ),
        ("GET", "/api/v1/orgs/ourlab/repos", LOOKS),
    ],
)
def test_the_same_call_has_the_same_answer(both: Both, method: str, path: str, scope: str) -> None:
    body = {"disabled": True} if method == "PATCH" else None
    real, fake = both.ask(method, path, scope, body)
    assert real.status_code == fake.status_code
    if real.status_code == 200 and real.text.startswith("{"):
        told = shape(fake.json())
        assert told == {key: shape(real.json()).get(key) for key in told}
    elif real.status_code in (401, 403):
        assert real.json()["message"] == fake.json()["message"]


@pytest.mark.parametrize(
    ("file", "scope", "ref"),
    [
        ("hello.yml", LOOKS, "main"),
        ("hello.yml", RUNS, "nobranch"),
        ("nobody.yml", RUNS, "main"),
    ],
)
def test_a_workflow_that_is_not_run_is_refused_alike(
    both: Both, file: str, scope: str, ref: str
) -> None:
    path = f"{REPOSITORY}/actions/workflows/{file}/dispatches?return_run_details=true"
    real, fake = both.ask("POST", path, scope, {"ref": ref})
    assert (real.status_code, real.json()["message"]) == (fake.status_code, fake.json()["message"])


def test_a_workflow_is_run_by_hand_and_its_run_and_jobs_are_shown_alike(both: Both) -> None:
    path = f"{REPOSITORY}/actions/workflows/pushed.yml/dispatches?return_run_details=true"
    assert [one.status_code for one in both.ask("POST", path, RUNS, {"ref": "main"})] == [200, 200]
    path = f"{REPOSITORY}/actions/workflows/hello.yml/dispatches"
    replies = both.ask("POST", f"{path}?return_run_details=true", RUNS, {"ref": "main"})
    assert [reply.status_code for reply in replies] == [200, 200]
    assert shape(replies[0].json()) == shape(replies[1].json())
    for below in ("", "/jobs"):
        shown = []
        for side, reply in enumerate(replies):
            number = reply.json()["workflow_run_id"]
            at = f"{REPOSITORY}/actions/runs/{number}{below}"
            shown.append(both.ask_one(side, "GET", at, LOOKS).json())
        real, fake = map(shape, shown)
        if below:
            real, fake = real["jobs"][0], fake["jobs"][0]
        assert fake == {key: real.get(key) for key in fake}


def test_a_runner_is_registered_shown_disabled_and_deleted_alike(both: Both) -> None:
    real, fake = both.register("box-gpu-0", ephemeral=True, version="mayfly")
    assert (real.status_code, fake.status_code) == (200, 200)
    assert shape(real.json()) == shape(fake.json())
    assert real.json()["runner"]["labels"] == ["gpu", "lab"]
    ids = [int(reply.json()["runner"]["id"]) for reply in (real, fake)]
    listed = [reply.json() for reply in both.ask("GET", f"{BASE}/runners")]
    assert shape(listed[0]) == shape(listed[1])
    for side, number in enumerate(ids):
        path = f"{BASE}/runners/{number}"
        shown = both.ask_one(side, "GET", path).json()
        assert (shown["status"], shown["busy"], shown["ephemeral"]) == ("offline", False, True)
        changed = both.ask_one(side, "PATCH", path, WRITE, {"disabled": True})
        assert (changed.status_code, changed.json()["disabled"]) == (200, True)
        assert both.ask_one(side, "PATCH", path, WRITE, {}).status_code == 422
        assert both.ask_one(side, "DELETE", path).status_code == 204
        assert both.ask_one(side, "DELETE", path).status_code == 404


def test_what_registers_nothing_is_told_alike(both: Both) -> None:
    for body in (
        {"name": "x", "token": "wrong", "ephemeral": True},
        {"name": "x", "token": ""},
        {"name": "", "token": "wrong"},
    ):
        real, fake = both.ask("POST", REGISTER, NONE, body)
        assert real.status_code == fake.status_code == 500
        assert real.json() == fake.json()


def test_a_good_token_is_refused_while_the_database_fails(server: GiteaServer) -> None:
    """Which is why Mayfly asks again before it takes a token for a bad one."""
    assert server.call("GET", "/user").status_code == 200
    with server.without_tokens():
        reply = server.call("GET", "/user")
        assert reply.status_code == 401
        assert reply.json()["message"] == "invalid username, password or token"
    assert server.call("GET", "/user").status_code == 200
