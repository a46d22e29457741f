"""Gitea's own server: booted with SQLite, asked by its own command line and API.

    with GiteaServer(parts(), home) as server:
        token = server.token("all")
        server.post("/orgs", {"username": "ourlab"})

`scripts/real` builds it and says where it is. Nothing here knows Mayfly.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import requests

from tests.harness import until

ROOT = Path(__file__).parents[3]
UNAVAILABLE = 75  # what scripts/real ends with where a registry does not give the parts
PERSON, PASSWORD = "ann", "a long enough password"
WORKFLOW = """on:
  workflow_dispatch:
    inputs:
      script: {type: string}
      label: {type: string, default: gpu}
      minutes: {type: string, default: "600"}
jobs:
  job:
    runs-on: ["${{ inputs.label }}"]
    timeout-minutes: ${{ fromJSON(inputs.minutes) }}
    steps:
      - run: ${{ inputs.script }}
"""
_INI = """APP_NAME = Gitea under test
RUN_MODE = prod
WORK_PATH = {home}
[server]
PROTOCOL = http
HTTP_ADDR = {address}
HTTP_PORT = {port}
ROOT_URL = http://{address}:{port}/
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = {home}/gitea.db
SQLITE_JOURNAL_MODE = WAL
SQLITE_TIMEOUT = 5000
[repository]
ROOT = {home}/repositories
[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
[service]
DISABLE_REGISTRATION = true
[session]
PROVIDER = memory
[indexer]
ISSUE_INDEXER_TYPE = db
[log]
MODE = console
LEVEL = Warn
[actions]
ENABLED = true
DEFAULT_ACTIONS_URL = self
ZOMBIE_TASK_TIMEOUT = {zombie}s
ENDLESS_TASK_TIMEOUT = {endless}s
[cron.stop_zombie_tasks]
ENABLED = true
RUN_AT_START = true
SCHEDULE = @every 2s
[cron.stop_endless_tasks]
ENABLED = true
RUN_AT_START = true
SCHEDULE = @every 2s
"""


@dataclass(frozen=True)
class Parts:
    """What `scripts/real` has built."""

    server: Path
    runner: Path
    static: Path


def parts() -> Parts:
    """Built, or the test that asks is skipped and says so: a registry did not give them, or (REAL=there) they
    were not built before.
    """
    there = ["--there"] if os.environ.get("REAL") == "there" else []
    words = [str(ROOT / "scripts/real"), *there]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == UNAVAILABLE:
        said = done.stderr.strip().splitlines() or ["building it takes up to fifteen minutes"]
        pytest.skip(f"no Gitea here: {said[-1]}")
    assert done.returncode == 0, done.stderr
    place = Path(done.stdout.strip())
    return Parts(place / "gitea", place / "gitea-runner", place / "static")


class GiteaServer:
    """One server, with an administrator; it may be stopped and go on."""

    def __init__(
        self,
        built: Parts,
        home: Path,
        *,
        zombie: int = 600,
        endless: int = 10_800,
        address: str = "127.0.0.1",
    ) -> None:
        """``zombie`` and ``endless``: seconds after which it gives a silent job up, and ends any."""
        self._built, self.home = built, home
        with socket.create_server((address, 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://{address}:{self.port}"
        self._ini = home / "app.ini"
        keys = {"home": home, "address": address, "port": self.port, "static": built.static}
        self._ini.write_text(
            _INI.format(**keys, secret=secrets.token_hex(32), zombie=zombie, endless=endless)
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._session = requests.Session()
        self._token = ""

    def __enter__(self) -> Self:
        self.command("migrate")
        self.start()
        words = ("admin", "user", "create", "--admin", "--username", PERSON, "--password", PASSWORD)
        more = ("--email", "ann@lab.example", "--must-change-password=false")
        self.command(*words, *more)
        self._token = self.token("all")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        return {
            **kept,
            "GITEA_WORK_DIR": str(self.home),
            "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true",
        }

    def command(self, *words: str) -> str:
        """What its own command line prints."""
        done = subprocess.run(
            [self._built.server, "--config", self._ini, *words],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """Boot it, and wait until it answers."""
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._built.server, "--config", self._ini, "web"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, "Gitea answers", 60)

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/api/healthz", timeout=5).status_code == 200
        return False

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """End it; what it knows is on disk."""
        if self._process is not None:
            self._process.send_signal(sig)
            self._process.wait(60)
            self._process = None

    # -- its API ---------------------------------------------------------------------------------------

    def token(self, scopes: str) -> str:
        """A new token of the administrator's, with those scopes."""
        name = secrets.token_hex(4)
        words = ("admin", "user", "generate-access-token", "--username", PERSON, "--raw")
        said = self.command(*words, "--token-name", name, "--scopes", scopes)
        # What else it says (of a slow query, say) comes on the same stream.
        (found,) = re.findall(r"^[0-9a-f]{40}$", said, re.MULTILINE)
        return str(found)

    def call(
        self, method: str, path: str, body: object = None, token: str | None = None
    ) -> requests.Response:
        """One call of its API."""
        given = self._token if token is None else token
        return self._session.request(
            method,
            f"{self.url}/api/v1{path}",
            json=body,
            headers={"Authorization": f"token {given}"} if given else {},
            timeout=30,
        )

    def get(self, path: str) -> Any:
        """What it answers to one GET."""
        reply = self.call("GET", path)
        assert reply.status_code == 200, f"{path}: {reply.status_code} {reply.text}"
        return reply.json()

    def post(self, path: str, body: object) -> Any:
        """What it answers to one POST."""
        reply = self.call("POST", path, body)
        assert reply.status_code in (200, 201, 204), f"{path}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None

    def make_repository(self, owner: str, name: str) -> str:
        """A repository with a workflow whose job runs any script; its full name."""
        if owner != PERSON and self.call("GET", f"/orgs/{owner}").status_code != 200:
            self.post("/orgs", {"username": owner})
        self.post(
            "/user/repos" if owner == PERSON else f"/orgs/{owner}/repos",
            {"name": name, "auto_init": True, "default_branch": "main"},
        )
        self.add_workflow(f"{owner}/{name}", "job.yml", WORKFLOW)
        return f"{owner}/{name}"

    def add_workflow(self, repository: str, file: str, text: str) -> None:
        """A commit on its branch `main` that brings a file of workflows."""
        self.post(
            f"/repos/{repository}/contents/.gitea/workflows/{file}",
            {
                "content": base64.b64encode(text.encode()).decode(),
                "branch": "main",
                "message": f"add {file}",
            },
        )

    def dispatch(self, repository: str, script: str, **inputs: str) -> int:
        """A run of that script; its id."""
        return self.run(repository, "job.yml", {"script": script, **inputs})

    def run(self, repository: str, file: str, inputs: dict[str, str] | None = None) -> int:
        """A run of that workflow, as its button on the page of Actions begins one; its id."""
        path = f"/repos/{repository}/actions/workflows/{file}/dispatches?return_run_details=true"
        made = self.post(path, {"ref": "main", "inputs": inputs or {}})
        return int(made["workflow_run_id"])

    def jobs(self, repository: str, run: int) -> list[dict[str, Any]]:
        """All jobs of that run."""
        found: list[dict[str, Any]] = self.get(f"/repos/{repository}/actions/runs/{run}/jobs")[
            "jobs"
        ]
        return found

    def job(self, repository: str, run: int) -> dict[str, Any]:
        """The one job of that run."""
        (job,) = self.jobs(repository, run)
        return job

    def log_of(self, repository: str, run: int) -> str:
        """What the job of that run has printed, as Gitea has it."""
        return self.log_of_job(repository, self.job(repository, run)["id"])

    def log_of_job(self, repository: str, number: int) -> str:
        """The same of the job of that id."""
        reply = self.call("GET", f"/repos/{repository}/actions/jobs/{number}/logs")
        return reply.text if reply.status_code == 200 else ""

    @contextmanager
    def without_tokens(self) -> Iterator[None]:
        """Its database fails it meanwhile where it looks a token up."""
        self._in_database("ALTER TABLE access_token RENAME TO away")
        try:
            yield
        finally:
            self._in_database("ALTER TABLE away RENAME TO access_token")

    def _in_database(self, statement: str) -> None:
        with closing(sqlite3.connect(self.home / "gitea.db", timeout=30)) as database:
            database.execute(statement)
            database.commit()

    def revoke(self, token: str) -> None:
        """Take a token back, as its owner does it."""
        owner = (PERSON, PASSWORD)
        kept = requests.get(f"{self.url}/api/v1/users/{PERSON}/tokens", auth=owner, timeout=30)
        (number,) = (one["id"] for one in kept.json() if token.endswith(one["token_last_eight"]))
        path = f"{self.url}/api/v1/users/{PERSON}/tokens/{number}"
        reply = requests.delete(path, auth=owner, timeout=30)
        assert reply.status_code == 204, reply.text

    def cancel(self, repository: str, run: int) -> None:
        """As a person does it, with the form on its page: there is no call for it."""
        web = requests.Session()
        page = web.get(f"{self.url}/user/login", timeout=30)
        found = re.search(r'name="_csrf" value="([^"]*)"', page.text)
        token = found[1] if found is not None else ""
        form = {"user_name": PERSON, "password": PASSWORD, "_csrf": token}
        web.post(f"{self.url}/user/login", data=form, timeout=30)
        run_page = str(self.job(repository, run)["html_url"]).rpartition("/jobs/")[0]
        headers = {"X-Csrf-Token": web.cookies.get("_csrf", "")}
        reply = web.post(f"{run_page}/cancel", headers=headers, timeout=30)
        assert reply.status_code == 200, f"{reply.status_code} {reply.text[:300]}"
