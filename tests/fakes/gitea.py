"""A fake Gitea: the REST calls that a manager makes, and the call by which a runner is registered.

    python -m tests.fakes.gitea --port 8080

serves the organisation `ourlab` with its repository `ourlab/train`; the token that may do everything is
printed.

It answers as Gitea 1.26.0 does (`tests/real/gitea` asks both the same). No runner speaks to it: what one
would do is said by a test (`declare`, `give`, `finish`, `vanish`). What it does wrong is the faults of every
fake.
"""

from __future__ import annotations

import base64
import itertools
import re
import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.http import Answer, Call, Fake, serve

API = "/api/v1"
REGISTER = "/api/actions/runner.v1.RunnerService/Register"
PAGE_MOST = 50  # MAX_RESPONSE_ITEMS
ACTIVE = 10.0  # seconds after a report of a job for which a runner is busy
# Scope of the token, by the beginning of the path.
SCOPES = {"admin": "admin", "user": "user", "orgs": "organization", "repos": "repository"}


@dataclass(slots=True)
class Runner:
    """A registered runner."""

    id: int
    place: str
    name: str
    labels: list[str]
    ephemeral: bool
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str = field(default_factory=lambda: secrets.token_hex(20))
    version: str = ""
    disabled: bool = False
    seen: float = 0.0  # when it last asked for anything
    active: float = 0.0  # when it last reported a job


@dataclass(slots=True)
class Job:
    """A job of a workflow, from its queue to its result."""

    id: int
    labels: list[str]
    status: str = "queued"
    conclusion: str | None = None
    runner: int | None = None
    name: str = "job"
    began: float | None = None
    ended: float | None = None

    @property
    def run(self) -> int:
        """The number of the run that it is the only job of."""
        return 5000 + self.id


class FakeGitea(Fake):
    """The service, with one organisation, its repository, and whatever a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.version = "1.26.0"
        self.root_url: str | None = None  # None: where it answers
        self.offline_after = 60.0  # seconds of silence
        self.page_most = PAGE_MOST
        self.people: dict[str, frozenset[str]] = {}  # token -> its scopes
        self.runners: dict[int, Runner] = {}
        self.jobs: dict[int, Job] = {}
        self.registration: dict[str, str] = {}  # place -> its registration token
        self.may_disable = True  # False: older than 1.26
        self.workflows: dict[str, str] = {}  # of the repository, file -> its text
        self.disabled_workflows: set[str] = set()
        self._ids = itertools.count(1)
        for place in ("admin", "user", "orgs/{org}", "repos/{owner}/{name}"):
            base = f"{API}/{place}/actions"
            self.route("GET", f"{base}/runners", self._list)
            self.route("POST", f"{base}/runners/registration-token", self._registration_token)
            self.route("GET", f"{base}/runners/{{id}}", self._show)
            self.route("PATCH", f"{base}/runners/{{id}}", self._change)
            self.route("DELETE", f"{base}/runners/{{id}}", self._delete)
            self.route("GET", f"{base}/jobs", self._jobs)
        repository = f"{API}/repos/{{owner}}/{{name}}"
        self.route("GET", repository, self._repository)
        self.route("GET", f"{repository}/contents/{{path*}}", self._content)
        self.route("GET", f"{repository}/actions/workflows", self._workflows)
        self.route("POST", f"{repository}/actions/workflows/{{file}}/dispatches", self._dispatch)
        self.route("GET", f"{repository}/actions/runs/{{run}}", self._run)
        self.route("GET", f"{repository}/actions/runs/{{run}}/jobs", self._run_jobs)
        self.route("GET", f"{API}/orgs/{{org}}/repos", self._org_repos)
        self.route("GET", f"{API}/user/orgs", self._user_orgs)
        self.route("GET", f"{API}/user/repos", self._user_repos)
        self.route("POST", REGISTER, self._register)
        self.route("GET", f"{API}/version", self._version)
        self.route("GET", "/.well-known/openid-configuration", self._openid)

    # -- what tests say ------------------------------------------------------------------------------

    def person(self, *scopes: str) -> str:
        """The token of somebody who owns everything, with those scopes (``all``)."""
        token = secrets.token_hex(20)
        self.people[token] = frozenset(scopes)
        return token

    def by_key(self, key: str) -> Runner:
        """The runner whose own token that is."""
        with self.lock:
            return next(one for one in self.runners.values() if one.token == key)

    def declare(self, runner: Runner) -> None:
        """It has come up, and asks for jobs."""
        with self.lock:
            runner.seen, runner.version = time.time(), "v1.0.8"

    def vanish(self, runner: Runner) -> None:
        """Nothing is heard of it any more."""
        with self.lock:
            runner.seen = runner.active = 0.0

    def submit(self, *labels: str) -> Job:
        """A job that waits for a runner with those labels."""
        with self.lock:
            job = Job(next(self._ids), list(labels))
            self.jobs[job.id] = job
            return job

    def give(self, job: Job, runner: Runner) -> bool:
        """The runner asks for a job; whether it gets that one."""
        with self.lock:
            busy = any(
                one.runner == runner.id and one.status == "in_progress"
                for one in self.jobs.values()
            )
            fits = set(job.labels) <= set(runner.labels)
            if runner.id not in self.runners or runner.disabled or busy or not fits:
                return False
            job.status, job.runner, runner.seen = "in_progress", runner.id, time.time()
            job.began = time.time()
            return True

    def report(self, runner: Runner) -> None:
        """It has told how its job goes."""
        with self.lock:
            runner.seen = runner.active = time.time()

    def finish(self, job: Job, conclusion: str = "success") -> None:
        """The job is over, whoever ended it: its runner goes with it where it was for one job."""
        with self.lock:
            job.status, job.conclusion, job.ended = "completed", conclusion, time.time()
            runner = self.runners.get(job.runner or 0)
            if runner is not None and runner.ephemeral:
                del self.runners[runner.id]

    # -- runners ---------------------------------------------------------------------------------------

    def _place(self, call: Call, *, write: bool) -> str | Answer:
        """The place that is asked about, or why it is not to be seen."""
        place = re.split("/actions/|/contents/", call.path.removeprefix(f"{API}/"))[0]
        place = place.removesuffix("/repos") if place.startswith("orgs/") else place
        kind, _, name = place.partition("/")
        given = call.headers.get("authorization", "").removeprefix("token ")
        scopes = self.people.get(given)
        if scopes is None:
            return _refusal(401, "invalid username, password or token")
        level, scope = "write" if write else "read", SCOPES[kind]
        if not scopes & {"all", f"write:{scope}", *([] if write else [f"read:{scope}"])}:
            return _refusal(
                403,
                "token does not have at least one of required scope(s), "
                f"required=[{level}:{scope}], token scope={','.join(sorted(scopes))}",
            )
        if (kind == "orgs" and name != "ourlab") or (kind == "repos" and name != "ourlab/train"):
            return _refusal(404, "The target couldn't be found.")
        return place

    def _asked(self, call: Call, *, write: bool) -> Runner | Answer:
        place = self._place(call, write=write)
        if isinstance(place, Answer):
            return place
        number = call.at["id"]
        runner = self.runners.get(int(number)) if number.isdigit() else None
        if runner is None:
            return _refusal(404, "Runner not found")
        if place not in ("admin", runner.place):
            return _refusal(404, "No permission to access this runner")
        return runner

    def _row(self, runner: Runner) -> dict[str, Any]:
        now = time.time()
        online = now - runner.seen <= self.offline_after
        return {
            "id": runner.id,
            "name": runner.name,
            "status": "online" if online else "offline",
            "busy": online and now - runner.active <= ACTIVE,
            "disabled": runner.disabled,
            "ephemeral": runner.ephemeral,
            "labels": [
                {"id": number, "name": label, "type": "custom"}
                for number, label in enumerate(runner.labels)
            ],
        }

    def _paged(self, call: Call, key: str, rows: Sequence[dict[str, Any]]) -> Answer:
        size = min(self.page_most, int(call.query.get("limit") or self.page_most))
        first = (max(1, int(call.query.get("page") or 1)) - 1) * size
        return Answer(200, {key: list(rows[first : first + size]), "total_count": len(rows)})

    def _list(self, call: Call) -> Answer:
        place = self._place(call, write=False)
        if isinstance(place, Answer):
            return place
        # The one that was heard of last comes first, so that the pages move.
        ours = [one for one in self.runners.values() if place in ("admin", one.place)]
        ours.sort(key=lambda one: (-one.seen, one.id))
        return self._paged(call, "runners", [self._row(one) for one in ours])

    def _show(self, call: Call) -> Answer:
        runner = self._asked(call, write=False)
        return runner if isinstance(runner, Answer) else Answer(200, self._row(runner))

    def _change(self, call: Call) -> Answer:
        if not self.may_disable:
            return Answer(405, b"")
        runner = self._asked(call, write=True)
        if isinstance(runner, Answer):
            return runner
        disabled = (call.json or {}).get("disabled")
        if not isinstance(disabled, bool):
            return _refusal(422, "[Disabled]: Required")
        runner.disabled = disabled
        return Answer(200, self._row(runner))

    def _delete(self, call: Call) -> Answer:
        """As Gitea does it: whatever the runner is at."""
        runner = self._asked(call, write=True)
        if isinstance(runner, Answer):
            return runner
        del self.runners[runner.id]
        return Answer(204)

    def _jobs(self, call: Call) -> Answer:
        place = self._place(call, write=False)
        if isinstance(place, Answer):
            return place
        rows = [
            self._job_row(job)
            for job in self.jobs.values()
            if call.query.get("status") in (None, job.status)
        ]
        return self._paged(call, "jobs", rows)

    # -- what a person has ----------------------------------------------------------------------------

    def _may_read(self, call: Call, *wanted: str) -> Answer | None:
        """Why the token may not read that."""
        scopes = self.people.get(call.headers.get("authorization", "").removeprefix("token "))
        if scopes is None:
            return _refusal(401, "invalid username, password or token")
        for scope in wanted:
            if not scopes & {"all", f"read:{scope}", f"write:{scope}"}:
                return _refusal(
                    403,
                    "token does not have at least one of required scope(s), "
                    f"required=[read:{scope}], token scope={','.join(sorted(scopes))}",
                )
        return None

    def _user_orgs(self, call: Call) -> Answer:
        denied = self._may_read(call, "user", "organization")
        return denied or Answer(200, [{"id": 1, "name": "ourlab", "username": "ourlab"}])

    def _user_repos(self, call: Call) -> Answer:
        denied = self._may_read(call, "user", "repository")
        return denied or Answer(200, [{"id": 1, "name": "train", "full_name": "ourlab/train"}])

    # -- workflows -------------------------------------------------------------------------------------

    def _org_repos(self, call: Call) -> Answer:
        denied = self._may_read(call, "organization")
        return denied or Answer(200, [{"id": 1, "name": "train", "full_name": "ourlab/train"}])

    def _repository(self, call: Call) -> Answer:
        place = self._place(call, write=False)
        shown = {"id": 1, "full_name": "ourlab/train", "default_branch": "main"}
        return place if isinstance(place, Answer) else Answer(200, shown)

    def _workflows(self, call: Call) -> Answer:
        place = self._place(call, write=False)
        if isinstance(place, Answer):
            return place
        shown = [
            {
                "id": file,
                "name": file.partition(".")[0],
                "path": f".gitea/workflows/{file}",
                "state": "disabled_manually" if file in self.disabled_workflows else "active",
                "created_at": _iso(None),
                "updated_at": _iso(None),
                "deleted_at": _iso(None),
                "url": f"{self.url}{API}/{place}/actions/workflows/{file}",
                "html_url": f"{self.url}/ourlab/train/src/branch/main/.gitea/workflows/{file}",
                "badge_url": f"{self.url}/ourlab/train/actions/workflows/{file}/badge.svg?branch=main",
            }
            for file in self.workflows
        ]
        return Answer(200, {"workflows": shown, "total_count": len(shown)})

    def _content(self, call: Call) -> Answer:
        place = self._place(call, write=False)
        if isinstance(place, Answer):
            return place
        text = self.workflows.get(call.at["path"].removeprefix(".gitea/workflows/"))
        if text is None:
            return _refusal(404, "object does not exist")
        content = base64.b64encode(text.encode()).decode()
        return Answer(200, {"type": "file", "encoding": "base64", "content": content})

    def _dispatch(self, call: Call) -> Answer:
        place = self._place(call, write=True)
        if isinstance(place, Answer):
            return place
        file, ref = call.at["file"], (call.json or {}).get("ref")
        text = self.workflows.get(file)
        if text is None:
            return _refusal(404, f'workflow "{file}" doesn\'t exist')
        if ref != "main":
            return _refusal(404, f'ref "{ref}" doesn\'t exist')
        if file in self.disabled_workflows:
            return _refusal(403, "workflow is disabled")
        # (One without `workflow_dispatch` Gitea runs all the same.)
        wanted = re.search(r"runs-on: \[?([^\]\n]+)", text)
        job = self.submit(*(word.strip() for word in wanted[1].split(",")) if wanted else ())
        job.name = file.partition(".")[0]
        if call.query.get("return_run_details") != "true":
            return Answer(204)
        at = f"{self.url}{API}/{place}/actions/runs/{job.run}"
        page = f"{self.url}/ourlab/train/actions/runs/{job.run}"
        return Answer(200, {"workflow_run_id": job.run, "run_url": at, "html_url": page})

    def _asked_run(self, call: Call) -> Job | Answer:
        place = self._place(call, write=False)
        if isinstance(place, Answer):
            return place
        found = (job for job in self.jobs.values() if str(job.run) == call.at["run"])
        return next(found, _refusal(404, "run does not exist"))

    def _run(self, call: Call) -> Answer:
        job = self._asked_run(call)
        if isinstance(job, Answer):
            return job
        page = f"{self.url}/ourlab/train/actions/runs/{job.run}"
        shown = {
            "id": job.run,
            "status": job.status,
            "html_url": page,
            "event": "workflow_dispatch",
        }
        if job.conclusion is not None:
            shown["conclusion"] = job.conclusion
        return Answer(200, shown)

    def _run_jobs(self, call: Call) -> Answer:
        job = self._asked_run(call)
        if isinstance(job, Answer):
            return job
        return self._paged(call, "jobs", [self._job_row(job)])

    def _job_row(self, job: Job) -> dict[str, Any]:
        runner = self.runners.get(job.runner or 0)
        return {
            "id": job.id,
            "run_id": job.run,
            "name": job.name,
            "labels": job.labels,
            "status": job.status,
            "started_at": _iso(job.began),
            "completed_at": _iso(job.ended),
            "steps": [],
            **({"runner_id": job.runner} if job.runner is not None else {}),
            # of one that is gone Gitea knows no name
            **({"runner_name": runner.name} if runner is not None else {}),
            **({"conclusion": job.conclusion} if job.conclusion is not None else {}),
        }

    # -- registering -------------------------------------------------------------------------------------

    def _registration_token(self, call: Call) -> Answer:
        place = self._place(call, write=True)
        if isinstance(place, Answer):
            return place
        token = self.registration.setdefault(place, secrets.token_urlsafe(30)[:40])
        return Answer(200, {"token": token})

    def _register(self, call: Call) -> Answer:
        asked = call.json
        if not asked.get("token") or not asked.get("name"):
            return Answer(500, {"code": "unknown", "message": "missing runner token, name"})
        places = {token: place for place, token in self.registration.items()}
        place = places.get(asked["token"])
        if place is None:
            said = "runner registration token not found"
            return Answer(500, {"code": "unknown", "message": said})
        runner = Runner(
            next(self._ids),
            place,
            asked["name"],
            list(asked.get("labels", ())),
            asked.get("ephemeral", False),
            version=asked.get("version", ""),
        )
        self.runners[runner.id] = runner
        shown = {
            "id": str(runner.id),
            "uuid": runner.uuid,
            "token": runner.token,
            "name": runner.name,
            "version": runner.version,
            "labels": runner.labels,
        }
        return Answer(
            200, {"runner": {**shown, **({"ephemeral": True} if runner.ephemeral else {})}}
        )

    # -- what it is ----------------------------------------------------------------------------------------

    def _version(self, call: Call) -> Answer:
        del call
        return Answer(200, {"version": self.version})

    def _openid(self, call: Call) -> Answer:
        del call
        return Answer(200, {"issuer": self.root_url or f"{self.url}/"})

    def missing(self, call: Call) -> Answer:
        del call
        return Answer(404, b"404 page not found\n")


def _iso(when: float | None) -> str:
    """A moment as Gitea writes it; of none it writes the first one."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when or 0.0))


def _refusal(status: int, message: str) -> Answer:
    return Answer(status, {"message": message, "url": "https://gitea.example/api/swagger"})


def main() -> None:
    """Serve until interrupted; the token to use is printed first."""
    gitea = FakeGitea()
    token = gitea.person("all")
    serve(gitea, __doc__.splitlines()[0] if __doc__ else "", lambda: f"a token: {token}")


if __name__ == "__main__":
    main()
