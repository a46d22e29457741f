"""What a fake Azure DevOps shows of builds, each of one job, and how one is cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.http import Answer, Call

if TYPE_CHECKING:
    from tests.fakes.azure import FakeAzure, Job

PROJECT = "5f0c7a2e-7b7e-4d0c-9a57-3a1a6a1d2c11"  # of which all builds are
BUILDS = "0cd358e1-9217-4d94-8269-1c1ee6f93dcf"  # the id by which a client finds them


class Builds:
    """The builds of a fake's jobs."""

    def __init__(self, fake: FakeAzure, organisation: str) -> None:
        self._fake, self._organisation = fake, organisation
        builds = f"{organisation}/{{project}}/_apis/build/[Bb]uilds"
        for spelt in (builds.replace("[Bb]", "b"), builds.replace("[Bb]", "B")):
            fake.route("GET", spelt, self._list)
            fake.route("GET", f"{spelt}/{{build}}", self._get)
            fake.route("PATCH", f"{spelt}/{{build}}", self._change)

    def of(self, job: Job) -> dict[str, Any]:
        """What a job's request says of its build."""
        at = f"{self._fake.url}{self._organisation}/{PROJECT}"
        links = {
            "web": {"href": f"{at}/_build/results?buildId={job.id}"},
            "self": {"href": f"{at}/_apis/build/Builds/{job.id}"},
        }
        return {"id": job.id, "name": f"20260101.{job.id}", "_links": links}

    def _shown(self, job: Job) -> dict[str, Any]:
        done = job.result is not None
        results = {"succeeded": "succeeded", "canceled": "canceled", None: None}
        return {
            **self.of(job),
            "buildNumber": f"20260101.{job.id}",
            "status": "completed" if done else "inProgress",
            "result": results.get(job.result, "failed"),
            "queueTime": self._fake.iso(job.queued_at),
            "project": {"id": PROJECT, "name": "library"},
            "queue": {"id": 1, "name": "gpu", "pool": {"id": 2, "name": "gpu"}},
        }

    def _asked(self, call: Call) -> Job | Answer:
        job = self._fake.jobs.get(int(call.at["build"]))
        if job is not None and call.at["project"] in (PROJECT, "library"):
            return job
        told = f"The requested build {call.at['build']} could not be found."
        return self._fake.error(404, "BuildNotFoundException", told)

    def _refused(self, call: Call, want: str) -> Answer | None:
        if want in self._fake.build_rights:
            return None
        return self._fake.error(403, "AccessDeniedException", "Access denied: builds.")

    def _list(self, call: Call) -> Answer:
        refused = self._refused(call, "read")
        if refused is not None:
            return refused
        shown = [self._shown(job) for job in self._fake.jobs.values() if job.result is None]
        return Answer(200, {"count": len(shown), "value": shown})

    def _get(self, call: Call) -> Answer:
        job = self._asked(call)
        refused = self._refused(call, "read")
        if refused is not None:
            return refused
        return job if isinstance(job, Answer) else Answer(200, self._shown(job))

    def _change(self, call: Call) -> Answer:
        job = self._asked(call)
        refused = self._refused(call, "execute")
        if refused is not None:
            return refused
        if isinstance(job, Answer):
            return job
        if (call.json or {}).get("status") != "cancelling":
            return self._fake.error(400, "InvalidBuildException", "A build is only cancelled.")
        if job.result is not None:
            told = f"Build {job.id} is completed and cannot be changed."
            return self._fake.error(400, "BuildStatusInvalidChangeException", told)
        self._fake.cancel(job)
        return Answer(200, {**self._shown(job), "status": "cancelling"})
