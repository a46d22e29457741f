"""A fake Azure DevOps: the REST calls that a manager makes, and what an agent speaks after its registration.

    python -m tests.fakes.azure --port 8081

serves the organisation `lab` with the agent pool `gpu`; the token is `pat-good`. `POST /_fake/jobs` with
`{"script": …, "demands": […]}` queues a job, `GET /_fake/state` shows everything.

Times that the service takes are attributes, in seconds, and are as long as the service's by default. What
it does wrong on order, beside the faults of every fake: a wrong token that gets a sign-in page (`sign_in`), a
clock of its own (`skew`), sessions that outlive their agent (`lapse`), an entry that shows online for a while
after its session (`lag`), agents that it finds too old (`refresh`), jobs that nobody renews (`renewal`), a
newest version of its interface, as a server of some years ago has it (`latest`).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.azure_agent import VERSION
from tests.fakes.azure_builds import BUILDS, PROJECT, Builds, Definition
from tests.fakes.http import Answer, Call, Fake, Handler, Wait, serve

LAB = "/lab"
DT = f"{LAB}/_apis/distributedtask"
TENANT = "11111111-2222-3333-4444-555555555555"
PRINCIPAL = "99999999-8888-7777-6666-555555555555"
DIGEST = bytes.fromhex("3031300d060960864801650304020105000420")  # of SHA-256, in PKCS #1 v1.5
# Where a client that knows things by their ids alone finds them, by `OPTIONS /_apis` or connectionData.
LOCATIONS = {
    "a8c47e17-4d56-4a56-92bb-de7ea7dc65be": ("pools", "{area}/{resource}/{poolId}"),
    "e298ef32-5878-4cab-993c-043836571f42": (
        "agents",
        "{area}/pools/{poolId}/{resource}/{agentId}",
    ),
    "134e239e-2df3-4794-a6f6-24f1f19ec8dc": (
        "sessions",
        "{area}/pools/{poolId}/{resource}/{sessionId}",
    ),
    "c3a054f6-7a8a-49c0-944e-3a8e5d7adfd7": (
        "messages",
        "{area}/pools/{poolId}/{resource}/{messageId}",
    ),
    "fc825784-c92a-4299-9221-998a02d1b54f": (
        "jobrequests",
        "{area}/pools/{poolId}/{resource}/{requestId}",
    ),
    "8ffcd551-079c-493a-9c02-54346299d144": (
        "packages",
        "{area}/{resource}/{packageType}/{platform}/{version}",
    ),
}
# Of the service itself, and of its builds.
OTHERS = (
    ("Location", "e81700f7-3be2-46de-8624-2eb35882fcaa", "resourceAreas", "{resource}/{areaId}"),
    ("Location", "00d9565f-ed9c-4a06-9a50-00e7896ccab4", "connectionData", "{resource}"),
    ("build", BUILDS, "Builds", "{project}/_apis/build/{resource}/{buildId}"),
)
DEMAND = re.compile(r"([^\s]+)(?: -(equals|gtVersion) (.+))?")


@dataclass(slots=True)
class Entry:
    """An agent as the pool has it."""

    id: int
    name: str
    version: str
    enabled: bool = True
    key: tuple[int, int] = (0, 0)  # modulus, exponent
    client: str = field(default_factory=lambda: str(uuid.uuid4()))
    capabilities: dict[str, str] = field(default_factory=dict)
    user_capabilities: dict[str, str] = field(default_factory=dict)
    request: int | None = None
    last_request: int | None = None
    pending: str | None = None  # the version that the service wants it to have
    left: float = 0.0  # when its last session ended
    keys: int = 1  # how many it has had


@dataclass(slots=True)
class Session:
    """What an agent that listens has."""

    id: str
    agent: int
    seen: float
    messages: list[dict[str, Any]] = field(default_factory=list)
    leaving: bool = False  # its agent has said that it goes: it gets no job any more


@dataclass(slots=True)
class Job:
    """A request for an agent, from its queue to its result."""

    id: int
    name: str
    script: str
    demands: tuple[str, ...]
    result: str | None = None  # None: not finished
    agent: str | None = None  # its name
    born: str | None = None  # the capability MAYFLY_AGENT of the agent that has it
    received: bool = False
    queued_at: float = field(default_factory=time.time)
    begun_by: set[str] = field(default_factory=set)  # the generations that have taken it up
    completed: int = 0
    locked_until: float = 0.0
    log: str = ""
    logs: list[str] = field(default_factory=list)  # of its steps in order; ``log`` is the last
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    began: float | None = None  # when it was given to an agent
    ended: float | None = None
    plan: str = field(default_factory=lambda: str(uuid.uuid4()))
    job: str = field(default_factory=lambda: str(uuid.uuid4()))


class FakeAzure(Fake):
    """The service."""

    lapse = 300.0  # that a session lives after its agent's last question
    renewal = 300.0  # that a job lives without being renewed
    hold = 50.0  # that a question for messages is kept waiting
    lag = 0.0  # that an entry shows online after its session has ended
    sign_in = "401"  # what a wrong token gets: 401, redirect, page
    newest = VERSION
    checksum: str | None = "b" * 64  # of its packages; None: it does not tell
    retry_after: str | None = None  # said beside every good answer
    still_running = 400  # the status of a refusal to delete an agent that has a job
    page: int | None = None  # agents in one answer; None: all
    latest = "7.2"  # the newest version of its interface
    build_rights = frozenset({"read", "execute"})  # of every token, in builds
    build_refusal = 403  # the status of a refusal of those; 401: of a token that has not the scope
    keyless = False  # registrations come without a key of the agent's own

    def __init__(self, pools: tuple[str, ...] = ("Default", "gpu")) -> None:
        super().__init__()
        self.tokens: dict[str, str] = {"pat-good": "manage", "pat-reader": "read"}
        self.client_secrets: dict[str, str] = {"principal-secret": PRINCIPAL}
        self.bearers: dict[str, tuple[str, int]] = {}  # (manage | agent, its id)
        self.pools: dict[int, str] = dict(enumerate(pools, 1))
        self.hosted: set[int] = set()
        self.agents: dict[int, Entry] = {}
        self.sessions: dict[str, Session] = {}
        self.jobs: dict[int, Job] = {}
        self.definitions: list[Definition] = []
        self._builds = Builds(self, LAB)
        self._ids = itertools.count(11)
        self._job_ids = itertools.count(101)
        self._message_ids = itertools.count(1)
        for method, path, handler in (
            ("GET", f"{LAB}/_apis/connectionData", self.connection),
            ("OPTIONS", f"{LAB}/_apis", self.locations),
            ("GET", f"{LAB}/_apis/resourceAreas", lambda call: collection([])),
            ("GET", f"{DT}/pools", self.list_pools),
            ("GET", f"{DT}/pools/{{pool}}", self.get_pool),
            ("GET", f"{DT}/pools/{{pool}}/agents", self.list_agents),
            ("POST", f"{DT}/pools/{{pool}}/agents", self.add_agent),
            ("GET", f"{DT}/pools/{{pool}}/agents/{{agent}}", self.get_agent),
            ("PUT", f"{DT}/pools/{{pool}}/agents/{{agent}}", self._managing(self.replace_agent)),
            ("PATCH", f"{DT}/pools/{{pool}}/agents/{{agent}}", self._managing(self.change_agent)),
            ("DELETE", f"{DT}/pools/{{pool}}/agents/{{agent}}", self._managing(self.delete_agent)),
            (
                "PUT",
                f"{DT}/pools/{{pool}}/agents/{{agent}}/usercapabilities",
                self._managing(self.user_capabilities),
            ),
            ("POST", f"{DT}/pools/{{pool}}/sessions", self.open_session),
            ("DELETE", f"{DT}/pools/{{pool}}/sessions/{{session}}", self.close_session),
            ("GET", f"{DT}/pools/{{pool}}/messages", self.message),
            ("DELETE", f"{DT}/pools/{{pool}}/messages/{{message}}", self.forget_message),
            ("GET", f"{DT}/pools/{{pool}}/jobrequests", self.list_requests),
            ("PATCH", f"{DT}/pools/{{pool}}/jobrequests/{{request}}", self.renew),
            ("GET", f"{DT}/packages/agent/{{rid}}", self.packages),
            ("GET", f"{DT}/packages/agent/{{rid}}/{{version}}", self.packages),
            ("POST", f"{DT}/hubs/{{hub}}/plans/{{plan}}/logs", self.take_log),
            ("POST", f"{DT}/hubs/{{hub}}/plans/{{plan}}/events", self.take_event),
            ("POST", f"{LAB}/_apis/oauth2/token", self.agent_token),
            ("POST", "/{tenant}/oauth2/v2.0/token", self.principal_token),
            ("POST", "/_fake/jobs", self.fake_jobs),
            ("GET", "/_fake/state", self.fake_state),
        ):
            self.route(method, path, handler)

    # -- what a test does -----------------------------------------------------------------------------

    @property
    def organisation(self) -> str:
        """The address that a pool's `url` names."""
        return f"{self.url}{LAB}"

    def queue(self, script: str, name: str = "a job", demands: tuple[str, ...] = ()) -> Job:
        """Queue a job in pool `gpu`; one that no registered agent fits is rejected."""
        with self.lock:
            job = Job(next(self._job_ids), name, script, demands)
            self.jobs[job.id] = job
            if not any(fits(entry, demands) for entry in self.agents.values()):
                job.result = "rejected"
            self._assign()
            return job

    def cancel(self, job: Job) -> None:
        """Somebody cancels the job."""
        with self.lock:
            session = self._session_of_job(job)
            if session is None:
                job.result = job.result or "canceled"
            else:
                self._send(session, "JobCancellation", {"jobId": job.job, "timeout": "00:01:00"})

    def refresh(self, name: str, version: str = "4.999.0") -> None:
        """The service wants that agent to become newer."""
        with self.lock:
            entry = self.entry(name)
            entry.pending = version
            session = self._session_of(entry)
            body = {"agentId": entry.id, "timeout": "00:05:00", "targetVersion": version}
            if session is not None:
                self._send(session, "AgentRefresh", body)

    def configure(self, name: str, capabilities: dict[str, str]) -> Entry:
        """What `config --replace` does with a token that is good."""
        with self.lock:
            body = {"name": name, "version": VERSION, "systemCapabilities": capabilities}
            if name in self.names():
                entry = self.entry(name)
                entry.keys += 1
                self._taken(entry, body)
                return entry
            entry = Entry(next(self._ids), name, VERSION)
            self.agents[entry.id] = entry
            self._taken(entry, body)
            return entry

    def connect(self, name: str) -> Session:
        """What the agent does once it is configured: it listens."""
        with self.lock:
            session = Session(str(uuid.uuid4()), self.entry(name).id, time.time())
            self.sessions[session.id] = session
            self._assign()
            return session

    def leave(self, name: str) -> None:
        """The agent ends in order."""
        with self.lock:
            entry = self.entry(name)
            self.sessions = {k: held for k, held in self.sessions.items() if held.agent != entry.id}

    def finish(self, job: Job, result: str = "succeeded") -> None:
        """The job is done."""
        with self.lock:
            self._finish(job, result)

    def entry(self, name: str) -> Entry:
        """The agent of that name; KeyError where there is none."""
        for entry in self.agents.values():
            if entry.name == name:
                return entry
        raise KeyError(name)

    def names(self) -> list[str]:
        """The names in the pool."""
        with self.lock:
            return sorted(entry.name for entry in self.agents.values())

    def online(self, entry: Entry) -> bool:
        """Whether the pool shows it online."""
        return self._session_of(entry) is not None or time.time() - entry.left < self.lag

    # -- who may ---------------------------------------------------------------------------------------

    def before(self, call: Call) -> Answer | None:
        self._sweep()
        if not call.path.startswith(f"{LAB}/") or call.path.endswith("/oauth2/token"):
            return None
        if self._role(call) is not None:
            return self._too_new(call)
        if "x-tfs-fedauthredirect" not in call.headers and self.sign_in == "401":
            return self._to_sign_in(call, "redirect")
        return self._to_sign_in(call, self.sign_in)

    def _too_new(self, call: Call) -> Answer | None:
        """The answer to a call of a newer version than there is."""
        asked = re.match(r"(\d+)\.(\d+)", call.query.get("api-version", "") or "0.0")
        known = tuple(map(int, self.latest.split(".")))
        if asked is None or tuple(map(int, asked.groups())) <= known:
            return None
        return error(
            400,
            "VssVersionOutOfRangeException",
            f"The requested REST API version of {asked.group()} is out of range for this server. "
            f"The latest REST API version this server supports is {self.latest}.",
        )

    def _to_sign_in(self, call: Call, how: str) -> Answer:
        if how == "redirect":
            return Answer(302, None, {"Location": f"{self.url}/_signin?realm=lab"})
        if how == "page":
            return Answer(203, b"<!DOCTYPE html><html><body>Sign in</body></html>")
        told = "VS30063: You are not authorized to access the organisation."
        headers = {"WWW-Authenticate": 'Basic realm="lab", Bearer', "X-TFS-ServiceError": told}
        return Answer(
            401, b"<html>unauthorized</html>" if self.sign_in == "html" else None, headers
        )

    def _role(self, call: Call) -> tuple[str, int] | None:
        kind, _, value = call.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            token = base64.b64decode(value).decode(errors="replace").partition(":")[2]
            role = self.tokens.get(token)
            return (role, 0) if role is not None else None
        if kind == "Bearer":
            return self.bearers.get(value) or self._job_role(value)
        return None

    def _job_role(self, token: str) -> tuple[str, int] | None:
        found = (job.id for job in self.jobs.values() if job.token == token and job.result is None)
        return next((("job", number) for number in found), None)

    def _forbidden(self, call: Call) -> Answer | None:
        """The answer to one who may look and not manage."""
        role = self._role(call)
        if role is not None and role[0] == "manage":
            return None
        return error(
            403,
            "AccessDeniedException",
            "Access denied. Reader needs Manage permissions for pool gpu.",
        )

    def _managing(self, change: Callable[[Call, Entry], Answer]) -> Handler:
        """The handler of a change to an agent that is there, by one who may manage it."""

        def handle(call: Call) -> Answer:
            entry = self.agents.get(int(call.at["agent"]))
            return self._forbidden(call) or (gone(call) if entry is None else change(call, entry))

        return handle

    def after(self, call: Call, answer: Answer) -> Answer:
        if self.retry_after is not None and answer.status == 200:
            answer.headers["Retry-After"] = self.retry_after
        return answer

    # -- pools and agents ---------------------------------------------------------------------------

    def locations(self, call: Call) -> Answer:
        """Where everything is, for a client that asks before its first call."""
        del call
        return collection(
            {
                "id": number,
                "area": area,
                "resourceName": name,
                "routeTemplate": route if "_apis" in route else f"_apis/{route}",
                "resourceVersion": 1,
                "minVersion": "1.0",
                "maxVersion": self.latest,
                "releasedVersion": self.latest,
            }
            for area, number, name, route in places()
        )

    def connection(self, call: Call) -> Answer:
        user = {"id": str(uuid.UUID(int=1)), "providerDisplayName": "somebody"}
        return Answer(
            200,
            {
                "authenticatedUser": user,
                "authorizedUser": user,
                "instanceId": str(uuid.UUID(int=2)),
                "deploymentType": "hosted",
                "locationServiceData": {
                    "serviceDefinitions": [
                        {
                            "serviceType": area,
                            "identifier": number,
                            "displayName": name,
                            "relativeToSetting": "context",
                            "relativePath": f"/{route}" if "_apis" in route else f"/_apis/{route}",
                            "minVersion": "1.0",
                            "maxVersion": self.latest,
                            "releasedVersion": self.latest,
                        }
                        for area, number, name, route in places()
                    ],
                    "lastChangeId": 1,
                },
            },
        )

    def list_pools(self, call: Call) -> Answer:
        wanted = call.query.get("poolName")
        if call.query.get("actionFilter") == "manage" and self._forbidden(call):
            return collection([])
        return collection(
            self._pool(number)
            for number, name in self.pools.items()
            if wanted is None or name.casefold() == wanted.casefold()
        )

    def get_pool(self, call: Call) -> Answer:
        number = int(call.at["pool"])
        if number not in self.pools:
            return no_pool(call)
        return Answer(200, self._pool(number))

    def _pool(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "name": self.pools[number],
            "isHosted": number in self.hosted,
            "poolType": "automation",
            "size": len(self.agents),
            "isLegacy": False,
            "autoProvision": False,
            "autoUpdate": True,
            "createdOn": "2026-01-01T00:00:00Z",
        }

    def list_agents(self, call: Call) -> Answer:
        if int(call.at["pool"]) not in self.pools:
            return no_pool(call)
        wanted = call.query.get("agentName")
        shown = [
            self._shown(entry, call)
            for entry in self.agents.values()
            if wanted is None or entry.name.casefold() == wanted.casefold()
        ]
        if self.page is None:
            return collection(shown)
        begin = int(call.query.get("continuationToken", "0"))
        answer = collection(shown[begin : begin + self.page])
        if begin + self.page < len(shown):
            answer.headers["x-ms-continuationtoken"] = str(begin + self.page)
        return answer

    def get_agent(self, call: Call) -> Answer:
        entry = self.agents.get(int(call.at["agent"]))
        return Answer(200, self._shown(entry, call)) if entry is not None else gone(call)

    def _shown(self, entry: Entry, call: Call) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "_links": {},
            "id": entry.id,
            "name": entry.name,
            "version": entry.version,
            "osDescription": "Linux",
            "enabled": entry.enabled,
            "status": "online" if self.online(entry) else "offline",
            "provisioningState": "Provisioned",
            "maxParallelism": 1,
            "createdOn": "2026-01-01T00:00:00Z",
        }
        if call.query.get("includeCapabilities", "").lower() == "true":
            shown["systemCapabilities"] = dict(entry.capabilities)
            shown["userCapabilities"] = dict(entry.user_capabilities)
        if call.query.get("includeAssignedRequest") == "true" and entry.request is not None:
            shown["assignedRequest"] = self._request(self.jobs[entry.request])
        if (
            call.query.get("includeLastCompletedRequest") == "true"
            and entry.last_request is not None
        ):
            shown["lastCompletedRequest"] = self._request(self.jobs[entry.last_request])
        if entry.pending is not None:
            shown["pendingUpdate"] = {
                "targetVersion": dict(
                    zip(
                        ("major", "minor", "patch"), map(int, entry.pending.split(".")), strict=True
                    )
                ),
                "reason": {"code": "manual"},
            }
        return shown

    def add_agent(self, call: Call) -> Answer:
        refusal = self._forbidden(call)
        if refusal is not None:
            return refusal
        body = call.json
        if any(entry.name.casefold() == body["name"].casefold() for entry in self.agents.values()):
            return error(
                409,
                "TaskAgentExistsException",
                f"Pool gpu already contains an agent with name {body['name']}.",
            )
        entry = Entry(next(self._ids), body["name"], body.get("version", ""))
        self.agents[entry.id] = entry
        return self._taken(entry, body)

    def replace_agent(self, call: Call, entry: Entry) -> Answer:
        entry.keys += 1
        return self._taken(entry, call.json)

    def _taken(self, entry: Entry, body: dict[str, Any]) -> Answer:
        key = body.get("authorization", {}).get("publicKey")
        if key is not None:
            modulus = base64.b64decode(key["modulus"])
            if len(modulus) != 256:
                return error(
                    400, "VssPropertyValidationException", "The public key has no 256 bytes."
                )
            exponent = int.from_bytes(base64.b64decode(key["exponent"]), "big")
            entry.key = (int.from_bytes(modulus, "big"), exponent)
        entry.version = body.get("version", entry.version)
        entry.enabled = body.get("enabled", entry.enabled)
        entry.capabilities |= body.get("systemCapabilities") or {}
        if body.get("name") and body["name"] != entry.name:
            entry.name = body["name"]
        entry.user_capabilities |= body.get("userCapabilities") or {}
        self._assign()
        authorization = {
            "authorizationUrl": f"{self.url}{LAB}/_apis/oauth2/token",
            "clientId": entry.client,
            "publicKey": key,
        }
        shown = {"id": entry.id, "name": entry.name, "enabled": entry.enabled, "status": "offline"}
        if not self.keyless:
            shown["authorization"] = authorization
        return Answer(200, shown)

    def change_agent(self, call: Call, entry: Entry) -> Answer:
        if call.json.get("id") != entry.id:
            return error(
                400, "VssPropertyValidationException", "The identifier is not the agent's."
            )
        entry.enabled = call.json.get("enabled", entry.enabled)
        self._assign()
        return Answer(200, self._shown(entry, call))

    def delete_agent(self, _: Call, entry: Entry) -> Answer:
        if entry.request is not None:
            told = f'Agent "{entry.name}" is running a job for pool "gpu".'
            return error(self.still_running, "TaskAgentJobStillRunningException", told)
        del self.agents[entry.id]
        self.sessions = {key: held for key, held in self.sessions.items() if held.agent != entry.id}
        self.lock.notify_all()
        return Answer(204)

    def user_capabilities(self, call: Call, entry: Entry) -> Answer:
        entry.user_capabilities = dict(call.json)
        self._assign()
        return Answer(200, self._shown(entry, call))

    def packages(self, call: Call) -> Answer:
        """The newest package, or that of a version, which is then an object of its own."""
        asked = call.at.get("version")
        if asked not in (None, self.newest):
            return Answer(404, {"message": f"There is no package {asked}."})
        parts = zip(("major", "minor", "patch"), map(int, self.newest.split(".")), strict=True)
        rid = call.at["rid"]
        package = {
            "type": "agent",
            "platform": rid,
            "version": dict(parts),
            "downloadUrl": f"{self.url}/vsts-agent-{rid}-{self.newest}.tar.gz",
            "hashValue": self.checksum,
        }
        return collection([package]) if asked is None else Answer(200, package)

    # -- tokens -----------------------------------------------------------------------------------------

    def agent_token(self, call: Call) -> Answer:
        """The agent's own token, for a signature by the key that its entry has now."""
        try:
            signed, _, signature = call.form["client_assertion"].rpartition(".")
            claims = json.loads(unpadded(signed.split(".")[1]))
        except (KeyError, IndexError, ValueError):
            return refused("invalid_client", "The assertion cannot be read.")
        now = time.time() + self.skew
        if not claims["nbf"] - 300 <= now <= claims["exp"]:
            shown = time.strftime("%m/%d/%Y %H:%M:%S", time.gmtime(now))
            return refused(
                "invalid_client", f"The token is not valid now. Current server time is {shown}."
            )
        for entry in self.agents.values():
            if entry.client == claims["iss"] and verified(
                entry.key, signed.encode(), unpadded(signature)
            ):
                token = secrets.token_hex(24)
                self.bearers[token] = ("agent", entry.id)
                return Answer(200, {"access_token": token, "token_type": "jwt", "expires_in": 3600})
        return refused("invalid_client", "The registration is unknown or its key is another.")

    def principal_token(self, call: Call) -> Answer:
        form = call.form
        known = self.client_secrets.get(form.get("client_secret", ""))
        if call.at["tenant"] != TENANT or known is None or known != form.get("client_id"):
            return Answer(
                401,
                {
                    "error": "invalid_client",
                    "error_description": "AADSTS7000215: Invalid client secret provided.",
                },
            )
        token = "eyJ" + secrets.token_urlsafe(60)
        self.bearers[token] = ("manage", 0)
        return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3599})

    # -- sessions and messages -----------------------------------------------------------------------------

    def _session_of(self, entry: Entry) -> Session | None:
        return next((held for held in self.sessions.values() if held.agent == entry.id), None)

    def _session_of_job(self, job: Job) -> Session | None:
        entry = next((one for one in self.agents.values() if one.request == job.id), None)
        return self._session_of(entry) if entry is not None else None

    def open_session(self, call: Call) -> Answer:
        entry = self.agents.get(call.json["agent"]["id"])
        if entry is None:
            return gone(call)
        if self._role(call) != ("agent", entry.id):
            return error(403, "AccessDeniedException", "This is not that agent's token.")
        if self._session_of(entry) is not None:
            told = f"The agent {entry.name} already has an active session."
            return error(409, "TaskAgentSessionConflictException", told)
        entry.capabilities |= call.json.get("systemCapabilities") or {}
        session = Session(str(uuid.uuid4()), entry.id, time.time())
        self.sessions[session.id] = session
        self._assign()
        return Answer(200, {"sessionId": session.id, "agent": {"id": entry.id, "name": entry.name}})

    def close_session(self, call: Call) -> Answer:
        session = self.sessions.pop(call.at["session"], None)
        if session is not None and session.agent in self.agents:
            self.agents[session.agent].left = time.time()
        self.lock.notify_all()
        return Answer(200)

    def message(self, call: Call) -> Answer | Wait:
        session = self.sessions.get(call.query.get("sessionId", ""))
        if session is None:
            return error(403, "TaskAgentSessionExpiredException", "The session has expired.")
        if session.agent not in self.agents:
            return gone(call)
        session.seen = time.time()
        self._assign()
        if not session.messages:
            return Wait(self.hold, Answer(202))
        message = session.messages[0]
        job = self.jobs.get(message.get("job", 0))
        if job is not None:
            job.received = True
        return Answer(200, message)

    def forget_message(self, call: Call) -> Answer:
        session = self.sessions.get(call.query.get("sessionId", ""))
        if session is not None:
            number = int(call.at["message"])
            session.messages = [held for held in session.messages if held["messageId"] != number]
        return Answer(204)

    def _send(self, session: Session, kind: str, body: dict[str, Any], job: int = 0) -> None:
        session.messages.append(
            {
                "messageId": next(self._message_ids),
                "messageType": kind,
                "body": json.dumps(body),
                "job": job,
            }
        )
        self.lock.notify_all()

    # -- jobs ------------------------------------------------------------------------------------------------

    @staticmethod
    def error(status: int, key: str, message: str) -> Answer:
        """A refusal as the service words it."""
        return error(status, key, message)

    def iso(self, when: float) -> str:
        """A moment as the service writes it."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when + self.skew))

    def _request(self, job: Job) -> dict[str, Any]:
        return {
            "requestId": job.id,
            "jobId": job.job,
            "jobName": job.name,
            "result": job.result,
            "demands": list(job.demands),
            "planType": "Build",
            "planId": job.plan,
            "scopeId": PROJECT,
            "poolId": 2,
            "definition": {"id": 1, "name": "library"},
            "owner": self._builds.of(job),
            "queueTime": self.iso(job.queued_at),
            "matchedAgents": [
                {"id": entry.id, "name": entry.name, "enabled": entry.enabled}
                for entry in self.agents.values()
                if fits(entry, job.demands)
            ],
            "assignTime": None if job.agent is None else "2026-01-01T00:00:00Z",
            "receiveTime": "2026-01-01T00:00:00Z" if job.received else None,
        }

    def list_requests(self, call: Call) -> Answer:
        return collection(self._request(job) for job in self.jobs.values() if job.result is None)

    def _assign(self) -> None:
        """Give waiting jobs to agents that listen, are enabled and fit."""
        for job in self.jobs.values():
            if job.result is not None or job.agent is not None:
                continue
            for session in self.sessions.values():
                entry = self.agents.get(session.agent)
                if entry is None or not entry.enabled or entry.request is not None:
                    continue
                if session.leaving:
                    continue
                if entry.pending is not None or not fits(entry, job.demands):
                    continue
                entry.request, job.agent, job.began = job.id, entry.name, time.time()
                job.born = entry.capabilities.get("MAYFLY_AGENT")
                job.locked_until = time.time() + self.renewal
                body = {
                    "requestId": job.id,
                    "jobId": job.job,
                    "jobDisplayName": job.name,
                    "agentName": entry.name,
                    "plan": {"planId": job.plan, "planType": "build", "version": 14},
                    "steps": [{"script": job.script}],
                    "resources": {
                        "endpoints": [
                            {
                                "name": "SystemVssConnection",
                                "authorization": {
                                    "scheme": "OAuth",
                                    "parameters": {"AccessToken": job.token},
                                },
                            }
                        ]
                    },
                }
                self._send(session, "PipelineAgentJobRequest", body, job.id)
                break

    def renew(self, call: Call) -> Answer:
        job = self.jobs.get(int(call.at["request"]))
        if job is None or job.result is not None:
            return error(404, "TaskAgentJobNotFoundException", "There is no such request.")
        entry = self.agents.get((self._role(call) or ("", 0))[1])
        if entry is not None:
            job.begun_by.add(entry.capabilities.get("MAYFLY_AGENT", entry.name))
        job.locked_until = time.time() + self.renewal
        return Answer(200, {"requestId": job.id, "lockedUntil": "2026-01-01T00:10:00Z"})

    def take_log(self, call: Call) -> Answer:
        job = self._planned(call)
        if job is None:
            return gone(call)
        job.log = call.content.decode(errors="replace")
        job.logs.append(job.log)
        return Answer(200, {"id": 1})

    def take_event(self, call: Call) -> Answer:
        job = self._planned(call)
        if job is None:
            return gone(call)
        if call.json["name"] == "JobCompleted":
            job.completed += 1
            session = self._session_of_job(job)
            if session is not None and call.json.get("agentShuttingDown"):
                session.leaving = True
            self._finish(job, call.json["result"])
        return Answer(200)

    def _planned(self, call: Call) -> Job | None:
        return next((job for job in self.jobs.values() if job.plan == call.at["plan"]), None)

    def _finish(self, job: Job, result: str) -> None:
        job.result, job.ended = result, time.time()
        for entry in self.agents.values():
            if entry.request == job.id:
                entry.request, entry.last_request = None, job.id
        self.lock.notify_all()

    def _sweep(self) -> None:
        """What time alone does: sessions lapse, and jobs that nobody renews are abandoned."""
        now = time.time()
        for session in list(self.sessions.values()):
            if now - session.seen > self.lapse:
                del self.sessions[session.id]
                self.lock.notify_all()
        for job in self.jobs.values():
            if job.result is None and job.agent is not None and now > job.locked_until:
                self._finish(job, "abandoned")

    # -- by hand -----------------------------------------------------------------------------------------

    def fake_jobs(self, call: Call) -> Answer:
        given = call.json
        job = self.queue(
            given["script"], given.get("name", "a job"), tuple(given.get("demands", ()))
        )
        return Answer(200, {"id": job.id, "result": job.result})

    def fake_state(self, call: Call) -> Answer:
        return Answer(
            200,
            {
                "agents": [
                    {
                        "id": entry.id,
                        "name": entry.name,
                        "enabled": entry.enabled,
                        "online": self.online(entry),
                        "request": entry.request,
                        "capabilities": entry.capabilities,
                    }
                    for entry in self.agents.values()
                ],
                "jobs": [
                    {
                        "id": job.id,
                        "name": job.name,
                        "result": job.result,
                        "agent": job.agent,
                        "log": job.log,
                    }
                    for job in self.jobs.values()
                ],
            },
        )


def places() -> Iterator[tuple[str, str, str, str]]:
    """Where everything is: its area, its id, its name and the route to it."""
    for number, (name, route) in LOCATIONS.items():
        yield "distributedtask", number, name, route
    yield from OTHERS


def fits(entry: Entry, demands: tuple[str, ...]) -> bool:
    """Whether the agent has all that a job demands."""
    has = {**entry.capabilities, **entry.user_capabilities, "Agent.Version": entry.version}
    for demand in demands:
        match = DEMAND.fullmatch(demand)
        if match is None or match.group(1) not in has:
            return False
        value = has[match.group(1)]
        if match.group(2) == "equals" and value != match.group(3):
            return False
        if match.group(2) == "gtVersion" and numbers(value) <= numbers(match.group(3)):
            return False
    return True


def numbers(version: str) -> list[int]:
    """A version, to compare."""
    return [int(part) for part in version.split(".")]


def collection(values: Any) -> Answer:
    """A list as the service sends it."""
    listed = list(values)
    return Answer(200, {"count": len(listed), "value": listed})


def error(status: int, key: str, message: str) -> Answer:
    """A refusal as the service words it."""
    space = "Microsoft.TeamFoundation.DistributedTask.WebApi"
    name = f"{space}.{key}, {space}"
    body = {
        "$id": "1",
        "innerException": None,
        "message": message,
        "typeName": name,
        "typeKey": key,
    }
    return Answer(status, {**body, "errorCode": 0, "eventId": 3000})


def no_pool(call: Call) -> Answer:
    """There is no such pool."""
    told = f"No agent pool found with identifier {call.at['pool']}."
    return error(404, "TaskAgentPoolNotFoundException", told)


def gone(call: Call) -> Answer:
    """There is no such agent."""
    return error(404, "TaskAgentNotFoundException", f"No agent exists at {call.path}.")


def refused(kind: str, words: str) -> Answer:
    """A refusal as OAuth words it."""
    return Answer(400, {"error": kind, "error_description": words})


def unpadded(text: str) -> bytes:
    """Base64 of URLs, without its padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(key: tuple[int, int], signed: bytes, signature: bytes) -> bool:
    """Whether the signature is RS256 by that key's private half."""
    modulus, exponent = key
    if modulus == 0:
        return False
    found = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(256, "big")
    digest = DIGEST + hashlib.sha256(signed).digest()
    return found == b"\0\1" + b"\xff" * (253 - len(digest)) + b"\0" + digest


if __name__ == "__main__":
    service = FakeAzure()
    serve(
        service,
        __doc__ or "",
        lambda: f'url = "{service.organisation}", agent_pool = "gpu", token pat-good',
    )
