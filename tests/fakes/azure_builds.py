"""What a fake Azure DevOps shows of pipelines and builds, each of one job; how one is run and cancelled."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tests.fakes.http import Answer, Call

if TYPE_CHECKING:
    from tests.fakes.azure import FakeAzure, Job

PROJECT = "5f0c7a2e-7b7e-4d0c-9a57-3a1a6a1d2c11"  # of which all builds are
BUILDS = "0cd358e1-9217-4d94-8269-1c1ee6f93dcf"  # the id by which a client finds them


@dataclass(slots=True)
class Definition:
    """A pipeline of the project."""

    id: int
    name: str
    script: str = "true"
    demands: tuple[str, ...] = ()
    pool: str = "gpu"
    enabled: bool = True
    wrong: str = ""  # why it cannot be run; "": it can
    path: str = "\\"  # the folder that it is in


class Builds:
    """The builds of a fake's jobs."""

    def __init__(self, fake: FakeAzure, organisation: str) -> None:
        self._fake, self._organisation = fake, organisation
        builds = f"{organisation}/{{project}}/_apis/build/[Bb]uilds"
        for spelt in (builds.replace("[Bb]", "b"), builds.replace("[Bb]", "B")):
            fake.route("GET", spelt, self._list)
            fake.route("GET", f"{spelt}/{{build}}", self._get)
            fake.route("PATCH", f"{spelt}/{{build}}", self._change)
            fake.route("POST", spelt, self._begin)
            fake.route("GET", f"{spelt}/{{build}}/timeline", self._timeline)
        fake.route("GET", f"{organisation}/_apis/projects", self._projects)
        definitions = f"{organisation}/{{project}}/_apis/build/definitions"
        fake.route("GET", definitions, self._definitions)

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

    def _refused(self, call: Call | None, want: str) -> Answer | None:
        del call
        if want in self._fake.build_rights:
            return None
        status = self._fake.build_refusal
        return self._fake.error(status, "AccessDeniedException", "Access denied: builds.")

    def _list(self, call: Call) -> Answer:
        refused = self._refused(call, "read")
        if refused is not None:
            return refused
        shown = [self._shown(job) for job in self._fake.jobs.values() if job.result is None]
        return Answer(200, {"count": len(shown), "value": shown})

    def _projects(self, call: Call) -> Answer:
        del call
        shown = [{"id": PROJECT, "name": "library", "state": "wellFormed", "visibility": "private"}]
        return self._refused(None, "read") or Answer(200, {"count": 1, "value": shown})

    def _definitions(self, call: Call) -> Answer:
        if call.at["project"] not in (PROJECT, "library"):
            told = "TF200016: The following project does not exist."
            return self._fake.error(404, "ProjectDoesNotExistWithNameException", told)
        wanted = call.query.get("name", "*").casefold()  # a pattern
        shown = [
            {
                "id": one.id,
                "name": one.name,
                "path": one.path,
                "type": "build",
                "queueStatus": "enabled" if one.enabled else "disabled",
                "queue": {"id": 1, "name": one.pool, "pool": {"id": 2, "name": one.pool}},
                "project": {"id": PROJECT, "name": "library"},
            }
            for one in self._fake.definitions
            if fnmatchcase(one.name.casefold(), wanted)
        ]
        return self._refused(call, "read") or Answer(200, {"count": len(shown), "value": shown})

    def _begin(self, call: Call) -> Answer:
        refused = self._refused(call, "execute")
        if refused is not None:
            return refused
        wanted = ((call.json or {}).get("definition") or {}).get("id")
        found = next((one for one in self._fake.definitions if one.id == wanted), None)
        if found is None:
            told = f"Definition {wanted} could not be found."
            return self._fake.error(404, "DefinitionNotFoundException", told)
        if found.wrong:
            kind = "BuildRequestValidationFailedException"
            return self._fake.error(400, kind, found.wrong)
        return Answer(200, self._shown(self._fake.queue(found.script, found.name, found.demands)))

    def _timeline(self, call: Call) -> Answer:
        job = self._asked(call)
        refused = self._refused(call, "read")
        if refused is not None:
            return refused
        if isinstance(job, Answer):
            return job
        if job.agent is None and job.result is None:
            return Answer(204)
        times = {
            "startTime": self._fake.iso(job.began) if job.began is not None else None,
            "finishTime": self._fake.iso(job.ended) if job.ended is not None else None,
        }
        state = "completed" if job.result is not None else "inProgress"
        shown = {"state": state, "result": self._shown(job)["result"], **times}
        records = [
            {"id": job.plan, "type": "Stage", "name": "__default", **shown, "workerName": None},
            {"id": job.job, "type": "Job", "name": job.name, **shown, "workerName": job.agent},
            {"id": job.token, "type": "Task", "name": "Bash", **shown, "workerName": job.agent},
        ]
        return Answer(200, {"id": job.plan, "changeId": 1, "records": records})

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
