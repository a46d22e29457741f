"""A fake GitHub: the REST calls that a manager makes, and the protocol that a runner speaks (V2).

    python -m tests.fakes.github --port 8080

serves the organisation `acme` (its repository `acme/app`, its runner group `gpu`) as a GitHub Enterprise
Server does, with the API below `/api/v3`; the token is `ghp_good`. `POST /_fake/jobs` with
`{"script": …, "labels": […]}` queues a job, `GET /_fake/state` shows everything.

Times that GitHub takes are attributes, in seconds, and are as long as GitHub's by default. What it does wrong
on order, beside the faults of every fake: idle registrations that it takes back (`idle_expiry`), lists that
are old (`stale`), runners that it finds too old (`minimum_version`), jobs whose runner vanished (`abandon`),
runners that it lists no more and lets poll on (`forget`), jobs that never reach their runner (`give`).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.fakes import github_documents as documents
from tests.fakes.github_runner import VERSION
from tests.fakes.github_workflows import Workflows
from tests.fakes.http import Answer, Call, Fake, Wait, serve

API = "/api/v3"
BROKER = "/broker"
RUN = "/run"
JIT_MOST = 100
DOCS = "https://docs.example/rest"


@dataclass(slots=True)
class Runner:
    """A registered runner."""

    id: int
    scope: str
    name: str
    group: int
    labels: list[str]
    client: str
    proof: str  # the private part of its key
    made: float
    version: str | None = None
    seen: float | None = None  # None: never connected
    session: str | None = None
    idle_since: float | None = None
    job: Job | None = None
    jit: bool = True
    token: str = ""


@dataclass(slots=True)
class Job:
    """A job of a workflow, from its queue to its result."""

    id: str
    number: int
    name: str
    script: str
    labels: list[str]
    state: str = "queued"  # queued assigned running completed
    conclusion: str | None = None
    runner: str | None = None
    acquired: int = 0  # how often a runner has begun it
    completed: int = 0
    assigned_at: float = 0.0
    renewed: float = 0.0
    log: str = ""
    hooks: str = ""  # the log of the steps that the runner's own hooks are
    repo: str = "acme/app"
    event: str = "push"
    workflow: str = "test.yml"
    runner_id: int | None = None  # of the runner that has it or had it
    began: float | None = None
    ended: float | None = None
    queued_at: float = field(default_factory=time.time)
    plan: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def run(self) -> int:
        """The number of the workflow run that it is the only job of."""
        return 9000 + self.number


@dataclass(slots=True)
class Token:
    """What a token may do."""

    runners: str = "write"  # write, read, none
    expires: float | None = None
    actions: str = "write"  # as ``runners``, of workflow runs
    contents: str = "read"  # as ``runners``, of files
    app: bool = False  # it is an App's, which may look at a repository whatever else it may


class FakeGitHub(Fake):
    """The service, with one organisation, its repositories, and whatever a test sets."""

    def __init__(self) -> None:
        super().__init__()
        # What there is.
        self.orgs = {"acme"}
        self.enterprises = {"works"}
        self.repos: dict[str, dict[str, Any]] = {"acme/app": {"id": 501, "private": True}}
        self.renamed: dict[str, str] = {}  # old full name -> new full name
        # What there is to run: of a repository, file -> its text.
        self.workflows: dict[str, dict[str, str]] = {}
        self.disabled_workflows: set[str] = set()
        self.groups: dict[int, dict[str, Any]] = {
            1: {"name": "Default", "allows_public_repositories": False},
            2: {"name": "GitHub Actions", "allows_public_repositories": False},
            3: {"name": "gpu", "allows_public_repositories": False},
        }
        self.tokens: dict[str, Token] = {"ghp_good": Token()}
        self.apps: dict[str, tuple[int, int]] = {}  # App id -> its public key, (modulus, exponent)
        self.installed: dict[str, int] = {"acme": 71}  # account -> installation
        self.suspended = False
        self.app_permissions = {
            "organization_self_hosted_runners": "write",
            "administration": "write",
        }
        # How it behaves.
        self.hands_out = VERSION  # the newest runner
        self.checksum: str | None = "a" * 64  # of its archives; None: it does not tell
        self.deprecated: dict[str, str] = {}  # version -> when an enterprise's is refused
        self.jit = True
        self.server_version: str | None = "3.19.0"
        self.stale = 0.0  # seconds that a list may be old
        self.hold = 50.0  # of a long poll
        self.pickup = 60.0  # an assigned job that is not begun goes back to the queue
        self.silence = 90.0  # a runner that does not poll is offline
        self.abandon = 600.0  # a job whose runner is silent fails
        self.token_life = 3600.0
        self.idle_expiry: float | None = None
        self.minimum_version: str | None = None
        self.hourly = 5000
        self.agents_url: str | None = None  # where containers reach us; None: where we answer
        # What has come of it.
        self.runners: dict[int, Runner] = {}
        self.jobs: list[Job] = []
        self.registered = 0
        self.issued: dict[str, str] = {}  # every secret that it gave to anybody, by what it is
        self._ids = itertools.count(1001)
        self._forgotten: list[Runner] = []
        self._registration_tokens: dict[str, tuple[str, float]] = {}
        self._lists: dict[str, tuple[float, Answer]] = {}
        self._used = 0
        self._window = time.time() + 3600
        self._limited_until = 0.0
        self._routes_all()

    # -- what tests ask ------------------------------------------------------------

    def queue(
        self, script: str, labels: tuple[str, ...] = ("self-hosted", "gpu"), name: str = ""
    ) -> Job:
        """Queue a job."""
        with self.lock:
            number = len(self.jobs) + 1
            job = Job(
                str(uuid.uuid4()),
                number,
                name or f"test ({number})",
                script,
                [x.lower() for x in labels],
            )
            self.jobs.append(job)
            self.lock.notify_all()
            return job

    def runner(self, name_or_id: str | int) -> Runner | None:
        """The registered runner."""
        with self.lock:
            for runner in self.runners.values():
                if name_or_id in (runner.name, runner.id, str(runner.id)):
                    return runner
        return None

    def connect(self, name_or_id: str | int) -> None:
        """Have a runner listen, as if its client had opened a session; it stays online."""
        with self.lock:
            runner = self.runner(name_or_id)
            assert runner is not None
            runner.session, runner.seen, runner.version = str(uuid.uuid4()), float("inf"), VERSION
            runner.idle_since = time.monotonic()

    def disconnect(self, name_or_id: str | int) -> None:
        """Have its client be gone without a word."""
        with self.lock:
            runner = self.runner(name_or_id)
            assert runner is not None
            runner.seen = float("-inf")

    def forget(self, name_or_id: str | int) -> None:
        """Take a registration away and let its client go on polling, as after a job that another one got."""
        with self.lock:
            runner = self.runner(name_or_id)
            assert runner is not None
            self._remove(runner)
            self._forgotten.append(runner)

    def give(self, name_or_id: str | int) -> Job:
        """Have it run a job."""
        with self.lock:
            runner = self.runner(name_or_id)
            assert runner is not None
            job = self.queue("true", tuple(runner.labels))
            job.state, job.runner, job.acquired, job.renewed = (
                "running",
                runner.name,
                1,
                float("inf"),
            )
            job.runner_id, job.began = runner.id, time.time()
            runner.job = job
            return job

    def finish(self, job: Job, conclusion: str = "succeeded") -> None:
        """Have its job end, and the registration with it."""
        with self.lock:
            for runner in list(self.runners.values()):
                if runner.job is job:
                    self._remove(runner)
            job.state, job.conclusion, job.completed = "completed", conclusion, job.completed + 1
            job.ended = time.time()
            self.lock.notify_all()

    def take_back(self, job: Job) -> None:
        """Have it not begun after all: its runner goes on without it."""
        with self.lock:
            for runner in self.runners.values():
                if runner.job is job:
                    runner.job = None
            job.state, job.conclusion = "completed", "cancelled"
            self.lock.notify_all()

    def renew_lists(self) -> None:
        """Forget old lists."""
        with self.lock:
            self._lists.clear()

    def show_old_lists(self, seconds: float) -> None:
        """For so long have every list that was asked for be as it was before there was a runner."""
        with self.lock:
            empty = Answer(200, {"total_count": 0, "runners": []})
            self._lists = dict.fromkeys(self._lists, (time.monotonic(), empty))
            self.stale = seconds

    # -- every call ------------------------------------------------------------

    def before(self, call: Call) -> Answer | None:
        self._pass_time()
        if (
            not call.path.startswith(API)
            or "remoteauth" in call.headers.get("authorization", "").lower()
        ):
            return None
        if not call.headers.get("user-agent"):
            return _error(
                403,
                "Request forbidden by administrative rules. Please make sure it has a User-Agent header",
            )
        if time.time() > self._window:
            self._used, self._window = 0, time.time() + 3600
        if self._used >= self.hourly:
            return _error(403, "API rate limit exceeded for user ID 1.")
        return None

    def after(self, call: Call, answer: Answer) -> Answer:
        if not call.path.startswith(API):
            return answer
        if answer.status == 200 and call.method == "GET":
            text = json.dumps(answer.body, sort_keys=True)
            tag = f'W/"{hashlib.sha256(text.encode()).hexdigest()}"'
            answer.headers["ETag"] = tag
            if call.headers.get("if-none-match") == tag:
                answer = Answer(304, None, {"ETag": tag})
        if answer.status != 304:
            self._used += 1
        answer.headers |= {
            "X-RateLimit-Limit": str(self.hourly),
            "X-RateLimit-Remaining": str(max(0, self.hourly - self._used)),
            "X-RateLimit-Used": str(self._used),
            "X-RateLimit-Reset": str(int(self._window + self.skew)),
            "X-RateLimit-Resource": "core",
            "X-GitHub-Request-Id": f"F:{call.number}",
        }
        token = self.tokens.get(self._bearer(call))
        if (
            token is not None
            and token.expires is not None
            and not self._bearer(call).startswith("ghs_")
        ):
            ends = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(token.expires))
            answer.headers["GitHub-Authentication-Token-Expiration"] = ends
        if self.server_version:
            answer.headers["X-GitHub-Enterprise-Version"] = self.server_version
        return answer

    def _pass_time(self) -> None:
        """What GitHub does by itself, in time."""
        now = time.monotonic()
        for job in self.jobs:
            runner = self.runner(job.runner) if job.runner is not None else None
            if job.state == "assigned" and now - job.assigned_at > self.pickup:
                job.state, job.runner = "queued", None
                self.lock.notify_all()
                if runner is not None:
                    runner.job = None
            elif job.state == "running" and runner is not None and self._abandoned(runner, job):
                job.state, job.conclusion = "completed", "lost communication"
                self._remove(runner)
        if self.idle_expiry is not None:
            for runner in list(self.runners.values()):
                since = runner.idle_since
                if since is not None and runner.job is None and now - since > self.idle_expiry:
                    self._remove(runner)

    def _abandoned(self, runner: Runner, job: Job) -> bool:
        silent = time.monotonic() - max(runner.seen or 0.0, job.renewed)
        return not self._online(runner) and silent > self.abandon

    def _online(self, runner: Runner) -> bool:
        return (
            runner.session is not None
            and runner.seen is not None
            and time.monotonic() - runner.seen < self.silence
        )

    def _remove(self, runner: Runner) -> None:
        self.runners.pop(runner.id, None)
        self.lock.notify_all()

    # -- who may what ------------------------------------------------------------

    def _bearer(self, call: Call) -> str:
        return call.headers.get("authorization", "").partition(" ")[2]

    def allowed(self, call: Call, want: str) -> Answer | None:
        """The answer to a token that does not reach so far; want: read, write, actions, cancel, contents
        or repository.
        """
        token = self.tokens.get(self._bearer(call))
        if token is None or (token.expires is not None and time.time() + self.skew > token.expires):
            return _error(401, "Bad credentials")
        if want == "write" and token.runners != "write":
            if token.runners == "none":
                return _error(404, "Not Found")
            return _error(403, "Resource not accessible by personal access token")
        if want == "read" and token.runners == "none":
            return _error(404, "Not Found")
        if want == "repository" and token.runners == "none" and not token.app:
            return _error(404, "Not Found")
        if want == "contents" and token.contents == "none":
            return _error(403, "Resource not accessible by personal access token")
        rights = {"actions": ("read", "write"), "cancel": ("write",)}.get(want)
        if rights is not None and token.actions not in rights:
            return _error(403, "Resource not accessible by personal access token")
        return None

    def _scope(self, call: Call, want: str) -> str | Answer:
        """The scope of a call, such as "orgs/acme", or why it is not to be had."""
        denied = self.allowed(call, want)
        if denied is not None:
            return denied
        if "owner" in call.at:
            full = f"{call.at['owner']}/{call.at['repo']}"
            if full in self.renamed:
                number = self.repos[self.renamed[full]]["id"]
                rest = call.path.partition(full)[2]
                status = 301 if call.method == "GET" else 307
                location = f"{self.url}{API}/repositories/{number}{rest}"
                return Answer(
                    status,
                    {"message": "Moved Permanently", "url": location},
                    {"Location": location},
                )
            if full not in self.repos:
                return _error(404, "Not Found")
            if self.repos[full].get("disabled"):
                return _error(403, "Self-hosted runners are disabled for this repository.")
            return f"repos/{full}"
        if "org" in call.at:
            return (
                f"orgs/{call.at['org']}"
                if call.at["org"] in self.orgs
                else _error(404, "Not Found")
            )
        name = call.at["enterprise"]
        return f"enterprises/{name}" if name in self.enterprises else _error(404, "Not Found")

    # -- REST: runners ------------------------------------------------------------

    def _routes_all(self) -> None:
        for scope in ("repos/{owner}/{repo}", "orgs/{org}", "enterprises/{enterprise}"):
            base = f"{API}/{scope}/actions"
            self.route("POST", f"{base}/runners/generate-jitconfig", self.generate)
            self.route("POST", f"{base}/runners/registration-token", self.registration_token)
            self.route("GET", f"{base}/runners", self.list_runners)
            self.route("GET", f"{base}/runners/downloads", self.downloads)
            self.route("GET", f"{base}/runners/deprecations/{{version}}", self.deprecations)
            self.route("GET", f"{base}/runners/{{id}}", self.get_runner)
            self.route("DELETE", f"{base}/runners/{{id}}", self.delete_runner)
            self.route("GET", f"{base}/runner-groups", self.list_groups)
            self.route("GET", f"{API}/{scope}/installation", self.installation)
            self.route("GET", f"{base}/runners/{{id}}/labels", self.labels)
            self.route("GET", f"{base}/runner-groups/{{group}}", self.get_group)
            self.route("GET", f"{base}/runner-groups/{{group}}/runners", self.list_runners)
        Workflows(self, API)
        self.route("GET", f"{API}/orgs/{{org}}", self.get_organisation)
        self.route("GET", f"{API}/repos/{{owner}}/{{repo}}", self.get_repo)
        self.route("GET", f"{API}/repositories/{{number}}", self.get_repo_by_number)
        self.route("GET", f"{API}/user", self.user)
        self.route("GET", f"{API}/user/orgs", self.user_orgs)
        self.route("GET", f"{API}/user/repos", self.user_repos)
        self.route("GET", f"{API}/app/installations", self.installations)
        self.route("POST", f"{API}/app/installations/{{id}}/access_tokens", self.access_token)
        self.route("POST", f"{API}/actions/runner-registration", self.remote_auth)
        self.route("POST", f"{API}/actions/runners/register", self.register)
        self.route("POST", "/oauth/token/{id}", self.oauth)
        self.route("POST", f"{BROKER}/session", self.open_session)
        self.route("DELETE", f"{BROKER}/session", self.close_session)
        self.route("GET", f"{BROKER}/message", self.message)
        self.route("POST", f"{BROKER}/acknowledge", self.acknowledge)
        self.route("POST", f"{RUN}/acquirejob", self.acquire)
        self.route("POST", f"{RUN}/renewjob", self.renew)
        self.route("POST", f"{RUN}/completejob", self.complete)
        self.route("POST", "/_fake/jobs", self.post_job)
        self.route("GET", "/_fake/state", self.state)

    def generate(self, call: Call) -> Answer:
        scope = self._scope(call, "write")
        if isinstance(scope, Answer):
            return scope
        if not self.jit:
            return _error(404, "Not Found")
        wanted = call.json
        for key in ("name", "runner_group_id", "labels"):
            if key not in wanted:
                return _error(422, f"Invalid input: object is missing required key: {key}")
        if not 1 <= len(wanted["labels"]) <= JIT_MOST:
            return _error(
                422,
                f"Invalid property /labels: 1 item required; only {len(wanted['labels'])} were supplied",
            )
        if len(wanted["name"]) > 64:
            return _error(422, "Invalid property /name: 64 characters are allowed")
        group = wanted["runner_group_id"]
        if group not in self.groups or (scope.startswith("repos/") and group != 1):
            return _error(404, "Not Found")
        if group == 2:
            return _error(403, "GitHub hosted runner groups cannot be modified")
        if self.groups[group].get("full"):
            return _error(
                422,
                f"Invalid Argument - Runner group {group} has reached max limit of 10000 runners.",
            )
        for other in self.runners.values():
            if other.scope == scope and other.name == wanted["name"]:
                name = wanted["name"]
                return _error(
                    409, f"Already exists - A runner with the name {name} already exists."
                )
        runner = self._add(scope, wanted["name"], group, wanted["labels"])
        blob = self._blob(runner)
        self.issued[f"the configuration of {runner.name}"] = blob
        return Answer(201, {"runner": self._show(runner), "encoded_jit_config": blob})

    def _add(
        self, scope: str, name: str, group: int, labels: list[str], proof: str | None = None
    ) -> Runner:
        number = next(self._ids)
        runner = Runner(
            number,
            scope,
            name,
            group,
            sorted({label.lower() for label in labels}),
            client=str(uuid.uuid4()),
            proof=proof or uuid.uuid4().hex,
            made=time.monotonic(),
            jit=proof is None,
        )
        self.runners[number] = runner
        self.issued[f"the key of {name}"] = runner.proof
        self.registered += 1
        return runner

    def _blob(self, runner: Runner) -> str:
        base = self.agents_url or self.url
        files = {
            ".runner": {
                "AgentId": str(runner.id),
                "AgentName": runner.name,
                "PoolId": str(runner.group),
                "PoolName": self.groups[runner.group]["name"],
                "DisableUpdate": "True",
                "Ephemeral": "True",
                "ServerUrl": "",
                "WorkFolder": "_work",
                "UseV2Flow": "True",
                "ServerUrlV2": f"{base}{BROKER}/",
            },
            ".credentials": {
                "Scheme": "OAuth",
                "Data": {
                    "ClientId": runner.client,
                    "AuthorizationUrl": f"{base}/oauth/token/{runner.id}",
                    "RequireFipsCryptography": "True",
                },
            },
            ".credentials_rsaparams": {
                "d": _b64(runner.proof.encode()),
                "exponent": "AQAB",
                **{
                    part: _b64(b"\1" * 256)
                    for part in ("modulus", "p", "q", "dp", "dq", "inverseQ")
                },
            },
        }
        encoded = {name: _b64(json.dumps(content).encode()) for name, content in files.items()}
        return _b64(json.dumps(encoded).encode())

    def _show(self, runner: Runner) -> dict[str, Any]:
        return {
            "id": runner.id,
            "name": runner.name,
            "os": "Linux" if runner.seen is not None else "unknown",
            "status": "online" if self._online(runner) else "offline",
            "busy": runner.job is not None,
            "ephemeral": True,
            "version": runner.version,
            "runner_group_id": runner.group,
            "labels": [
                {"id": n, "name": label, "type": "read-only"}
                for n, label in enumerate(runner.labels, runner.id * JIT_MOST)
            ],
        }

    def list_runners(self, call: Call) -> Answer:
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        key = f"{scope}{call.at.get('group', '')}?{sorted(call.query.items())}"
        kept = self._lists.get(key)
        if kept is not None and time.monotonic() - kept[0] < self.stale:
            return Answer(200, kept[1].body, dict(kept[1].headers))
        name = call.query.get("name")
        found = [
            self._show(runner)
            for runner in self.runners.values()
            if runner.scope == scope and name in (None, runner.name)
            if call.at.get("group") in (None, str(runner.group))
        ]
        answer = self.paged(call, "runners", found)
        answer.headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
        self._lists[key] = (time.monotonic(), answer)
        return Answer(200, answer.body, dict(answer.headers))

    def paged(self, call: Call, key: str, found: list[Any]) -> Answer:
        size = min(100, int(call.query.get("per_page", 30)))
        page = int(call.query.get("page", 1))
        headers = {}
        if page * size < len(found):
            query = "&".join(f"{k}={v}" for k, v in {**call.query, "page": page + 1}.items())
            headers["Link"] = f'<{self.url}{call.path}?{query}>; rel="next"'
        part = found[(page - 1) * size : page * size]
        return Answer(200, {"total_count": len(found), key: part}, headers)

    def get_runner(self, call: Call) -> Answer:
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        runner = self.runner(call.at["id"])
        return Answer(200, self._show(runner)) if runner else _error(404, "Not Found")

    def delete_runner(self, call: Call) -> Answer:
        scope = self._scope(call, "write")
        if isinstance(scope, Answer):
            return scope
        runner = self.runners.get(int(call.at["id"]))
        if runner is None or runner.scope != scope:
            return _error(404, "Not Found")
        if runner.job is not None:
            return _error(422, f'Bad request - Runner "{runner.name}" is still running a job"')
        self._remove(runner)
        return Answer(204)

    def downloads(self, call: Call) -> Answer:
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        found = []
        for system, machine in (("osx", "arm64"), ("linux", "x64"), ("linux", "arm64")):
            name = f"actions-runner-{system}-{machine}-{self.hands_out}.tar.gz"
            entry = {
                "os": system,
                "architecture": machine,
                "download_url": f"{self.url}/{name}",
                "filename": name,
            }
            if self.checksum is not None:
                entry["sha256_checksum"] = self.checksum
            found.append(entry)
        return Answer(200, found)

    def deprecations(self, call: Call) -> Answer:
        """Of Enterprise Cloud alone."""
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        version = call.at["version"]
        if not scope.startswith("enterprises/") or version not in self.deprecated:
            return _error(404, "Not Found")
        at = self.deprecated[version]
        return Answer(200, {"runner_version": version, "runtime_deprecates_at": at})

    def list_groups(self, call: Call) -> Answer:
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        if scope.startswith("repos/"):
            return _error(404, "Not Found")
        at = f"{self.url}{call.path}"
        groups = [documents.group(number, group, at) for number, group in self.groups.items()]
        return self.paged(call, "runner_groups", groups)

    def get_group(self, call: Call) -> Answer:
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        number = int(call.at["group"])
        if scope.startswith("repos/") or number not in self.groups:
            return _error(404, "Not Found")
        at = f"{self.url}{call.path.rpartition('/')[0]}"
        return Answer(200, documents.group(number, self.groups[number], at))

    def labels(self, call: Call) -> Answer:
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        runner = self.runner(call.at["id"])
        if runner is None:
            return _error(404, "Not Found")
        return self.paged(call, "labels", self._show(runner)["labels"])

    def get_organisation(self, call: Call) -> Answer:
        scope = self._scope(call, "read")
        if isinstance(scope, Answer):
            return scope
        return Answer(200, documents.organisation(call.at["org"], self.url))

    def get_repo(self, call: Call) -> Answer:
        scope = self._scope(call, "repository")
        if isinstance(scope, Answer):
            return scope
        return Answer(200, self._repository(scope.removeprefix("repos/")))

    def _repository(self, name: str) -> dict[str, Any]:
        return documents.repository(name, self.repos[name], f"{self.url}{API}")

    def get_repo_by_number(self, call: Call) -> Answer:
        denied = self.allowed(call, "read")
        if denied is not None:
            return denied
        for name, repo in self.repos.items():
            if str(repo["id"]) == call.at["number"]:
                return Answer(200, self._repository(name))
        return _error(404, "Not Found")

    # -- REST: whose a token is ------------------------------------------------------------

    def _taken(self, call: Call) -> Answer | None:
        """Why the token is not taken at all; what it may is asked elsewhere."""
        return _error(401, "Bad credentials") if self._bearer(call) not in self.tokens else None

    def user(self, call: Call) -> Answer:
        return self._taken(call) or Answer(200, {"login": "octo", "id": 1, "type": "User"})

    def user_orgs(self, call: Call) -> Answer:
        orgs = [{"login": name, "id": number} for number, name in enumerate(sorted(self.orgs), 1)]
        return self._taken(call) or Answer(200, orgs)

    def user_repos(self, call: Call) -> Answer:
        repos = [
            {
                "full_name": name,
                "private": repo["private"],
                "permissions": {"admin": repo.get("admin", True), "push": True, "pull": True},
            }
            for name, repo in self.repos.items()
        ]
        return self._taken(call) or Answer(200, repos)

    # -- REST: Apps ------------------------------------------------------------

    def _app(self, call: Call) -> str | Answer:
        """The App that signed the call's JWT."""
        try:
            head, claims, signature = self._bearer(call).split(".")
            fields = json.loads(_unb64url(claims))
            key = self.apps[str(fields["iss"])]
        except (ValueError, KeyError):
            return _error(401, "A JSON web token could not be decoded")
        if not _signed_by(key, f"{head}.{claims}".encode(), _unb64url(signature)):
            return _error(401, "A JSON web token could not be decoded")
        now = time.time() + self.skew
        if fields["exp"] > now + 600:
            return _error(401, "'Expiration time' claim ('exp') is too far in the future")
        if fields["exp"] < now:
            return _error(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time",
            )
        if fields["iat"] > now:
            return _error(
                401,
                "'Issued at' claim ('iat') must be an Integer representing the time that it was issued",
            )
        return str(fields["iss"])

    def installation(self, call: Call) -> Answer:
        app = self._app(call)
        if isinstance(app, Answer):
            return app
        account = call.at.get("owner") or call.at.get("org") or ""
        number = self.installed.get(account)
        if number is None:
            return _error(404, "Not Found")
        shown = documents.installation(
            number, account, int(app), self.app_permissions, self.url, suspended=self.suspended
        )
        return Answer(200, shown)

    def installations(self, call: Call) -> Answer:
        app = self._app(call)
        if isinstance(app, Answer):
            return app
        shown = [
            {"id": number, "account": {"login": account}, "app_id": int(app)}
            for account, number in self.installed.items()
        ]
        return Answer(200, shown)

    def access_token(self, call: Call) -> Answer:
        app = self._app(call)
        if isinstance(app, Answer):
            return app
        if int(call.at["id"]) not in self.installed.values():
            return _error(404, "Not Found")
        if self.suspended:
            return _error(403, "This installation has been suspended")
        wanted = (call.json or {}).get("permissions", self.app_permissions)
        for name, level in wanted.items():
            if self.app_permissions.get(name) not in (level, "write"):
                return _error(
                    422, "The permissions requested are not granted to this installation."
                )
        text = f"ghs_{app}_{uuid.uuid4().hex}.{uuid.uuid4().hex}"
        expires = time.time() + self.skew + self.token_life
        runners = wanted.keys() & {"organization_self_hosted_runners", "administration"}
        self.tokens[text] = Token(
            "write" if runners else "none",
            expires,
            wanted.get("actions", "none"),
            wanted.get("contents", "none"),
            app=True,
        )
        self.issued[f"the App's token {text[-8:]}"] = text
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        return Answer(
            201,
            {
                "token": text,
                "expires_at": stamp,
                "permissions": wanted,
                "repository_selection": "all",
            },
        )

    # -- config.sh ------------------------------------------------------------

    def registration_token(self, call: Call) -> Answer:
        scope = self._scope(call, "write")
        if isinstance(scope, Answer):
            return scope
        text = "AREG" + uuid.uuid4().hex.upper()
        expires = time.time() + self.skew + self.token_life
        self._registration_tokens[text] = (scope, expires)
        self.issued[f"registration token {len(self._registration_tokens)}"] = text
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(expires))
        return Answer(201, {"token": text, "expires_at": stamp})

    def usable_registration_token(self, text: str) -> bool:
        """Whether that text would enrol a runner now."""
        with self.lock:
            return text in self._registration_tokens

    def _remote_scope(self, call: Call, url: str) -> str | None:
        kind, _, text = call.headers.get("authorization", "").partition(" ")
        known = self._registration_tokens.get(text)
        if kind != "RemoteAuth" or known is None or time.time() + self.skew > known[1]:
            return None
        path = re.sub(r"^https?://[^/]+/", "", url).strip("/")
        scope = (
            path
            if path.startswith("enterprises/")
            else f"repos/{path}"
            if "/" in path
            else f"orgs/{path}"
        )
        return scope if scope == known[0] else None

    def remote_auth(self, call: Call) -> Answer:
        scope = self._remote_scope(call, call.json["url"])
        if scope is None:
            return _error(404, "Not Found")
        text = "tenant-" + uuid.uuid4().hex
        self.tokens[text] = Token("write", time.time() + 300)
        base = self.agents_url or self.url
        return Answer(
            200,
            {"url": base, "token_schema": "OAuthAccessToken", "token": text, "use_v2_flow": True},
        )

    def register(self, call: Call) -> Answer:
        denied = self.allowed(call, "write")
        if denied is not None:
            return denied
        wanted = call.json
        path = re.sub(r"^https?://[^/]+/", "", wanted["url"]).strip("/")
        scope = (
            path
            if path.startswith("enterprises/")
            else f"repos/{path}"
            if "/" in path
            else f"orgs/{path}"
        )
        for other in list(self.runners.values()):
            if other.scope == scope and other.name == wanted["name"]:
                if not wanted.get("replace"):
                    return _error(
                        409, f"Already exists - A runner with the name {other.name} already exists."
                    )
                self._remove(other)
        key = re.sub(r"<[^>]+>", "", wanted["public_key"])
        labels = [label["name"] for label in wanted["labels"]]
        runner = self._add(scope, wanted["name"], wanted["group_id"], labels, proof=key)
        base = self.agents_url or self.url
        return Answer(
            200,
            {
                "id": runner.id,
                "name": runner.name,
                "authorization": {
                    "authorization_url": f"{base}/oauth/token/{runner.id}",
                    "server_url": f"{base}{BROKER}/",
                    "client_id": runner.client,
                },
            },
        )

    # -- the listener's protocol ------------------------------------------------------------

    def oauth(self, call: Call) -> Answer:
        form = {key: values[0] for key, values in parse_qs(call.content.decode()).items()}
        runner = self.runner(call.at["id"])
        try:
            head, claims, proof = form["client_assertion"].split(".")
            fields = json.loads(_unb64url(claims))
            assert runner is not None
            assert fields["iss"] == fields["sub"] == runner.client
            wanted = hashlib.sha256(f"{head}.{claims}{runner.proof}".encode()).hexdigest()
            assert _unb64url(proof).decode() == wanted
        except (AssertionError, ValueError, KeyError):
            return Answer(400, {"error": "invalid_client"})
        now = time.time() + self.skew
        if not fields["nbf"] - 300 <= now <= fields["exp"]:
            return Answer(
                400,
                {"error": "invalid_request", "error_description": f"Current server time is {now}"},
            )
        runner.token = uuid.uuid4().hex
        self.issued[f"the token of {runner.name}"] = runner.token
        return Answer(
            200, {"access_token": runner.token, "expires_in": 3600, "token_type": "bearer"}
        )

    def _client(self, call: Call) -> Runner | None:
        text = self._bearer(call)
        for runner in self.runners.values():
            if runner.token and runner.token == text:
                return runner
        return None

    def open_session(self, call: Call) -> Answer:
        runner = self._client(call)
        if runner is None:
            return Answer(401, None)
        if runner.session is not None and self._online(runner):
            return _broker(
                409, "SessionConflict", "The actions runner already has an active session."
            )
        runner.session, runner.seen = str(uuid.uuid4()), time.monotonic()
        runner.version = call.json["agent"]["version"]
        runner.idle_since = time.monotonic()
        return Answer(200, {**call.json, "sessionId": runner.session})

    def close_session(self, call: Call) -> Answer:
        runner = self._client(call)
        if runner is None:
            return Answer(401, None)
        runner.session = None
        return Answer(200, None)

    def message(self, call: Call) -> Answer | Wait:
        if any(runner.token == self._bearer(call) for runner in self._forgotten):
            return Wait(self.hold, Answer(202, None))
        runner = self._client(call)
        if runner is None:
            return _broker(404, "RunnerNotFound", "Runner not found")
        if runner.session is None or call.query.get("sessionId") != runner.session:
            return _broker(404, "RunnerSessionInvalid", "Session is not valid")
        version = call.query.get("runnerVersion", "")
        if self.minimum_version and _version(version) < _version(self.minimum_version):
            text = f"Runner version v{version} is deprecated and cannot receive messages."
            return _broker(403, "RunnerVersionTooOld", text)
        now = time.monotonic()
        if call.status == 0 and now - call.when < self.hold:
            runner.seen = max(runner.seen or 0.0, call.when)
        if call.query.get("status") == "Busy":
            if runner.job is not None and runner.job.state == "cancelling":
                runner.job.state = "running"
                body = {"jobId": runner.job.id, "timeout": "00:05:00"}
                return self._post(runner, "JobCancellation", body)
            return Wait(self.hold, Answer(202, None))
        if runner.job is None:
            for job in self.jobs:
                if job.state == "queued" and set(job.labels) <= set(runner.labels):
                    job.state, job.runner, job.assigned_at = "assigned", runner.name, now
                    runner.job = job
                    request = {
                        "id": job.id,
                        "runner_request_id": job.id,
                        "should_acknowledge": True,
                        "run_service_url": f"{self.agents_url or self.url}{RUN}/",
                        "billing_owner_id": "B_1",
                    }
                    return self._post(runner, "RunnerJobRequest", request)
        return Wait(self.hold, Answer(202, None))

    def _post(self, runner: Runner, kind: str, body: object) -> Answer:
        return Answer(
            200, {"messageId": next(self._ids), "messageType": kind, "body": json.dumps(body)}
        )

    def acknowledge(self, call: Call) -> Answer:
        runner = self._client(call)
        if runner is None:
            return _broker(404, "RunnerNotFound", "Runner not found")
        if runner.job is None or runner.job.id != call.json["runnerRequestId"]:
            return _broker(404, "AcknowledgeJobNotFound", "Job not found")
        return Answer(200, None)

    def acquire(self, call: Call) -> Answer:
        runner = self._client(call)
        job = self._job(call.json["jobMessageId"])
        if runner is None or job is None or runner.job is not job or job.state != "assigned":
            status = 404 if job is None else 409
            body = {
                "source": "actions-run-service",
                "statusCode": status,
                "errorMessage": "not available",
            }
            return Answer(status, body)
        job.state, job.acquired, job.renewed = "running", job.acquired + 1, time.monotonic()
        runner.seen = time.monotonic()
        job.runner_id, job.began = runner.id, time.time()
        base = self.agents_url or self.url
        endpoint = {
            "name": "SystemVssConnection",
            "url": f"{base}{RUN}/",
            "authorization": {
                "scheme": "OAuth",
                "parameters": {"AccessToken": _web_token(job)},
            },
        }
        return Answer(
            200,
            {
                "messageType": "PipelineAgentJobRequest",
                "plan": {
                    "planId": job.plan,
                    "planType": "Build",
                    "version": 12,
                    "scopeIdentifier": job.plan,
                },
                "timeline": {"id": str(uuid.uuid4())},
                "jobId": job.id,
                "jobDisplayName": job.name,
                "jobName": "__default",
                "requestId": job.number,
                "resources": {"endpoints": [endpoint]},
                "variables": {},
                "steps": [],
                "contextData": {},
                "mask": [],
                "fileTable": [],
                "script": job.script,
            },
        )

    def _job(self, identity: str) -> Job | None:
        return next((job for job in self.jobs if job.id == identity), None)

    def renew(self, call: Call) -> Answer:
        runner = self._client(call)
        job = self._job(call.json["jobId"])
        if runner is None or job is None:
            return Answer(404, None)
        job.renewed = runner.seen = time.monotonic()
        return Answer(200, {"lockedUntil": "2099-01-01T00:00:00Z"})

    def complete(self, call: Call) -> Answer:
        runner = self._client(call)
        job = self._job(call.json["jobId"])
        if job is None or (runner is None and job.state != "completed"):
            return Answer(404, None)
        if job.state != "completed":
            job.conclusion, job.completed = call.json["conclusion"], job.completed + 1
            job.log = base64.b64decode(call.json.get("log", "")).decode(errors="replace")
            job.hooks = base64.b64decode(call.json.get("hooks", "")).decode(errors="replace")
            job.state, job.ended = "completed", time.time()
            if runner is not None:
                self._remove(runner)
        return Answer(200, None)

    # -- by hand ------------------------------------------------------------

    def post_job(self, call: Call) -> Answer:
        labels = tuple(call.json.get("labels", ("self-hosted",)))
        job = self.queue(call.json["script"], labels, call.json.get("name", ""))
        return Answer(201, {"id": job.id, "number": job.number})

    def state(self, call: Call) -> Answer:
        jobs = [
            {
                "number": job.number,
                "state": job.state,
                "conclusion": job.conclusion,
                "runner": job.runner,
                "acquired": job.acquired,
                "log": job.log,
            }
            for job in self.jobs
        ]
        return Answer(
            200, {"runners": [self._show(r) for r in self.runners.values()], "jobs": jobs}
        )


def _error(status: int, message: str) -> Answer:
    return Answer(status, {"message": message, "documentation_url": DOCS, "status": str(status)})


def _broker(status: int, kind: str, message: str) -> Answer:
    body = {
        "source": "actions-broker-listener",
        "errorKind": kind,
        "statusCode": status,
        "errorMessage": message,
    }
    return Answer(status, body)


def _web_token(job: Job) -> str:
    """A token as its runner reads one: three parts, of which the first two are JSON."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": job.id, "orch_id": job.plan, "exp": 4102444800})
    return ".".join([*(_b64url(json.dumps(part)) for part in parts), _b64url("unsigned")])


def _b64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _signed_by(key: tuple[int, int], content: bytes, signature: bytes) -> bool:
    """Whether it is a PKCS #1 signature (RS256) of that key."""
    modulus, exponent = key
    size = (modulus.bit_length() + 7) // 8
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    tail = b"\0" + prefix + hashlib.sha256(content).digest()
    padded = b"\0\1" + b"\xff" * (size - 2 - len(tail)) + tail
    found = pow(int.from_bytes(signature, "big"), exponent, modulus)
    return len(signature) == size and found == int.from_bytes(padded, "big")


Script = Callable[[FakeGitHub], None]

if __name__ == "__main__":
    serve(FakeGitHub(), __doc__ or "", lambda: "token ghp_good, url /acme or /acme/app")
