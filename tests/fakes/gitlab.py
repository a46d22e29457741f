"""A GitLab on 127.0.0.1: the API that Mayfly uses, and the coordinator that gitlab-runner speaks with.

    with FakeGitLab() as gitlab:
        token = gitlab.person("create_runner", "manage_runner", "read_api")
        job = gitlab.submit("echo hello", tags=["gpu"])
        ...                                   # a runner of gitlab.url with these tags takes it
        assert gitlab.jobs[job].state == "success"

Made to be faithful enough for an unmodified gitlab-runner: long polls with last-update, the acknowledgement
of a job that was handed out, a log sent in ranges, checksums, cancelling by header; 202, 412, 416 on order.

By hand, with a token and a waiting job printed at its start:

    python -m tests.fakes.gitlab --port 8929
    curl -H 'PRIVATE-TOKEN: …' -d '{"script": ["nvidia-smi"], "tags": ["gpu"]}' 127.0.0.1:8929/fake/jobs
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

from tests.fakes.http import Answer, Call, Fake, Wait, serve

API = "/api/v4"
FINAL = frozenset({"success", "failed", "canceled"})
SHORT_TOKEN = 9
ACKNOWLEDGED_WITHIN = 120.0  # seconds from a job's hand-out to its first PUT
STUCK_AFTER = 3600.0  # seconds without a word of a running job
REGISTRATION_TOKEN = "GR1348941fakefakefakefake"
Params: TypeAlias = Mapping[str, Any]


class Denied(Exception):
    """What is answered instead."""

    def __init__(self, status: int, message: object) -> None:
        super().__init__(str(message))
        self.answer = Answer(status, {"message": message})


@dataclass(slots=True)
class Person:
    """Who a personal access token belongs to."""

    scopes: frozenset[str]
    admin: bool = False
    sees_jobs: bool = True  # Reporter or more where its runners' jobs are
    expires: str | None = None  # the day on which the token ends; None: GitLab tells none
    owns: bool = True  # an Owner of the groups, and a Maintainer of the projects


@dataclass(slots=True)
class Runner:
    """One runner, and the managers that have used its token."""

    id: int
    token: str
    kind: str
    owner: int | None  # the group's or the project's id; None: the instance
    description: str
    tags: tuple[str, ...]
    run_untagged: bool
    paused: bool = False
    maximum_timeout: int | None = None
    expires: float | None = None
    managers: dict[str, dict[str, Any]] = field(default_factory=dict)
    queue: str = "0"  # X-GitLab-Last-Update


@dataclass(slots=True)
class Job:
    """One job, and what has come of it."""

    id: int
    script: tuple[str, ...]
    tags: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    timeout: int = 3600
    artifacts: tuple[str, ...] = ()
    token: str = ""
    state: str = "pending"
    runner: int | None = None
    manager: str | None = None
    features: frozenset[str] = frozenset()
    handed_out: float | None = None
    handed: int = 0  # how often
    acknowledged: bool = False
    begun: int = 0  # how often a runner has begun it
    ended: int = 0  # how often a runner's report of its end was taken
    touched: float = 0.0  # when its runner was last heard of
    retried: int | None = None  # the job that was made in its place
    started: float | None = None
    finished: float | None = None
    exit_code: int | None = None
    failure: str | None = None
    trace: bytearray = field(default_factory=bytearray)
    uploaded: bytes | None = None
    created: float = field(default_factory=time.time)
    project: int = 7
    pipeline: int = 5
    name: str = ""  # "": after its number
    forced: list[int] = field(default_factory=list)  # answers still to be given once: 202, 412, 416
    taken_back: str = ""  # what becomes of it as soon as a runner has it; "": nothing
    image: str = ""  # that it names; "": none
    services: tuple[Mapping[str, object], ...] = ()

    @property
    def log(self) -> str:
        """Its log as text."""
        return self.trace.decode(errors="replace")


class FakeGitLab(Fake):
    """The service; ``hold`` is how long a job request may wait for a job (seconds)."""

    def __init__(self, hold: float = 5.0, acknowledged_within: float = ACKNOWLEDGED_WITHIN) -> None:
        super().__init__()
        self.hold = hold
        self.acknowledged_within = acknowledged_within
        self.stuck_after = STUCK_AFTER
        self.people: dict[str, Person] = {}
        self.groups = {10: "ourlab", 11: "ourlab/vision"}
        self.projects = {7: "ourlab/library"}
        self.ci_files: dict[int, str] = {}  # of a project, what its .gitlab-ci.yml says
        self.runners: dict[int, Runner] = {}
        self.jobs: dict[int, Job] = {}
        self.trace_interval = 1
        self.version = "19.3.1-ee"
        self.token_life: float | None = (
            None  # seconds that a runner's token is good; None: for ever
        )
        self.page = 20
        self._last_id = 100
        self._ticks = 0
        # Paths with a fixed last part stand before those with an id in that place.
        for method, path, handler in (
            ("POST", "/user/runners", self._create),
            ("POST", "/runners", self._register),
            ("GET", "/version", self._version),
            ("POST", "/runners/verify", self._verify),
            ("POST", "/runners/reset_authentication_token", self._reset_own),
            ("DELETE", "/runners", self._delete_own),
            ("DELETE", "/runners/managers", self._delete_manager),
            ("GET", "/runners/router/discovery", self._no_router),
            ("GET", "/user", self._self),
            ("GET", "/personal_access_tokens/self", self._own_token),
            ("GET", "/groups/{group}/projects", self._group_projects),
            ("GET", "/projects/{project}/jobs/{job}", self._project_job),
            ("GET", "/runners", self._list),
            ("GET", "/runners/all", self._list),
            ("GET", "/groups/{group}/runners", self._list),
            ("GET", "/projects/{project}/runners", self._list),
            ("GET", "/groups", self._groups),
            ("GET", "/projects", self._projects),
            ("GET", "/groups/{group}", self._group),
            ("GET", "/projects/{project}", self._project),
            ("GET", "/runners/{id}", self._show),
            ("PUT", "/runners/{id}", self._update),
            ("DELETE", "/runners/{id}", self._delete),
            ("GET", "/runners/{id}/managers", self._managers),
            ("GET", "/runners/{id}/jobs", self._running),
            ("POST", "/runners/{id}/reset_authentication_token", self._reset),
            ("POST", "/jobs/request", self._request),
            ("PUT", "/jobs/{job}", self._put),
            ("PATCH", "/jobs/{job}/trace", self._patch),
            ("POST", "/jobs/{job}/artifacts", self._upload),
            ("GET", "/jobs/{job}/artifacts", self._download),
            ("GET", "/projects/{project}/jobs", self._project_jobs),
            ("GET", "/projects/{project}/repository/files/{file}", self._file),
            ("POST", "/projects/{project}/pipeline", self._make_pipeline),
            ("GET", "/projects/{project}/pipelines/{pipeline}", self._pipeline),
            ("GET", "/projects/{project}/pipelines/{pipeline}/jobs", self._pipeline_jobs),
            ("GET", "/projects/{project}/jobs/{job}/trace", self._trace),
            ("POST", "/projects/{project}/jobs/{job}/cancel", self._cancel),
        ):
            self.route(method, f"{API}{path}", handler)
        self.route("POST", "/fake/jobs", self._submit)

    # -- what tests do ----------------------------------------------------------------------------

    def person(
        self, *scopes: str, admin: bool = False, sees_jobs: bool = True, owns: bool = True
    ) -> str:
        """A new personal access token with these scopes."""
        with self.lock:
            token = f"glpat-{secrets.token_hex(10)}"
            self.people[token] = Person(frozenset(scopes), admin, sees_jobs, owns=owns)
            return token

    def runner(
        self, *tags: str, run_untagged: bool = False, description: str = "by hand"
    ) -> Runner:
        """A runner that a person has made on a web page."""
        with self.lock:
            return self._new_runner("group_type", 10, description, tags, untagged=run_untagged)

    def submit(
        self,
        *script: str,
        tags: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        after: Sequence[str] = (),
        timeout: int = 3600,
        artifacts: Sequence[str] = (),
        forced: Sequence[int] = (),
        taken_back: str = "",
        image: str = "",
        services: Sequence[Mapping[str, object]] = (),
    ) -> int:
        """A job that waits for a runner with its tags; its id."""
        with self.lock:
            job = Job(
                self._id(),
                script,
                tuple(tags),
                dict(variables or {}),
                tuple(after),
                timeout,
                tuple(artifacts),
                f"glcbt-64_{secrets.token_hex(10)}",
                forced=list(forced),
                taken_back=taken_back,
                image=image,
                services=tuple(services),
            )
            self.jobs[job.id] = job
            self._tick(*(runner for runner in self.runners.values() if _fits(job, runner)))
            return job.id

    def cancel(self, job: int) -> None:
        """A person cancels a job."""
        with self.lock:
            found = self.jobs[job]
            if found.state == "running" and "cancel_gracefully" in found.features:
                found.state = "canceling"
            elif found.state not in FINAL:
                self._finish(found, "canceled")
            self._tick()

    def finish(self, job: int, state: str = "success") -> None:
        """A job ends without its runner saying so."""
        with self.lock:
            self._finish(self.jobs[job], state)
            self._tick()

    def hear(self, runner: int, system_id: str) -> None:
        """A manager of the runner asks for a job, and gets none."""
        with self.lock:
            self._heard(self.runners[runner], system_id, {})

    def give(self, job: int, runner: int, system_id: str) -> None:
        """A manager of the runner has taken the job, and runs it."""
        with self.lock:
            found, now = self.jobs[job], time.time() + self.skew
            found.runner, found.manager, found.handed_out = runner, system_id, now
            self._begin(found)

    def seen_managers(self) -> set[tuple[int, str]]:
        """Every runner's managers."""
        with self.lock:
            return {(one.id, name) for one in self.runners.values() for name in one.managers}

    def revoke(self, runner: int) -> None:
        """Somebody resets the runner's token: the old one is worth nothing."""
        with self.lock:
            self.runners[runner].token = _runner_token()

    def forget_token(self, token: str) -> None:
        """A personal access token is revoked."""
        with self.lock:
            self.people.pop(token, None)

    # -- state --------------------------------------------------------------------------------------

    def _do(self, call: Call) -> Answer | Wait:
        try:
            self.sweep()
            return super()._do(call)
        except Denied as denied:
            return denied.answer

    def _id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _tick(self, *runners: Runner) -> None:
        """Something has changed, and with it the queues of these runners."""
        self._ticks += 1
        for runner in runners:
            runner.queue = f"{self._ticks:032x}"
        self.lock.notify_all()

    def _new_runner(
        self, kind: str, owner: int | None, description: str, tags: Sequence[str], *, untagged: bool
    ) -> Runner:
        runner = Runner(
            self._id(), _runner_token(), kind, owner, description, tuple(tags), untagged
        )
        runner.expires = self._expires()
        self.runners[runner.id] = runner
        return runner

    def _expires(self) -> float | None:
        return time.time() + self.skew + self.token_life if self.token_life is not None else None

    def _finish(self, job: Job, state: str) -> None:
        job.state, job.finished = state, time.time() + self.skew

    def sweep(self) -> None:
        """What the server does by the clock: jobs that were taken and not begun, or begun and forgotten."""
        with self.lock:
            now = time.time() + self.skew
            for job in list(self.jobs.values()):
                taken = job.state == "pending" and job.handed_out is not None
                if taken and now - (job.handed_out or now) > self.acknowledged_within:
                    job.failure = "runner_provisioning_timeout"
                    self._finish(job, "failed")
                    job.retried = self.submit(*job.script, tags=job.tags, variables=job.variables)
                elif job.state in ("running", "canceling") and now - job.touched > self.stuck_after:
                    job.failure = "stuck_or_timeout_failure"
                    self._finish(job, "failed")

    # -- who asks ---------------------------------------------------------------------------------

    def _who(self, call: Call) -> Person:
        given = call.headers.get("private-token") or call.headers.get("authorization", "")[7:]
        person = self.people.get(given)
        if person is None:
            raise Denied(401, "401 Unauthorized")
        return person

    def _person(self, call: Call, *scopes: str) -> Person:
        person = self._who(call)
        if not person.scopes & {"api", *scopes}:
            raise _Insufficient(scopes)
        return person

    def _by_token(self, call: Call) -> Runner:
        """The runner whose token the call bears; its manager has been heard of."""
        given = _params(call)
        token = call.headers.get("runner-token") or given.get("token")
        for runner in self.runners.values():
            if runner.token == token:
                system = given.get("system_id")
                if system is not None:
                    self._heard(runner, str(system), given.get("info") or {})
                return runner
        raise Denied(403, "403 Forbidden")

    def _heard(self, runner: Runner, system: str, info: Params) -> None:
        if len(system) > 64:
            raise Denied(400, "system_id is too long")
        known = runner.managers.setdefault(
            system, {"id": self._id(), "system_id": system, "created_at": self._iso()}
        )
        known |= {
            "version": info.get("version"),
            "platform": info.get("platform"),
            "architecture": info.get("architecture"),
            "contacted_at": self._iso(),
            "ip_address": "127.0.0.1",
            "status": "online",
        }

    def _theirs(self, call: Call) -> Runner:
        """The runner of the path, as a person sees it."""
        self._person(call, "manage_runner")
        runner = self.runners.get(int(call.at["id"])) if call.at["id"].isdigit() else None
        if runner is None:
            raise Denied(404, "404 Runner Not Found")
        return runner

    def _iso(self, when: float | None = None) -> str:
        moment = datetime.fromtimestamp(when or time.time() + self.skew, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # -- what a person's token reaches ----------------------------------------------------------------

    def _groups(self, call: Call) -> Answer:
        """Those of which the token's owner is an Owner, whichever level is asked for."""
        person = self._person(call, "read_api")
        rows = [
            {"id": number, "name": path.split("/")[-1], "full_path": path}
            for number, path in self.groups.items()
            if person.owns
        ]
        return self._paged(call, rows)

    def _projects(self, call: Call) -> Answer:
        person = self._person(call, "read_api")
        rows = [
            {"id": number, "name": path.split("/")[-1], "path_with_namespace": path}
            for number, path in self.projects.items()
            if person.owns
        ]
        return self._paged(call, rows)

    # -- runners, as people see them ------------------------------------------------------------------

    def _create(self, call: Call) -> Answer:
        person = self._person(call, "create_runner")
        given = _params(call)
        kind = given.get("runner_type")
        owners = {"instance_type": None, "group_type": "group_id", "project_type": "project_id"}
        if kind not in owners:
            return Answer(
                400, {"error": "runner_type is missing, runner_type does not have a valid value"}
            )
        key = owners[kind]
        if key is None and not person.admin:
            return Answer(403, {"message": "403 Forbidden"})
        if key is not None and key not in given:
            return Answer(400, {"error": f"{key} is missing"})
        owner = int(given[key]) if key is not None else None
        there = self.groups if key == "group_id" else self.projects
        if owner is not None and (owner not in there or not person.owns):
            return Answer(403, {"message": "403 Forbidden"})
        runner = self._new_runner(kind, owner, "", (), untagged=True)
        try:
            self._change(runner, given)
        except Denied:
            del self.runners[runner.id]
            raise
        return Answer(
            201, {"id": runner.id, "token": runner.token, "token_expires_at": self._expiry(runner)}
        )

    def _change(self, runner: Runner, given: Params) -> None:
        tags = given.get("tag_list", runner.tags)
        if isinstance(tags, str):
            tags = [tag for tag in tags.split(",") if tag]
        untagged = bool(given.get("run_untagged", runner.run_untagged))
        timeout = given.get("maximum_timeout", runner.maximum_timeout)
        if not tags and not untagged:
            wrong = "can not be empty when runner is not allowed to pick untagged jobs"
            raise Denied(400, {"tags_list": [wrong]})
        if timeout is not None and int(timeout) < 600:
            raise Denied(400, {"maximum_timeout": ["needs to be at least 10 minutes"]})
        if len(given.get("maintenance_note") or "") > 1024:
            raise Denied(400, {"maintenance_note": ["is too long (maximum is 1024 characters)"]})
        runner.tags, runner.run_untagged = tuple(tags), untagged
        runner.maximum_timeout = int(timeout) if timeout is not None else None
        runner.description = given.get("description", runner.description)
        runner.paused = bool(given.get("paused", runner.paused))
        self._tick(runner)

    def _expiry(self, runner: Runner) -> str | None:
        return self._iso(runner.expires) if runner.expires is not None else None

    def _brief(self, runner: Runner) -> dict[str, Any]:
        seen = [manager["contacted_at"] for manager in runner.managers.values()]
        return {
            "id": runner.id,
            "description": runner.description,
            "paused": runner.paused,
            "active": not runner.paused,
            "runner_type": runner.kind,
            "is_shared": runner.kind == "instance_type",
            "name": None,
            "online": bool(seen),
            "status": "online" if seen else "never_contacted",
        }

    def _show(self, call: Call) -> Answer:
        runner = self._theirs(call)
        more = {
            "tag_list": list(runner.tags),
            "run_untagged": runner.run_untagged,
            "maximum_timeout": runner.maximum_timeout,
            "contacted_at": max(
                (manager["contacted_at"] for manager in runner.managers.values()), default=None
            ),
        }
        return Answer(200, {**self._brief(runner), **more})

    def _update(self, call: Call) -> Answer:
        runner = self._theirs(call)
        self._change(runner, _params(call))
        return self._show(call)

    def _delete(self, call: Call) -> Answer:
        del self.runners[self._theirs(call).id]
        self.lock.notify_all()
        return Answer(204)

    def _managers(self, call: Call) -> Answer:
        return self._paged(call, list(self._theirs(call).managers.values()))

    def _running(self, call: Call) -> Answer:
        runner = self._theirs(call)
        given = call.headers.get("private-token", "")
        if not self.people[given].sees_jobs:
            return Answer(200, [])
        rows = [
            self._job_row(job)
            for job in self.jobs.values()
            if job.runner == runner.id
            and (
                job.state in ("running", "canceling")
                if call.query.get("status") == "running"
                else True
            )
            and (job.acknowledged or job.state != "pending")
            and call.query.get("system_id") in (None, job.manager)
        ]
        return self._paged(call, rows)

    def _reset(self, call: Call) -> Answer:
        return self._new_token(self._theirs(call))

    def _new_token(self, runner: Runner) -> Answer:
        runner.token, runner.expires = _runner_token(), self._expires()
        return Answer(201, {"token": runner.token, "token_expires_at": self._expiry(runner)})

    def _list(self, call: Call) -> Answer:
        person = self._person(call, "read_api")
        if call.path.endswith("/all") and not person.admin:
            raise Denied(403, "403 Forbidden")
        kind, owner = "instance_type", None
        if call.path == f"{API}/runners":  # those that the token's owner may manage
            return self._paged(call, [self._brief(runner) for runner in self.runners.values()])
        for name, found in (("group", "group_type"), ("project", "project_type")):
            if name in call.at:
                kind, owner = found, self._place(name, call.at[name])
        wanted = {tag for tag in call.query.get("tag_list", "").split(",") if tag}
        rows = [
            self._brief(runner)
            for runner in self.runners.values()
            if runner.kind == kind and runner.owner == owner and wanted <= set(runner.tags)
        ]
        return self._paged(call, rows)

    def _place(self, kind: str, name: str) -> int:
        places = self.groups if kind == "group" else self.projects
        for number, path in places.items():
            if unquote(name) in (str(number), path):
                return number
        raise Denied(404, f"404 {kind.capitalize()} Not Found")

    def _self(self, call: Call) -> Answer:
        """Who the token belongs to."""
        self._person(call, "read_api", "read_user")
        return Answer(200, {"id": 1, "username": "somebody", "name": "Somebody", "state": "active"})

    def _version(self, call: Call) -> Answer:
        self._person(call, "read_api", "read_user")
        return Answer(200, {"version": self.version, "revision": "0123456789a"})

    def _own_token(self, call: Call) -> Answer:
        """What a token is, told to whoever has it, whatever its scopes."""
        person = self._who(call)
        shown = {
            "id": 1,
            "name": "mayfly",
            "revoked": False,
            "created_at": "2026-01-01T00:00:00.000Z",
            "scopes": sorted(person.scopes),
            "user_id": 1,
            "active": True,
            "expires_at": person.expires,
        }
        return Answer(200, shown)

    def _group_projects(self, call: Call) -> Answer:
        """The projects of a group, those that something happened in last first."""
        self._person(call, "read_api")
        path = self.groups[self._place("group", call.at["group"])]
        rows = [
            self._project_row(number)
            for number, name in self.projects.items()
            if name.startswith(f"{path}/")
        ]
        return self._paged(call, rows)

    def _project_row(self, number: int) -> dict[str, Any]:
        path = self.projects[number]
        return {
            "id": number,
            "name": path.rpartition("/")[2],
            "path_with_namespace": path,
            "default_branch": "main",
            "ci_config_path": "",
            "web_url": f"{self.url}/{path}",
        }

    def _group(self, call: Call) -> Answer:
        self._person(call, "read_api")
        number = self._place("group", call.at["group"])
        path = self.groups[number]
        shown = {"id": number, "name": path.rpartition("/")[2], "full_path": path}
        return Answer(200, shown)

    def _project(self, call: Call) -> Answer:
        self._person(call, "read_api")
        return Answer(200, self._project_row(self._place("project", call.at["project"])))

    # -- pipelines ---------------------------------------------------------------------------------------

    def _file(self, call: Call) -> Answer:
        self._person(call, "read_api", "read_repository")
        number = self._place("project", call.at["project"])
        text = self.ci_files.get(number)
        if text is None or unquote(call.at["file"]) != ".gitlab-ci.yml":
            raise Denied(404, "404 File Not Found")
        shown = {
            "file_name": ".gitlab-ci.yml",
            "file_path": ".gitlab-ci.yml",
            "size": len(text),
            "encoding": "base64",
            "content": base64.b64encode(text.encode()).decode(),
            "ref": call.query.get("ref", "HEAD"),
        }
        return Answer(200, shown)

    def _make_pipeline(self, call: Call) -> Answer:
        person = self._person(call)
        number = self._place("project", call.at["project"])
        if not person.owns:
            raise Denied(403, "403 Forbidden")
        text = self.ci_files.get(number)
        if _params(call).get("ref") != "main":
            raise Denied(400, {"base": ["Reference not found"]})
        if text is None:
            raise Denied(400, {"base": ["Missing CI config file"]})
        pipeline = self._id()
        for name, body in re.findall(r"^([\w-]+):\n((?:[ \t].*\n?)+)", text, re.MULTILINE):
            tags, script = (re.search(rf"{key}: \[([^\]]*)\]", body) for key in ("tags", "script"))
            job = self.jobs[
                self.submit(
                    script[1].strip("'\"") if script else "true",
                    tags=[tag.strip() for tag in tags[1].split(",")] if tags else (),
                )
            ]
            job.pipeline, job.name, job.project = pipeline, name, number
        return Answer(201, self._pipeline_row(number, pipeline))

    def _pipeline_row(self, project: int, pipeline: int) -> dict[str, Any]:
        states = {job.state for job in self.jobs.values() if job.pipeline == pipeline}
        status = "skipped"
        for one in ("running", "canceling", "pending", "failed", "canceled", "success"):
            if one in states:
                status = one
                break
        address = f"{self.url}/{self.projects[project]}/-/pipelines/{pipeline}"
        return {
            "id": pipeline,
            "project_id": project,
            "ref": "main",
            "source": "api",
            "status": status,
            "web_url": address,
        }

    def _asked_pipeline(self, call: Call) -> tuple[int, int]:
        self._person(call, "read_api")
        number, wanted = self._place("project", call.at["project"]), call.at["pipeline"]
        there = {job.pipeline for job in self.jobs.values() if job.project == number}
        if not wanted.isdigit() or int(wanted) not in there:
            raise Denied(404, "404 Not found")
        return number, int(wanted)

    def _pipeline(self, call: Call) -> Answer:
        return Answer(200, self._pipeline_row(*self._asked_pipeline(call)))

    def _pipeline_jobs(self, call: Call) -> Answer:
        _, pipeline = self._asked_pipeline(call)
        rows = [self._job_row(job) for job in self.jobs.values() if job.pipeline == pipeline]
        return self._paged(call, rows)

    def _paged(self, call: Call, rows: list[dict[str, Any]]) -> Answer:
        size = min(int(call.query.get("per_page", self.page)), 100)
        number = int(call.query.get("page", 1))
        shown = rows[(number - 1) * size : number * size]
        pages = max(1, -(-len(rows) // size))
        headers = {"X-Page": str(number), "X-Per-Page": str(size)}
        headers |= {"X-Total": str(len(rows)), "X-Total-Pages": str(pages)}
        if number * size < len(rows):
            query = "&".join(
                f"{key}={value}" for key, value in {**call.query, "page": str(number + 1)}.items()
            )
            headers["Link"] = f'<{self.url}{call.path}?{query}>; rel="next"'
        return Answer(200, shown, headers)

    # -- runners, by their own token ------------------------------------------------------------------

    def _register(self, call: Call) -> Answer:
        """Registration tokens are off."""
        del call
        return Answer(410, {"message": "410 Gone - Runner registration is disallowed"})

    def _verify(self, call: Call) -> Answer:
        runner = self._by_token(call)
        body = {"id": runner.id, "token": runner.token, "token_expires_at": self._expiry(runner)}
        return Answer(200, body)

    def _reset_own(self, call: Call) -> Answer:
        return self._new_token(self._by_token(call))

    def _delete_own(self, call: Call) -> Answer:
        del self.runners[self._by_token(call).id]
        self.lock.notify_all()
        return Answer(204)

    def _delete_manager(self, call: Call) -> Answer:
        given = _params(call)
        for runner in self.runners.values():
            if runner.token == given.get("token"):
                if runner.managers.pop(str(given.get("system_id")), None) is None:
                    raise Denied(404, "404 Runner manager Not Found")
                return Answer(204)
        raise Denied(403, "403 Forbidden")

    def _no_router(self, call: Call) -> Answer:
        del call
        return Answer(501, {"message": "501 Not Implemented"})

    # -- the coordinator --------------------------------------------------------------------------------

    def _request(self, call: Call) -> Answer | Wait:
        runner = self._by_token(call)
        given = _params(call)
        nothing = Answer(204, None, {"X-GitLab-Last-Update": runner.queue})
        job = self._next(runner) if not runner.paused else None
        if job is None:
            held = given.get("last_update") == runner.queue and self.hold > 0
            return Wait(self.hold, nothing) if held else nothing
        info = given.get("info") or {}
        features = info.get("features") or {}
        job.features = frozenset(name for name, value in features.items() if value is True)
        job.runner, job.manager = runner.id, given.get("system_id")
        job.handed_out = job.touched = time.time() + self.skew
        job.handed += 1
        if "two_phase_job_commit" not in job.features:
            self._begin(job)
        if job.taken_back in FINAL:
            self._finish(job, job.taken_back)
        elif job.taken_back:
            job.state = job.taken_back
        self._tick()
        return Answer(201, self._document(job), {"X-GitLab-Last-Update": runner.queue})

    def _next(self, runner: Runner) -> Job | None:
        for job in self.jobs.values():
            if job.state == "pending" and job.runner is None and _fits(job, runner):
                return job
        return None

    def _document(self, job: Job) -> dict[str, Any]:
        variables = {
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_SERVER_URL": self.url,
            "CI_JOB_NAME": f"job-{job.id}",
            "GIT_STRATEGY": "none",
            **job.variables,
        }
        shown = [
            {
                "key": key,
                "value": value,
                "public": True,
                "file": False,
                "masked": False,
                "raw": False,
            }
            for key, value in variables.items()
        ]
        shown.append({"key": "CI_JOB_ID", "value": str(job.id), "public": True})
        shown.append({"key": "CI_JOB_TOKEN", "value": job.token, "public": False, "masked": True})
        steps = [_step("script", job.script, job.timeout, "on_success")]
        if job.after:
            steps.append(_step("after_script", job.after, 300, "always"))
        artifacts = [
            {
                "name": "",
                "untracked": False,
                "paths": list(job.artifacts),
                "when": "on_success",
                "artifact_type": "archive",
                "artifact_format": "zip",
            }
        ]
        return {
            "id": job.id,
            "token": job.token,
            "allow_git_fetch": True,
            "job_info": {
                "name": f"job-{job.id}",
                "stage": "test",
                "pipeline_id": 5,
                "project_id": 7,
                "project_name": "library",
                "project_full_path": "ourlab/library",
                "time_in_queue_seconds": 1.5,
            },
            "git_info": {
                "repo_url": f"{self.url}/ourlab/library.git",
                "ref": "main",
                "ref_type": "branch",
                "sha": "0123456789abcdef0123456789abcdef01234567",
                "before_sha": "0" * 40,
                "refspecs": [],
                "depth": 0,
            },
            "runner_info": {"timeout": job.timeout},
            "variables": shown,
            "steps": steps,
            "image": {"name": job.image, "ports": []} if job.image else None,
            "services": [dict(one) for one in job.services],
            "artifacts": artifacts if job.artifacts else [],
            "cache": [],
            "credentials": [],
            "dependencies": [],
            "features": {
                "trace_sections": True,
                "failure_reasons": [
                    "script_failure",
                    "runner_system_failure",
                    "job_execution_timeout",
                    "unknown_failure",
                    "runner_interrupted",
                    "job_canceled",
                ],
            },
            "hooks": [],
        }

    def _own_job(self, call: Call) -> Job:
        job = self.jobs.get(int(call.at["job"])) if call.at["job"].isdigit() else None
        given = call.headers.get("job-token")
        if job is None:
            raise Denied(404, "404 Not Found")
        if given != job.token:
            raise Denied(403, "403 Forbidden")
        job.touched = time.time() + self.skew
        return job

    def _state(self, job: Job) -> dict[str, str]:
        return {"Job-Status": job.state, "X-GitLab-Trace-Update-Interval": str(self.trace_interval)}

    def _put(self, call: Call) -> Answer:
        given = _params(call)
        call.headers = {"job-token": str(given.get("token", "")), **call.headers}
        job = self._own_job(call)
        if job.state in FINAL:
            return Answer(403, {"message": "403 Forbidden - Job is not running"}, self._state(job))
        state = given.get("state")
        if state in ("running", "pending"):
            return self._acknowledge(job)
        if state not in ("success", "failed"):
            return Answer(400, {"error": "state does not have a valid value"})
        output = given.get("output") or {}
        if 412 in job.forced:
            job.forced.remove(412)
            return Answer(412, {"message": "412 Precondition Failed"}, self._state(job))
        checksum = output.get("checksum")
        if checksum and checksum != f"crc32:{zlib.crc32(bytes(job.trace)):08x}":
            return Answer(412, {"message": "412 Precondition Failed"}, self._state(job))
        if 202 in job.forced:
            job.forced.remove(202)
            return Answer(202, {"message": "202 Accepted"}, self._state(job))
        job.exit_code = given.get("exit_code")
        job.failure = given.get("failure_reason")
        job.ended += 1
        if not job.acknowledged:
            self._begin(job)  # its acknowledgement was lost, and it ran nevertheless
        self._finish(job, "canceled" if job.state == "canceling" else str(state))
        self._tick()
        return Answer(200, {"message": "200 OK"}, self._state(job))

    def _begin(self, job: Job) -> None:
        job.state, job.acknowledged, job.begun = "running", True, job.begun + 1
        job.started = job.touched = time.time() + self.skew

    def _acknowledge(self, job: Job) -> Answer:
        if job.runner is None:
            return Answer(409, {"message": "409 Conflict"})
        if job.state == "pending":
            self._begin(job)
            self._tick()
        return Answer(200, {"message": "200 OK"}, self._state(job))

    def _patch(self, call: Call) -> Answer:
        job = self._own_job(call)
        if job.state in FINAL:
            return Answer(403, {"message": "403 Forbidden - Job is not running"}, self._state(job))
        match = re.fullmatch(r"(\d+)-(\d+)", call.headers.get("content-range", ""))
        if match is None:
            return Answer(400, {"message": "400 Bad request - Missing Content-Range"})
        start = int(match[1])
        if 416 in job.forced:
            job.forced.remove(416)
            start = -1
        if start != len(job.trace):
            if start == 0:
                job.trace.clear()  # the runner sends all of it again, after a 412
            else:
                return Answer(416, None, {**self._state(job), "Range": f"0-{len(job.trace)}"})
        job.trace += call.content
        return Answer(202, None, {**self._state(job), "Range": f"0-{len(job.trace)}"})

    def _upload(self, call: Call) -> Answer:
        job = self._own_job(call)
        job.uploaded = call.content
        return Answer(201, {"id": job.id})

    def _download(self, call: Call) -> Answer:
        job = self._own_job(call)
        if job.uploaded is None:
            return Answer(404, {"message": "404 Not Found"})
        return Answer(200, job.uploaded)

    # -- jobs, as people see them -----------------------------------------------------------------------

    def _job_row(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "name": job.name or f"job-{job.id}",
            "stage": "test",
            "ref": "main",
            "status": job.state,
            "duration": (
                job.finished - job.started
                if job.started is not None and job.finished is not None
                else None
            ),
            "tag_list": list(job.tags),
            "created_at": self._iso(job.created),
            "queued_duration": max(0.0, (job.started or time.time() + self.skew) - job.created),
            "started_at": self._iso(job.started) if job.started is not None else None,
            "finished_at": self._iso(job.finished) if job.finished is not None else None,
            "runner": self._runner_of(job),
            "web_url": f"{self.url}/ourlab/library/-/jobs/{job.id}",
        }

    def _runner_of(self, job: Job) -> dict[str, Any] | None:
        if job.runner is None:
            return None
        known = self.runners.get(job.runner)
        return {"id": job.runner, "description": known.description if known is not None else None}

    def _project_jobs(self, call: Call) -> Answer:
        self._person(call, "read_api")
        number = self._place("project", call.at["project"])
        wanted = {value for name, value in call.pairs if name in ("scope[]", "scope")}
        rows = [
            self._job_row(job)
            for job in reversed(self.jobs.values())  # GitLab shows the newest first
            if job.project == number and (not wanted or job.state in wanted)
        ]
        return self._paged(call, rows)

    def _project_job(self, call: Call) -> Answer:
        self._person(call, "read_api")
        return Answer(200, self._job_row(self._asked_job(call)))

    def _asked_job(self, call: Call) -> Job:
        number = self._place("project", call.at["project"])
        job = self.jobs.get(int(call.at["job"])) if call.at["job"].isdigit() else None
        if job is None or job.project != number:
            raise Denied(404, "404 Not Found")
        return job

    def _trace(self, call: Call) -> Answer:
        self._person(call, "read_api")
        return Answer(200, bytes(self._asked_job(call).trace))

    def _cancel(self, call: Call) -> Answer:
        self._person(call)
        job = self._asked_job(call)
        self.cancel(job.id)
        return Answer(201, self._job_row(job))

    def _submit(self, call: Call) -> Answer:
        self._person(call)
        given = _params(call)
        script = given.get("script", [])
        lines = [script] if isinstance(script, str) else [str(line) for line in script]
        job = self.submit(*lines, tags=given.get("tags", ()), variables=given.get("variables"))
        return Answer(201, self._job_row(self.jobs[job]))


class _Insufficient(Denied):
    """The token's scopes do not reach so far."""

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(403, "insufficient_scope")
        self.answer = Answer(
            403,
            {
                "error": "insufficient_scope",
                "error_description": "The request requires higher privileges than provided by the "
                "access token.",
                "scope": " ".join(("api", *scopes)),
            },
        )


def _params(call: Call) -> dict[str, Any]:
    """The call's parameters, from JSON or a form, beside those of its address."""
    if not call.content:
        return dict(call.query)
    if "json" in call.headers.get("content-type", "") or call.content[:1] == b"{":
        return {**call.query, **json.loads(call.content)}
    return {**call.query, **dict(parse_qsl(call.content.decode()))}


def _fits(job: Job, runner: Runner) -> bool:
    return set(job.tags) <= set(runner.tags) if job.tags else runner.run_untagged


def _runner_token() -> str:
    return f"glrt-t1_{secrets.token_urlsafe(15)}"


def _step(name: str, script: Sequence[str], timeout: int, when: str) -> dict[str, Any]:
    return {
        "name": name,
        "script": list(script),
        "timeout": timeout,
        "when": when,
        "allow_failure": name == "after_script",
    }


def main() -> None:
    """Serve until interrupted; the tokens to use are printed first."""
    gitlab = FakeGitLab(hold=50.0)
    person = gitlab.person("api", "create_runner", "manage_runner", admin=True)
    runner = gitlab.runner("gpu")
    gitlab.submit("echo hello from the fake", tags=["gpu"])

    def about() -> str:
        return (
            f"a personal access token: {person}\n"
            f"a runner's token, for jobs with the tag gpu: {runner.token}\n"
            f"a group: 10 (ourlab), a project: 7 (ourlab/library); one job with the tag gpu waits"
        )

    serve(gitlab, __doc__.splitlines()[0] if __doc__ else "", about)


if __name__ == "__main__":
    main()
