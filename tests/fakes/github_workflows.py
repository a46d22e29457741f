"""What a fake GitHub shows of workflows, their runs and jobs; how one is run by hand, and a run cancelled.

Each job that a test queues is a run of its own. Runs are listed by repository alone, as GitHub does it: for
an organisation its repositories are asked one by one, those first that were pushed to last.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.fakes import github_documents as documents
from tests.fakes.http import Answer, Call

if TYPE_CHECKING:
    from tests.fakes.github import FakeGitHub, Job

FOLDER = ".github/workflows/"
STATUSES = {"queued": "queued", "assigned": "queued", "running": "in_progress"}


class Workflows:
    """The runs of a fake's jobs."""

    def __init__(self, fake: FakeGitHub, api: str) -> None:
        self._fake, self._api = fake, api
        runs = f"{api}/repos/{{owner}}/{{repo}}/actions/runs"
        fake.route("GET", f"{api}/orgs/{{org}}/repos", self._repositories)
        fake.route("GET", runs, self._runs)
        fake.route("GET", f"{runs}/{{run}}", self._run)
        fake.route("GET", f"{runs}/{{run}}/jobs", self._jobs)
        fake.route("POST", f"{runs}/{{run}}/cancel", self._cancel)
        fake.route("POST", f"{runs}/{{run}}/force-cancel", self._cancel)
        workflows = f"{api}/repos/{{owner}}/{{repo}}/actions/workflows"
        fake.route("GET", workflows, self._workflows)
        fake.route("GET", f"{workflows}/{{file}}/runs", self._runs_of)
        fake.route("POST", f"{workflows}/{{file}}/dispatches", self._dispatch)
        fake.route("GET", f"{api}/repos/{{owner}}/{{repo}}/contents/{{path*}}", self._content)

    def _repository(self, name: str) -> dict[str, Any]:
        return documents.repository(name, self._fake.repos[name], f"{self._fake.url}{self._api}")

    def _status(self, job: Job) -> str:
        return STATUSES.get(job.state, "completed")

    def _repositories(self, call: Call) -> Answer:
        denied = self._fake.allowed(call, "actions")
        if denied is not None:
            return denied
        if call.at["org"] not in self._fake.orgs:
            return _error(404, "Not Found")
        found = [
            self._repository(name)
            for name in self._fake.repos
            if name.startswith(f"{call.at['org']}/")
        ]
        found.sort(key=lambda one: str(one["pushed_at"]), reverse=True)
        size = min(100, int(call.query.get("per_page", 30)))
        return Answer(200, found[:size])

    def _asked(self, call: Call, want: str) -> str | Answer:
        """The repository that is asked about."""
        denied = self._fake.allowed(call, want)
        if denied is not None:
            return denied
        name = f"{call.at['owner']}/{call.at['repo']}"
        return name if name in self._fake.repos else _error(404, "Not Found")

    def _job(self, call: Call, want: str) -> Job | Answer:
        name = self._asked(call, want)
        if isinstance(name, Answer):
            return name
        found = (one for one in self._fake.jobs if one.repo == name)
        wanted = call.at["run"]
        return next((one for one in found if str(one.run) == wanted), _error(404, "Not Found"))

    def _runs(self, call: Call) -> Answer:
        name = self._asked(call, "actions")
        if isinstance(name, Answer):
            return name
        wanted, repo = call.query.get("status"), self._repository(name)
        shown = [
            documents.run(job, repo, self._status(job), self._fake.url)
            for job in reversed(self._fake.jobs)  # GitHub shows the newest first
            if job.repo == name and wanted in (None, self._status(job))
        ]
        return self._fake.paged(call, "workflow_runs", shown)

    def _workflows(self, call: Call) -> Answer:
        name = self._asked(call, "actions")
        if isinstance(name, Answer):
            return name
        repo = self._repository(name)
        shown = [
            documents.workflow(
                number, f"{FOLDER}{file}", repo, active=file not in self._fake.disabled_workflows
            )
            for number, file in enumerate(self._fake.workflows.get(name, {}), 1)
        ]
        return self._fake.paged(call, "workflows", shown)

    def _content(self, call: Call) -> Answer:
        name = self._asked(call, "contents")
        if isinstance(name, Answer):
            return name
        path = call.at["path"]
        text = self._fake.workflows.get(name, {}).get(path.removeprefix(FOLDER))
        if text is None:
            return _error(404, "Not Found")
        return Answer(200, documents.content(path, text, self._repository(name)))

    def _runs_of(self, call: Call) -> Answer:
        name = self._asked(call, "actions")
        if isinstance(name, Answer):
            return name
        if call.at["file"] not in self._fake.workflows.get(name, {}):
            return _error(404, "Not Found")
        repo, event = self._repository(name), call.query.get("event")
        shown = [
            documents.run(job, repo, self._status(job), self._fake.url)
            for job in reversed(self._fake.jobs)
            if (job.repo, job.workflow) == (name, call.at["file"]) and event in (None, job.event)
        ]
        return self._fake.paged(call, "workflow_runs", shown)

    def _dispatch(self, call: Call) -> Answer:
        """As the button does it: nothing is told of the run that comes of it."""
        name = self._asked(call, "cancel")
        if isinstance(name, Answer):
            return name
        file, asked = call.at["file"], call.json or {}
        text = self._fake.workflows.get(name, {}).get(file)
        if text is None:
            return _error(404, "Not Found")
        if asked.get("ref") != "main":
            return _error(422, f"No ref found for: {asked.get('ref')}")
        if file in self._fake.disabled_workflows:
            return _error(422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
        if "workflow_dispatch" not in text:
            return _error(422, "Workflow does not have 'workflow_dispatch' trigger")
        if "required: true" in text:
            return _error(422, "Required input 'version' not provided")
        wanted = re.search(r"runs-on: \[?([^\]\n]+)", text)
        labels = tuple(word.strip() for word in wanted[1].split(",")) if wanted else ()
        script = re.search(r"run: (.+)", text)
        job = self._fake.queue(script[1] if script else "true", labels, file.partition(".")[0])
        job.repo, job.event, job.workflow = name, "workflow_dispatch", file
        return Answer(204)

    def _run(self, call: Call) -> Answer:
        job = self._job(call, "actions")
        if isinstance(job, Answer):
            return job
        repo = self._repository(job.repo)
        return Answer(200, documents.run(job, repo, self._status(job), self._fake.url))

    def _jobs(self, call: Call) -> Answer:
        job = self._job(call, "actions")
        if isinstance(job, Answer):
            return job
        runner = self._fake.runner(job.runner) if job.runner is not None else None
        runner = runner if job.state in ("running", "completed") else None
        shown = documents.job(job, self._repository(job.repo), self._status(job), runner)
        return self._fake.paged(call, "jobs", [shown])

    def _cancel(self, call: Call) -> Answer:
        job = self._job(call, "cancel")
        if isinstance(job, Answer):
            return job
        if job.state == "completed":
            return _error(409, "Cannot cancel a workflow run that is completed.")
        if job.state == "running":
            job.state = "cancelling"
        else:
            job.state, job.conclusion = "completed", "cancelled"
        self._fake.lock.notify_all()
        return Answer(202, {})


def _error(status: int, message: str) -> Answer:
    docs = "https://docs.example/rest"
    return Answer(status, {"message": message, "documentation_url": docs, "status": str(status)})
