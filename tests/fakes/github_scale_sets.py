"""A fake GitHub that hands its jobs out to scale sets, beside all that the fake GitHub does.

    python -m tests.fakes.github_scale_sets --port 8080

Where a GitHub offers its jobs they are to be acquired (`hosted = False`, as on a server of one's own); where
it does not, they are assigned as long as a set says that it has room. What goes wrong on order, beside the
faults of every fake: a set that vanishes (`delete_set`), one whose labels are dropped (`labels_kept`), tokens
that live for a moment (`admin_life`, `queue_life`), a session that stays when its owner has died (`linger`),
messages that come again although they were deleted (`duplicates`), offers that somebody else takes
(`snatch`), jobs that are cancelled at any time (`cancel`), assignments that lapse (`lapse`), numbers of
messages that begin anew (`restart_numbers`), and a GitHub without scale sets (`has_sets`).
"""

from __future__ import annotations

import base64
import itertools
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.github import FakeGitHub, Job, Runner, Token, _b64url
from tests.fakes.http import Answer, Call, Wait, serve

TENANT = "/tenant/1"
SETS = f"{TENANT}/_apis/runtime/runnerscalesets"
AGENTS = f"{TENANT}/_apis/distributedtask/pools/0/agents"
QUEUE = "/scalesets/message"
FIRST = 100_000_001


@dataclass(slots=True)
class SetSession:
    """The one session of a set."""

    id: str
    owner: str
    token: str
    expires: float
    seen: float
    polls: int = 0  # under way


@dataclass(slots=True)
class Set:
    """A scale set, and what it is told."""

    id: int
    scope: str
    name: str
    group: int
    labels: list[str]
    setting: dict[str, Any]
    session: SetSession | None = None
    capacity: int = 0  # as last announced
    pending: list[dict[str, Any]] = field(default_factory=list)
    messages: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    next: int = FIRST
    seen: set[int] = field(default_factory=set)  # numbers that were deleted at least once


class FakeScaleSets(FakeGitHub):
    """The service, with the scale sets of its places."""

    def __init__(self) -> None:
        self.sets: dict[int, Set] = {}
        self.has_sets = True
        self.hosted = False
        self.labels_kept = True
        self.poll_hold = 50.0
        self.linger = 50.0
        self.lapse = 300.0
        self.service_at: str | None = None  # where its Actions service is; None: where it is itself
        self.queue_at: str | None = None  # where its messages are; None: at its Actions service
        self.admin_life = 3600.0
        self.queue_life = 3600.0
        self.batch = 50
        self.duplicates = 0  # how many deleted messages are delivered once more
        self.minted = 0
        self.most_registered = 0  # without a job, at once, beside those that jobs wait for
        self._admins: dict[str, float] = {}
        self._dead: set[str] = set()  # tokens of queues that are no more
        self._of_set: dict[int, int] = {}  # runner -> set
        self._place: dict[str, int] = {}  # job -> the set that has it
        self._request: dict[int, str] = {}  # offer -> job
        self._offered: dict[str, int] = {}  # job -> offer
        self._given_at: dict[str, float] = {}
        self._told: set[str] = set()  # jobs whose end was told
        self._wants: dict[int, list[str]] = {}  # job's number -> the labels that it asks for
        self._numbers_of_sets = itertools.count(7)
        self._requests = itertools.count(5001)
        super().__init__()

    def _routes_all(self) -> None:
        super()._routes_all()
        self.route("GET", f"{TENANT}/_apis/runtime/runnergroups/", self.find_group)
        self.route("GET", SETS, self.find_sets)
        self.route("POST", SETS, self.make_set)
        self.route("GET", f"{SETS}/{{set}}", self.get_set)
        self.route("PATCH", f"{SETS}/{{set}}", self.change_set)
        self.route("DELETE", f"{SETS}/{{set}}", self.remove_set)
        self.route("POST", f"{SETS}/{{set}}/sessions", self.open_set_session)
        self.route("PATCH", f"{SETS}/{{set}}/sessions/{{session}}", self.renew_set_session)
        self.route("DELETE", f"{SETS}/{{set}}/sessions/{{session}}", self.close_set_session)
        self.route("POST", f"{SETS}/{{set}}/acquirejobs", self.acquire_jobs)
        self.route("POST", f"{SETS}/{{set}}/generatejitconfig", self.make_runner)
        self.route("GET", AGENTS, self.find_agents)
        self.route("GET", f"{AGENTS}/{{id}}", self.get_agent)
        self.route("DELETE", f"{AGENTS}/{{id}}", self.remove_agent)
        self.route("GET", QUEUE, self.next_message)
        self.route("DELETE", f"{QUEUE}/{{message}}", self.delete_message)

    # -- what tests ask ------------------------------------------------------------

    def queue_job(self, script: str = "true", labels: tuple[str, ...] = ("gpu",)) -> Job:
        """Queue a job that scale sets alone are told of."""
        with self.lock:
            job = self.queue(script, labels)
            job.state = "held"
            self._hand_out()
            self.lock.notify_all()
            return job

    def the_set(self, name: str) -> Set | None:
        """The scale set of that name."""
        with self.lock:
            return next((one for one in self.sets.values() if one.name == name), None)

    def delete_set(self, name: str) -> None:
        """Have a set vanish, as one that nobody listened to for a week."""
        with self.lock:
            one = self.the_set(name)
            assert one is not None
            self._delete(one)

    def cancel(self, job: Job) -> None:
        """Cancel a job that no runner has begun."""
        with self.lock:
            job.state, job.conclusion = "completed", "cancelled"
            for runner in self.runners.values():
                if runner.job is job:
                    runner.job = None
            self._tell_ends()
            self.lock.notify_all()

    def snatch(self, job: Job) -> None:
        """Have somebody else take a job that is offered."""
        with self.lock:
            job.state, job.conclusion = "elsewhere", "elsewhere"
            self._request.pop(self._offered.get(job.id, 0), None)
            for one in self.sets.values():
                one.pending = [e for e in one.pending if e["jobId"] != job.id]
            self.lock.notify_all()

    def expire_session(self, name: str) -> None:
        """Have a set's session end."""
        with self.lock:
            one = self.the_set(name)
            assert one is not None
            self._end_session(one)
            self.lock.notify_all()

    def restart_numbers(self, name: str) -> None:
        """Have the set's messages be numbered from the beginning."""
        with self.lock:
            one = self.the_set(name)
            assert one is not None
            one.next = FIRST

    def unassigned(self) -> list[Runner]:
        """Registered runners that have no job."""
        with self.lock:
            return [runner for runner in self.runners.values() if runner.job is None]

    # -- being let in ------------------------------------------------------------

    def remote_auth(self, call: Call) -> Answer:
        if not self.has_sets:
            return _plain(404)
        scope = self._remote_scope(call, call.json["url"])
        if scope is None or call.json.get("runner_event") != "register":
            return Answer(401, {"message": "Bad credentials"})
        expires = time.time() + self.skew + self.admin_life
        token = _jwt(expires, scope)
        self._admins[token] = expires
        self.tokens[token] = Token("write", expires)
        self.issued[f"admin token {len(self._admins)}"] = token
        return Answer(200, {"url": f"{self.service_at or self.url}{TENANT}/", "token": token})

    def _denied(self, call: Call) -> Answer | None:
        if "api-version" not in call.query:
            return _trouble(400, "VssServiceException", "no api-version")
        expires = self._admins.get(self._bearer(call))
        if expires is None or time.time() + self.skew > expires:
            return _trouble(401, "InvalidTokenException", "The token is not valid")
        return None

    def _scope_of(self, call: Call) -> str:
        return str(json.loads(_unb64(self._bearer(call).split(".")[1]))["scope"])

    def _set_of(self, call: Call, *, queue: bool = False) -> Set | Answer:
        if not queue:
            denied = self._denied(call)
            if denied is not None:
                return denied
        one = self.sets.get(int(call.at["set"]))
        if one is None:
            return _trouble(404, "RunnerScaleSetNotFoundException", "no such runner scale set")
        return one

    # -- sets ------------------------------------------------------------

    def find_group(self, call: Call) -> Answer:
        denied = self._denied(call)
        if denied is not None:
            return denied
        wanted = call.query.get("groupName", "").lower()
        found = [
            {"id": number, "name": group["name"], "size": 0, "isDefaultGroup": number == 1}
            for number, group in self.groups.items()
            if group["name"].lower() == wanted
        ]
        return Answer(200, {"count": len(found), "value": found})

    def find_sets(self, call: Call) -> Answer:
        denied = self._denied(call)
        if denied is not None:
            return denied
        found = [
            self._show_set(one)
            for one in self.sets.values()
            if one.scope == self._scope_of(call)
            and call.query.get("name") in (None, one.name)
            and call.query.get("runnerGroupId") in (None, str(one.group))
        ]
        return Answer(200, {"count": len(found), "value": found})

    def make_set(self, call: Call) -> Answer:
        denied = self._denied(call)
        if denied is not None:
            return denied
        wanted, scope = call.json, self._scope_of(call)
        for one in self.sets.values():
            same = (one.name, one.group, one.scope) == (
                wanted["name"],
                wanted["runnerGroupId"],
                scope,
            )
            if same:
                return _trouble(400, "RunnerScaleSetExistsException", "there is one of that name")
        one = Set(
            next(self._numbers_of_sets),
            scope,
            wanted["name"],
            wanted["runnerGroupId"],
            [],
            wanted.get("RunnerSetting", {}),
        )
        self._label(one, wanted.get("labels", []))
        self.sets[one.id] = one
        self._hand_out()
        return Answer(200, self._show_set(one))

    def _label(self, one: Set, labels: list[dict[str, str]]) -> None:
        names = [label["name"] for label in labels] or [one.name]
        one.labels = names if self.labels_kept else [one.name]

    def get_set(self, call: Call) -> Answer:
        one = self._set_of(call)
        return one if isinstance(one, Answer) else Answer(200, self._show_set(one))

    def change_set(self, call: Call) -> Answer:
        one = self._set_of(call)
        if isinstance(one, Answer):
            return one
        if "labels" in call.json:
            self._label(one, call.json["labels"])
        self._hand_out()
        return Answer(200, self._show_set(one))

    def remove_set(self, call: Call) -> Answer:
        one = self._set_of(call)
        if isinstance(one, Answer):
            return one
        self._delete(one)
        return Answer(204)

    def _delete(self, one: Set) -> None:
        self._end_session(one)
        del self.sets[one.id]
        for job in self.jobs:
            if self._place.get(job.id) == one.id and job.state in ("queued", "assigned"):
                self._give_back(job)
        for runner in list(self.runners.values()):
            if self._of_set.get(runner.id) == one.id and runner.job is None:
                self._remove(runner)
        self._offered.clear()
        self._hand_out()
        self.lock.notify_all()

    def _give_back(self, job: Job) -> None:
        self._place.pop(job.id, None)
        self._given_at.pop(job.id, None)
        self._offered.pop(job.id, None)
        job.state, job.labels, job.runner = "held", list(self._wanted_labels(job)), None

    def _wanted_labels(self, job: Job) -> list[str]:
        return self._wants.get(job.number, job.labels)

    def _show_set(self, one: Set) -> dict[str, Any]:
        return {
            "id": one.id,
            "name": one.name,
            "runnerGroupId": one.group,
            "runnerGroupName": self.groups[one.group]["name"],
            "labels": [{"type": "system", "name": label} for label in one.labels],
            "runnerSetting": one.setting,
            "createdOn": "2026-01-01T00:00:00Z",
            "statistics": self._statistics(one),
        }

    def _statistics(self, one: Set) -> dict[str, int]:
        ours = [job for job in self.jobs if self._place.get(job.id) == one.id]
        assigned = [job for job in ours if job.state in ("queued", "assigned", "running")]
        running = [job for job in ours if job.state == "running"]
        runners = [r for r in self.runners.values() if self._of_set.get(r.id) == one.id]
        offered = [job for job in self.jobs if job.state == "held" and job.id in self._offered]
        return {
            "totalAvailableJobs": len(offered),
            "totalAcquiredJobs": len(assigned),
            "totalAssignedJobs": len(assigned),
            "totalRunningJobs": len(running),
            "totalRegisteredRunners": len(runners),
            "totalBusyRunners": sum(1 for r in runners if r.job is not None),
            "totalIdleRunners": sum(1 for r in runners if r.job is None and self._online(r)),
        }

    # -- sessions and messages ------------------------------------------------------------

    def _end_session(self, one: Set) -> None:
        if one.session is not None:
            self._dead.add(one.session.token)
            one.session = None

    def open_set_session(self, call: Call) -> Answer:
        one = self._set_of(call)
        if isinstance(one, Answer):
            return one
        now = time.monotonic()
        if one.session is not None and (one.session.polls or now - one.session.seen < self.linger):
            return _trouble(
                409,
                "RunnerScaleSetSessionConflictException",
                f"The runner scale set {one.name} already has an active session",
            )
        self._end_session(one)
        one.session = SetSession(str(uuid.uuid4()), call.json["ownerName"], "", 0.0, now)
        self._renew(one.session)
        return Answer(200, self._show_session(one))

    def _renew(self, session: SetSession) -> None:
        if session.token:
            self._dead.discard(session.token)
        session.expires = time.time() + self.skew + self.queue_life
        session.token = _jwt(session.expires, session.id)
        self.issued[f"queue token of {session.id} {uuid.uuid4().hex[:4]}"] = session.token

    def _show_session(self, one: Set) -> dict[str, Any]:
        assert one.session is not None
        return {
            "sessionId": one.session.id,
            "ownerName": one.session.owner,
            "runnerScaleSet": self._show_set(one),
            "messageQueueUrl": f"{self.queue_at or self.service_at or self.url}{QUEUE}?set={one.id}",
            "messageQueueAccessToken": one.session.token,
            "statistics": self._statistics(one),
        }

    def _with_session(self, call: Call) -> Set | Answer:
        one = self._set_of(call)
        if isinstance(one, Answer):
            return one
        if one.session is None or one.session.id != call.at["session"]:
            return _trouble(404, "RunnerAdminException", "a session ID that doesn't exist")
        return one

    def renew_set_session(self, call: Call) -> Answer:
        one = self._with_session(call)
        if isinstance(one, Answer):
            return one
        assert one.session is not None
        self._renew(one.session)
        return Answer(200, self._show_session(one))

    def close_set_session(self, call: Call) -> Answer:
        one = self._with_session(call)
        if isinstance(one, Answer):
            return one
        self._end_session(one)
        self.lock.notify_all()
        return Answer(204)

    def _by_queue(self, call: Call) -> Set | Answer:
        token = self._bearer(call)
        for one in self.sets.values():
            if one.session is not None and one.session.token == token:
                if time.time() + self.skew > one.session.expires:
                    return _trouble(401, "InvalidTokenException", "The token has expired")
                return one
        if token in self._dead:
            return _trouble(404, "RunnerAdminException", "no such session")
        return _trouble(401, "InvalidTokenException", "The token is not valid")

    def next_message(self, call: Call) -> Answer | Wait:
        one = self._by_queue(call)
        if isinstance(one, Answer):
            return one
        assert one.session is not None
        one.session.seen = time.monotonic()
        one.capacity = int(call.headers["x-scalesetmaxcapacity"])
        self._hand_out()
        last = int(call.query.get("lastMessageId", "0"))
        number = next((n for n in sorted(one.messages) if n > last), None)
        if number is None and one.pending:
            number, one.next = one.next, one.next + 1
            one.messages[number] = one.pending[: self.batch]
            del one.pending[: self.batch]
        if number is None:
            return Wait(self.poll_hold, Answer(202))
        body = {
            "messageId": number,
            "messageType": "RunnerScaleSetJobMessages",
            "body": json.dumps(one.messages[number]),
            "statistics": self._statistics(one),
        }
        return Answer(200, body)

    def delete_message(self, call: Call) -> Answer:
        one = self._by_queue(call)
        if isinstance(one, Answer):
            return one
        number = int(call.at["message"])
        if number not in one.messages:
            return _plain(404)
        if self.duplicates > 0 and number not in one.seen:
            self.duplicates -= 1
            one.seen.add(number)
            return Answer(204)
        del one.messages[number]
        return Answer(204)

    # -- jobs ------------------------------------------------------------

    def _entry(self, job: Job, kind: str, **more: object) -> dict[str, Any]:
        return {
            "messageType": kind,
            "runnerRequestId": 0 if self.hosted else self._offered.get(job.id, 0),
            "jobId": job.id,
            "repositoryName": "app",
            "ownerName": "acme",
            "jobDisplayName": job.name,
            "workflowRunId": job.number,
            "eventName": "push",
            "requestLabels": self._wanted_labels(job),
            "queueTime": "2026-01-01T00:00:00Z",
            **more,
        }

    def _hand_out(self) -> None:
        """Offer or assign what waits, oldest first."""
        for job in self.jobs:
            if job.state != "held":
                continue
            wanted = set(self._wants.setdefault(job.number, list(job.labels)))
            for one in sorted(self.sets.values(), key=lambda one: one.id):
                have = {label.lower() for label in [*one.labels, one.name]}
                if not wanted <= have:
                    continue
                if self.hosted:
                    taken = self._statistics(one)["totalAssignedJobs"]
                    if one.session is not None and taken < one.capacity:
                        self._give(one, job)
                        break
                elif job.id not in self._offered:
                    number = next(self._requests)
                    self._offered[job.id], self._request[number] = number, job.id
                    for other in self.sets.values():
                        if wanted <= {x.lower() for x in [*other.labels, other.name]}:
                            other.pending.append(self._entry(job, "JobAvailable"))
                    break

    def _give(self, one: Set, job: Job) -> None:
        self._place[job.id] = one.id
        self._given_at[job.id] = time.monotonic()
        job.state, job.labels = "queued", [f"set:{one.id}"]
        one.pending.append(self._entry(job, "JobAssigned"))
        self.lock.notify_all()

    def acquire_jobs(self, call: Call) -> Answer:
        one = self._by_queue(call)
        if isinstance(one, Answer):
            return one
        if self.hosted:
            return Answer(404, b"404 page not found")
        won = []
        for number in call.json:
            job = self._job(self._request.get(number, ""))
            if job is None:
                continue
            if job.state == "held":
                self._give(one, job)
                won.append(number)
            elif self._place.get(job.id) == one.id and job.state != "completed":
                won.append(number)
        return Answer(200, {"count": len(won), "value": won})

    def acquire(self, call: Call) -> Answer:
        answer = super().acquire(call)
        job = self._job(call.json["jobMessageId"])
        if answer.status == 200 and job is not None and job.id in self._place:
            runner = self.runner(job.runner or "")
            assert runner is not None
            self._say(job, "JobStarted", runnerId=runner.id, runnerName=runner.name)
        return answer

    def complete(self, call: Call) -> Answer:
        answer = super().complete(call)
        self._tell_ends()
        return answer

    def _say(self, job: Job, kind: str, **more: object) -> None:
        one = self.sets.get(self._place.get(job.id, 0))
        if one is not None:
            one.pending.append(self._entry(job, kind, **more))
            self.lock.notify_all()

    def _tell_ends(self) -> None:
        for job in self.jobs:
            if job.state != "completed" or job.id in self._told or job.id not in self._place:
                continue
            self._told.add(job.id)
            result = {"succeeded": "succeeded", "cancelled": "canceled"}.get(
                job.conclusion or "", "failed"
            )
            name = job.runner if job.acquired else ""
            self._say(job, "JobCompleted", result=result, runnerId=0, runnerName=name or "")

    def _pass_time(self) -> None:
        super()._pass_time()
        self._tell_ends()
        now = time.monotonic()
        for job in self.jobs:
            given = self._given_at.get(job.id)
            if job.state == "queued" and given is not None and now - given > self.lapse:
                self._say(job, "JobCompleted", result="canceled", runnerId=0, runnerName="")
                self._give_back(job)
                job.id = str(uuid.uuid4())
                self._hand_out()
        self._see_registered()

    def _see_registered(self) -> None:
        """How many runners were registered that no job could have been for."""
        idle = sum(1 for r in self.runners.values() if r.job is None and r.id in self._of_set)
        for_jobs = sum(1 for job in self.jobs if job.state == "queued" and job.id in self._place)
        self.most_registered = max(self.most_registered, idle - for_jobs)

    # -- runners ------------------------------------------------------------

    def make_runner(self, call: Call) -> Answer:
        one = self._set_of(call)
        if isinstance(one, Answer):
            return one
        name = call.json["name"]
        if any(r.name == name and r.scope == one.scope for r in self.runners.values()):
            return _trouble(409, "AgentExistsException", f"A runner named {name} already exists")
        runner = self._add(one.scope, name, one.group, [f"set:{one.id}"])
        self._of_set[runner.id] = one.id
        self.minted += 1
        blob = self._blob(runner)
        self.issued[f"the configuration of {name}"] = blob
        return Answer(200, {"runner": self._show_agent(runner), "encodedJITConfig": blob})

    def _show_agent(self, runner: Runner) -> dict[str, Any]:
        return {
            "id": runner.id,
            "name": runner.name,
            "runnerScaleSetId": self._of_set.get(runner.id, 0),
            "status": "online" if self._online(runner) else "offline",
            "busy": runner.job is not None,
            "version": runner.version,
            "ephemeral": True,
        }

    def find_agents(self, call: Call) -> Answer:
        denied = self._denied(call)
        if denied is not None:
            return denied
        name = call.query.get("agentName")
        found = [self._show_agent(r) for r in self.runners.values() if name in (None, r.name)]
        return Answer(200, {"count": len(found), "value": found})

    def get_agent(self, call: Call) -> Answer:
        denied = self._denied(call)
        if denied is not None:
            return denied
        runner = self.runners.get(int(call.at["id"]))
        if runner is None:
            return _trouble(404, "AgentNotFoundException", "no such agent")
        return Answer(200, self._show_agent(runner))

    def remove_agent(self, call: Call) -> Answer:
        denied = self._denied(call)
        if denied is not None:
            return denied
        runner = self.runners.get(int(call.at["id"]))
        if runner is None:
            return Answer(204)
        if runner.job is not None:
            return _trouble(400, "JobStillRunningException", "a job is assigned to it")
        self._remove(runner)
        return Answer(204)


def _trouble(status: int, kind: str, message: str) -> Answer:
    name = f"GitHub.Actions.Runtime.WebApi.{kind}, GitHub.Actions.Runtime.WebApi"
    return Answer(status, {"$id": "1", "typeName": name, "typeKey": kind, "message": message})


def _plain(status: int) -> Answer:
    return Answer(status, b"404 page not found", {"Content-Type": "text/plain"})


def _jwt(expires: float, scope: str) -> str:
    claims = {"exp": int(expires) + 1, "scope": scope, "jti": uuid.uuid4().hex}
    head = _b64url(json.dumps({"alg": "none", "typ": "JWT"}))
    return ".".join([head, _b64url(json.dumps(claims)), _b64url("unsigned")])


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    serve(FakeScaleSets(), __doc__ or "", lambda: "token ghp_good, url /acme or /acme/app")
