"""Azure Pipelines: agents with stable names, whose entries in the agent pool stay between jobs.

A pool without a registered agent that fits rejects a job instead of letting it wait, so a slot keeps its entry
(``HOST-POOL-N``, which is also its registration here) and each agent takes it again with a key of its own.
An entry is ours by the capability ``MAYFLY_ID``. The service never says "busy": an assigned request does.
"""

from __future__ import annotations

import base64
import ipaddress
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from manager.core import naming
from manager.core.memory import Agent
from manager.core.model import (
    Cause,
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    Severity,
    SlotName,
    Step,
)
from manager.core.outcomes import End, Outcome, Result
from manager.edge import credentials
from manager.edge.credentials import Secret
from manager.edge.faults import AgentBusy, Fault, Passing, Refused
from manager.edge.lost_key import lost_key
from manager.edge.web import Budget, Reply, Web, clean, integer, items, mapping, text
from manager.providers import Diagnosis, Enrolment, Finding, Sign

MARK = "MAYFLY_ID"  # the capability by which an entry is ours: HOST_ID/POOL
BORN = "MAYFLY_AGENT"  # the capability that tells an agent's generation
API = "7.1"
CONFIG_LIMIT = (
    150  # seconds for `config`, whose loop around a failing --replace never ends by itself
)
LOOK_APART = 1.0  # seconds between the two looks for a job at an agent that takes no new one
GHOST_REST = 5.0  # seconds before a dead agent's entry that cannot be freed yet is looked at again
AUTHORITY = "https://login.microsoftonline.com"
RESOURCE = "499b84ac-1321-427f-aa17-267ca6975798/.default"  # Azure DevOps, as Entra knows it
EARLY = 600.0  # seconds before its end that an Entra token is replaced: `config` needs it, too
SKEW_WARNED, SKEW_BROKEN = 60.0, 300.0  # a key's signed requests are good for five minutes
TOKEN_OLD = 335.0  # days; a personal access token lives for a year at most
DAY = 86400.0
PAGES = 100
STILL_RUNNING = "TaskAgentJobStillRunningException"
OF_THE_SERVICE = ("_links", "assignedRequest", "lastCompletedRequest", "pendingUpdate", "createdOn")

Entry = Mapping[str, object]


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Azure:
    """The provider of an ``azure`` pool."""
    del state_dir
    return Azure(pool, host, host_id)


class Azure:
    """One agent pool of an organisation or of a collection of Azure DevOps Server."""

    proof: Literal["roster", "lines"] = "roster"
    queue = False
    tells = True
    keeps_entries = True
    enrol_deadline: float | None = 420.0
    roster_interval = 30.0
    stop_ladder = (Step("INT", 60.0), Step("TERM", 35.0), Step("USR2", 5.0))

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if pool.url is None or pool.agent_pool is None or pool.token is None:
            raise Refused(f'pool "{pool.name}": provider azure needs url, agent_pool and token')
        self.pool = pool
        self._name = pool.agent_pool
        self._url = pool.url.rstrip("/")
        self._token = pool.token
        self._mark = f"{host_id}/{pool.name}"
        self._names = re.compile(
            re.escape(f"{host.name}-{pool.name}-") + r"(\d{1,4})", re.IGNORECASE
        )
        self._host = host.name
        self._clock, self._pause = clock, pause
        self._whose = f'pool "{pool.name}"'
        self._web = Web(
            self._url,
            "Azure DevOps",
            self._whose,
            authorise=self._authorise,
            # Without it a wrong token gets the sign-in page.
            headers={"X-TFS-FedAuthRedirect": "Suppress"},
            budget=Budget(pool.calls_per_hour),
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
        )
        self._entra = _Entra(pool, clock) if pool.client_id is not None else None
        self._pool_id: int | None = None

    # -- what the manager asks ---------------------------------------------------------------------

    def check(self) -> Diagnosis:
        """Whether the pool is there and may be managed, what lags behind, and how old the token is."""
        try:
            return tuple(self._findings())
        except Fault as fault:
            fix = "mayfly doctor, once it is mended"
            return (Finding(Severity.ERROR, str(fault), fix),)

    def roster(self) -> Roster | None:
        """The agents under this host's names, by one call for the whole pool."""
        began = self._clock()
        found = (self._rostered(entry) for entry in self._entries("list the agents"))
        return Roster(tuple(entry for entry in found if entry is not None), began)

    def enrol(self, agent: Agent, labels: tuple[str, ...]) -> Enrolment:
        """What `config` needs to take the slot's entry; whatever stands in its way there is cleared."""
        self._refuse_plain_http()
        name = self._registered(agent.slot)
        entry = self._entry(name)
        if entry is not None:
            self._clear(name, entry)
        capabilities = [f"{MARK}={self._mark}", f"{BORN}={agent.generation}"]
        capabilities += dict.fromkeys((*self.pool.labels, *labels))
        files = {
            "url": self._url,
            "pool": self._name,
            "agent": name,
            "limit": str(CONFIG_LIMIT),
            "capabilities": "\n".join(capabilities),
        }
        return Enrolment(
            files={
                **{key: f"{value}\n".encode() for key, value in files.items()},
                "token": f"{self._config_token().reveal()}\n".encode(),
            },
            registration=name,
            registered=name,
        )

    def cordon(self, registration: str, on: bool) -> None:
        """Tell the service to give the agent no new job; ``AgentBusy`` where it has one already."""
        entry = self._entry(registration)
        if entry is None or not self._ours(entry):
            raise Passing(
                f"{registration} is not in the agent pool yet, so nobody can be told of it; it is "
                "looked at again",
                GHOST_REST,
            )
        self._enable(registration, entry, enabled=not on)
        if on:
            self._see_no_job(registration)

    def dismiss(self, registration: str) -> None:
        """Delete the entry; an agent that has a job is ``AgentBusy``."""
        entry = self._entry(registration)
        if entry is None or not self._ours(entry):
            return
        self._enable(registration, entry, enabled=False)
        self._see_no_job(registration)
        self._delete(registration, entry)

    def retire(self, registration: str) -> None:
        """Put a key that nobody has in the place of the ended agent's; the entry waits for the next one."""
        entry = self._entry(registration)
        if entry is None or not self._ours(entry):
            return
        body = {key: value for key, value in entry.items() if key not in OF_THE_SERVICE}
        body |= {"enabled": True, "authorization": {"publicKey": _nobodys_key()}}
        self._agents("PUT", f"/{_id(entry)}", f"take the key of {registration}", body=body)

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls there were, by operation and status."""
        return self._web.calls() | (self._entra.web.calls() if self._entra is not None else {})

    # -- what the client says ------------------------------------------------------------------------

    def read(self, line: str) -> Sign | None:
        """What a line of the listener's own output means."""
        return read(line)

    def judge(self, end: End, signs: tuple[str, ...]) -> Outcome:
        """What came of an agent, from its exit code and its own lines; code 0 alone proves nothing."""
        return judge(end, signs)

    # -- names and secrets ---------------------------------------------------------------------------

    def _registered(self, slot: SlotName) -> str:
        return naming.registered(self._host, slot)

    def _authorise(self) -> Mapping[str, str | Secret]:
        if self._entra is not None:
            return {"Authorization": Secret(f"Bearer {self._config_token().reveal()}")}
        pair = f":{self._config_token().reveal()}"
        return {"Authorization": Secret("Basic " + base64.b64encode(pair.encode()).decode())}

    def _config_token(self) -> Secret:
        """The personal access token, read anew each time; for a service principal its hour's token."""
        secret = credentials.read(self._token)
        return self._entra.token(secret) if self._entra is not None else secret

    def _refuse_plain_http(self) -> None:
        parts = urlsplit(self._url)
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            raise Refused(
                f"{self._whose}: {self._url} is plain http, over which Azure DevOps Server takes no token "
                "and anybody on the way could read it: give the server a certificate, write https://, and "
                "name its authority in `ca`"
            )

    # -- the agent pool ------------------------------------------------------------------------------

    def _pools(self, operation: str, **filters: str) -> list[Entry]:
        query = {"poolName": self._name, "poolType": "automation", "api-version": API, **filters}
        reply = self._web.call("GET", "/_apis/distributedtask/pools", operation, query=query)
        found = [mapping(pool) for pool in items(mapping(reply.body).get("value"))]
        wanted = self._name.casefold()
        return [pool for pool in found if text(pool.get("name")).casefold() == wanted]

    def _id_of_pool(self) -> int:
        if self._pool_id is None:
            self._refuse_plain_http()
            found = self._pools("find the agent pool")
            if not found:
                raise Refused(
                    f'{self._whose}: {self._url} has no agent pool named "{self._name}", or the owner of '
                    "the token may not see it: check `agent_pool`, and that they are its Administrator"
                )
            if found[0].get("isHosted") is True:
                raise Refused(
                    f'{self._whose}: the agent pool "{self._name}" is Microsoft\'s own and takes no agents: '
                    "name one of the organisation's in `agent_pool`"
                )
            self._pool_id = integer(found[0].get("id"))
        return self._pool_id

    def _agents(
        self,
        method: str,
        below: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: tuple[int, ...] = (200, 201, 202, 204, 404),
    ) -> Reply:
        """One call on the pool's agents; a pool that is gone is looked up anew by the next one."""
        path = f"/_apis/distributedtask/pools/{self._id_of_pool()}/agents{below}"
        reply = self._web.call(
            method,
            path,
            operation,
            query={**(query or {}), "api-version": API},
            body=body,
            accept=accept,
        )
        if reply.status == 404 and method == "GET":
            self._pool_id = None
            raise self._web.fault(reply, operation)
        return reply

    def _entries(self, operation: str, **filters: str) -> list[Entry]:
        query = {"includeCapabilities": "true", "includeAssignedRequest": "true", **filters}
        found: list[Entry] = []
        for _ in range(PAGES):
            reply = self._agents("GET", "", operation, query=query)
            found += [mapping(entry) for entry in items(mapping(reply.body).get("value"))]
            further = reply.headers.get("x-ms-continuationtoken")
            if not further:
                break
            query["continuationToken"] = further
        return found

    def _entry(self, name: str) -> Entry | None:
        """The entry of that name; ``None`` where there is none."""
        for entry in self._entries(f"look for {name}", agentName=name):
            if text(entry.get("name")).casefold() == name.casefold():
                return entry
        return None

    def _ours(self, entry: Entry) -> bool:
        return _capability(entry, MARK) == self._mark

    def _rostered(self, entry: Entry) -> RosterEntry | None:
        """An entry as the core knows it; ``None`` where neither its name nor its mark is ours."""
        name = text(entry.get("name"))
        match = self._names.fullmatch(name)
        ours = self._ours(entry)
        if match is None and not ours:
            return None
        slot = naming.slot(self.pool.name, int(match.group(1))) if match is not None else None
        known = slot is not None and name == self._registered(slot)
        return RosterEntry(
            id=name,
            name=name,
            online=entry.get("status") == "online",
            busy=entry.get("assignedRequest") is not None,
            slot=slot if known or not ours else None,
            foreign=not ours,
        )

    def _enable(self, name: str, entry: Entry, *, enabled: bool) -> None:
        if entry.get("enabled", True) is enabled:
            return
        body = {"id": _id(entry), "name": name, "enabled": enabled}
        word = "enable" if enabled else "disable"
        self._agents("PATCH", f"/{_id(entry)}", f"{word} {name}", body=body)

    def _see_no_job(self, name: str) -> None:
        """Look twice: a job that was being assigned when the agent was disabled shows a moment later."""
        for look in range(2):
            if look:
                self._pause(LOOK_APART)
            entry = self._entry(name)
            if entry is not None and entry.get("assignedRequest") is not None:
                raise AgentBusy(f"{name} has a job")

    def _clear(self, name: str, entry: Entry) -> None:
        """Make the entry such that an agent can take it."""
        online = entry.get("status") == "online"
        if online and not self._ours(entry):
            raise Passing(
                f"an agent named {name} that is not this Mayfly's is online in the agent pool: rename this "
                "host (host.name) or the pool, or stop that agent",
                30.0,
            )
        if online:
            # The slot's last agent is over, so this is what is left of its session, which would hold the next
            # one off for longer than its client waits. An entry of a new id has no session.
            self._renew(name, entry)
        else:
            self._enable(name, entry, enabled=True)

    def _renew(self, name: str, entry: Entry) -> None:
        try:
            self._delete(name, entry)
        except AgentBusy:
            raise Passing(
                f"the service still counts a job on {name}, whose last agent is over; it gives it up after "
                "about five minutes, and the slot is filled then",
                GHOST_REST,
            ) from None
        kept = ("name", "version", "osDescription", "systemCapabilities", "userCapabilities")
        body = {key: entry[key] for key in kept if key in entry}
        body |= {"maxParallelism": 1, "provisioningState": "Provisioned", "enabled": True}
        body |= {"authorization": {"publicKey": _nobodys_key()}}
        try:
            # So that jobs go on waiting; where it fails `config` makes the entry, some seconds later.
            self._agents("POST", "", f"make {name} anew", body=body)
        except Fault:
            return

    def _delete(self, name: str, entry: Entry) -> None:
        accept = (200, 204, 400, 403, 404, 409, 500)
        operation = f"delete {name}"
        reply = self._agents("DELETE", f"/{_id(entry)}", operation, accept=accept)
        if reply.status in (200, 204, 404):
            return
        if isinstance(reply.body, dict) and STILL_RUNNING in str(reply.body.get("typeKey")):
            raise AgentBusy(f"{name} has a job")
        raise self._web.fault(reply, operation)

    # -- the check -------------------------------------------------------------------------------------

    def _findings(self) -> Iterator[Finding]:
        self._id_of_pool()
        if not self._pools("see whether the agent pool may be managed", actionFilter="manage"):
            yield Finding(
                Severity.ERROR,
                f'{self._whose}: the owner of the token may see the agent pool "{self._name}" and not manage it',
                "make them its Administrator, and give the token the scope Agent Pools (Read & manage)",
            )
        ours = [entry for entry in self._entries("list the agents") if self._ours(entry)]
        yield from self._lag(ours)
        yield from self._skew()
        yield from self._age()

    def _lag(self, ours: list[Entry]) -> Iterator[Finding]:
        fix = "build the image again with a newer AGENT_VERSION; its how-to tells how"
        for entry in ours:
            update = entry.get("pendingUpdate")
            if update is not None:
                wanted = _version(mapping(update).get("targetVersion"))
                words = f"{wanted or 'a newer version'} on {text(entry.get('name'))}"
                yield Finding(
                    Severity.WARNING,
                    f"{self._whose}: the service wants {words} and may give it no jobs until then",
                    fix,
                )
        versions = {found for entry in ours if (found := _version(entry.get("version")))}
        newest = self._newest()
        behind = sorted(version for version in versions if newest is not None and version < newest)
        if behind and newest is not None:
            yield Finding(
                Severity.INFO,
                f"{self._whose}: its agents are of version {behind[0]}, the service offers {newest}",
                fix,
            )

    def _newest(self) -> Version | None:
        """The newest agent that the service offers; ``None`` where it does not say."""
        machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x64"
        reply = self._web.call(
            "GET",
            f"/_apis/distributedtask/packages/agent/linux-{machine}",
            "see which agent is the newest",
            query={"$top": "1"},
            accept=(200, 404),
        )
        listed = reply.body.get("value") if isinstance(reply.body, dict) else None
        versions = [
            _version(item.get("version")) for item in listed or () if isinstance(item, dict)
        ]
        return max((version for version in versions if version is not None), default=None)

    def _skew(self) -> Iterator[Finding]:
        skew = self._web.skew
        if skew is not None and abs(skew) > SKEW_WARNED:
            broken = abs(skew) > SKEW_BROKEN
            order = "behind" if skew > 0 else "ahead of"
            yield Finding(
                Severity.ERROR if broken else Severity.WARNING,
                f"{self._whose}: this host's clock is {abs(skew):.0f} s {order} the service's, which refuses "
                "an agent's signed requests from 300 s on",
                "timedatectl set-ntp true",
            )

    def _age(self) -> Iterator[Finding]:
        written = credentials.written(self._token)
        if written is None:
            return
        days = (self._clock() - written) / DAY
        old = days > TOKEN_OLD
        yield Finding(
            Severity.WARNING if old else Severity.INFO,
            f"{self._whose}: its token was written {days:.0f} days ago; the service ends one after a year "
            "at most, or sooner",
            "make a new one before then, and write it where `token` points: it is read anew at each use",
        )


class _Entra:
    """The tokens of a service principal: each is good for about an hour."""

    def __init__(self, pool: PoolSpec, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[Secret, Secret, float] | None = None  # the secret, its token, until when
        self.web = Web(
            pool.authority or AUTHORITY,
            "Microsoft Entra",
            f'pool "{pool.name}"',
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
        )

    def token(self, secret: Secret) -> Secret:
        """A token of which at least ten minutes are left."""
        with self._lock:
            if self._kept is not None and self._kept[0] == secret and self._clock() < self._kept[2]:
                return self._kept[1]
            operation = "get a token for the service principal"
            reply = self.web.call(
                "POST",
                f"/{quote(str(self._pool.tenant_id), safe='')}/oauth2/v2.0/token",
                operation,
                form={
                    "grant_type": "client_credentials",
                    "client_id": str(self._pool.client_id),
                    "client_secret": secret.reveal(),
                    "scope": RESOURCE,
                },
                accept=(200, 400, 401),
            )
            if reply.status != 200:
                said = f" ({reply.said})" if reply.said else ""
                raise Refused(
                    f'pool "{self._pool.name}": Microsoft Entra gives its service principal no token{said}: '
                    "check `tenant_id`, `client_id`, and the client secret that `token` points to"
                )
            body = mapping(reply.body)
            token = Secret(text(body.get("access_token")))
            until = self._clock() + integer(body.get("expires_in")) - EARLY
            self._kept = (secret, token, until)
            return token


# -- reading what the service sent ---------------------------------------------------------------------


class Version(tuple[int, int, int]):
    """A version of the agent."""

    __slots__ = ()

    def __str__(self) -> str:
        return ".".join(str(part) for part in self)


def _version(value: object) -> Version | None:
    """A version as text or as an object of three numbers; ``None`` where it is neither."""
    if isinstance(value, str):
        match = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", value)
        return Version(int(part) for part in match.groups()) if match is not None else None
    if isinstance(value, dict):
        parts = [value.get(key) for key in ("major", "minor", "patch")]
        if all(isinstance(part, int) for part in parts):
            return Version(int(str(part)) for part in parts)
    return None


def _id(entry: Entry) -> int:
    return integer(entry.get("id"))


def _capability(entry: Entry, name: str) -> str | None:
    capabilities = entry.get("systemCapabilities")
    value = capabilities.get(name) if isinstance(capabilities, dict) else None
    return value if isinstance(value, str) else None


def _nobodys_key() -> Mapping[str, str]:
    modulus, exponent = lost_key()
    return {"modulus": modulus, "exponent": exponent}


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- reading what the client said ------------------------------------------------------------------------

_STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: "
_LISTENING = re.compile(_STAMP + r"Listening for Jobs\s*")
_RUNNING = re.compile(_STAMP + r"Running job: ?(.*)")
# The name of a job is its author's text, and the launcher leaves it out of what it records.
_COMPLETED = re.compile(
    _STAMP + r"Job (?:.* )?completed with result: "
    r"(Succeeded|SucceededWithIssues|Failed|Canceled|Skipped|Abandoned)\s*"
)
LONGEST_LINE = 2000
_TROUBLES = (
    ("Agent pool not found:", "config did not find the agent pool: check `agent_pool`"),
    (
        "Failed to replace the agent",
        "config could not take the slot's entry: the owner of the token has to be the pool's Administrator",
    ),
    (
        "Cannot configure the agent because it is already configured",
        "the image holds a configured agent",
    ),
    (
        "A session for this agent already exists",
        "another agent of its name has a session: a dead one's lapses after about five minutes",
    ),
    ("Stop retry on SessionConflictException", "another agent of its name kept its session"),
    ("Failed to create a session", "the service gave it no session"),
    ("Failed to create session", "the service gave it no session"),
    ("Access denied", "the service does not know its key"),
    ("VS30063", "the token is wrong or has expired"),
    ("Must not run", "the image runs its agent as root"),
    ("An error occurred:", "the agent failed"),
    ("Current server time is", "this host's clock is wrong: timedatectl set-ntp true"),
)
_UPDATES = ("Agent update in progress", "Downgrading agent to a lower version")


def read(line: str) -> Sign | None:
    """What a line of the listener's own output means; ``None``: nothing."""
    if len(line) > LONGEST_LINE:
        return None
    if _LISTENING.fullmatch(line):
        return Sign("listening")
    running = _RUNNING.fullmatch(line)
    if running is not None:
        return Sign("job_started", clean(running.group(1)))
    completed = _COMPLETED.fullmatch(line)
    if completed is not None:
        return Sign("job_ended", completed.group(1))
    if any(line.startswith(words) for words in _UPDATES):
        return Sign("trouble", "the service wants a newer agent than the image has")
    for words, meaning in _TROUBLES:
        if words in line:
            return Sign("trouble", meaning)
    return None


# How the launcher ends where the client was not even started (agents/azure).
CONFIG_LATE, CONFIG_FAILED = 75, 76
UPDATE_CODES = (3, 4)
_TOO_OLD = "the service wants a newer agent than the image has: build the image again with a newer AGENT_VERSION"
_CODES = {
    0: "it ended without a job and without being told to: its key was taken back, or the entry taken by another",
    1: "the service let it have no session",
    2: "it failed",
    65: "what came through the gate was not what its launcher needs: the image is older than this manager",
    70: "its launcher failed",
    CONFIG_LATE: f"config did not end within {CONFIG_LIMIT} s, and was stopped",
    CONFIG_FAILED: "config failed",
}


def judge(end: End, signs: tuple[str, ...]) -> Outcome:
    """What came of an agent that ended so, after its client had said these lines."""
    if not end.opened:
        return _unopened(end)
    read_signs = [sign for line in signs if (sign := read(line)) is not None]
    ended = [sign.text for sign in read_signs if sign.kind == "job_ended"]
    code = end.exit.code if end.exit is not None else None
    cause = Cause.OOM if end.exit is not None and end.exit.oom_kills else None
    if code in UPDATE_CODES:
        done = f"; its job had ended: {ended[-1]}" if ended else ""
        return Outcome(Result.IMAGE_TOO_OLD, detail=_TOO_OLD + done)
    if ended:
        failed = ended[-1] not in ("Succeeded", "SucceededWithIssues", "Skipped")
        return Outcome(Result.JOB_DONE, cause if failed else None, detail=ended[-1])
    if any(sign.kind == "job_started" for sign in read_signs):
        return Outcome(Result.UNKNOWN, _cut_off(end, cause), detail="its job's result was not told")
    if end.doom is not None or end.engine_stopped or (end.signalled and code == 0):
        return Outcome(Result.NO_JOB, detail="it had no job")
    if end.exit is None:
        return Outcome(Result.UNKNOWN, _cut_off(end, cause), detail="it was killed")
    return Outcome(Result.DIED_YOUNG, cause, detail=_why(end.exit.code, read_signs))


def _unopened(end: End) -> Outcome:
    if end.doom is not None or end.engine_stopped:
        return Outcome(Result.NO_JOB, detail="it had not taken a job")
    code = f" with exit code {end.exit.code}" if end.exit is not None else ""
    return Outcome(Result.DIED_YOUNG, detail=f"the agent ended at its gate{code}")


def _cut_off(end: End, cause: Cause | None) -> Cause:
    if end.engine_stopped:
        return Cause.ENGINE_STOPPED
    if cause is not None:
        return cause
    return Cause.KILLED if end.death_seen or end.doom is not None else Cause.UNKNOWN


def _why(code: int, signs: list[Sign]) -> str:
    said = _CODES.get(code, f"the agent ended with exit code {code}")
    troubles = [sign.text for sign in signs if sign.kind == "trouble"]
    return f"{said}: {troubles[-1]}" if troubles else said
