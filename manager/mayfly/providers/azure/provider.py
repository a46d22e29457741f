"""Azure Pipelines: agents with stable names, whose entries in the agent pool stay between jobs.

A pool without a registered agent that fits rejects a job instead of letting it wait, so a slot keeps its
entry (``HOST-POOL-N``, which is also its registration here) and each agent takes it with a key of its own.
An entry is ours by the capability ``MAYFLY_ID``. The service never says "busy": an assigned request does.
"""

from __future__ import annotations

import base64
import ipaddress
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mayfly.core import naming
from mayfly.core.memory import Agent
from mayfly.core.model import (
    HostId,
    HostSpec,
    PoolSpec,
    Roster,
    RosterEntry,
    Severity,
    SlotName,
    StopStep,
    Traits,
)
from mayfly.core.outcomes import End, Outcome
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault, Passing, Refused
from mayfly.edge.web import Budget, ServiceReply, Web, integer, items, mapping, text
from mayfly.providers import Cordoned, Diagnosis, Dismissed, Enrolment, Finding, Sign, diagnosis
from mayfly.providers.azure.lines import CONFIG_LIMIT, judge, read
from mayfly.providers.azure.lost_key import LOST_KEY
from mayfly.providers.azure.principal import Principal
from mayfly.providers.azure.settings import AzureSettings

MARK = "MAYFLY_ID"  # the capability by which an entry is ours: HOST_ID/POOL
BORN = "MAYFLY_AGENT"  # the capability that tells an agent's generation
API = "7.1"
LOOK_APART = 1.0  # seconds between the two looks for a job at an agent that takes no new one
GHOST_REST = 5.0  # seconds before a dead agent's entry that cannot be freed yet is looked at again
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

    traits = Traits(
        can_cordon=True,
        keeps_entries=True,
        enrol_deadline=420.0,
        stop_ladder=(StopStep("INT", 60.0), StopStep("TERM", 35.0), StopStep("USR2", 5.0)),
    )
    roster_interval = 30.0

    def __init__(
        self,
        pool: PoolSpec,
        host: HostSpec,
        host_id: HostId,
        *,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        assert isinstance(pool.settings, AzureSettings)
        settings = pool.settings
        self.pool = pool
        self._name = settings.agent_pool
        self._url = settings.url.rstrip("/")
        self._token = settings.token
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
            budget=Budget(settings.calls_per_hour),
            proxy=pool.proxy,
            no_proxy=pool.no_proxy,
            ca=pool.ca,
        )
        self._principal = (
            Principal(pool, settings, clock) if settings.client_id is not None else None
        )
        self._pool_id: int | None = None

    # -- what the manager asks ---------------------------------------------------------------------

    def check(self) -> Diagnosis:
        """Whether the pool is there and may be managed, what lags behind, and how old the token is."""
        return diagnosis(self._findings())

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

    def cordon(self, registration: str, on: bool) -> Cordoned:
        """Tell the service to give the agent no new job, and look whether it has one already."""
        entry = self._entry(registration)
        if entry is None or not self._ours(entry):
            raise Passing(
                f"{registration} is not in the agent pool yet, so nobody can be told of it; it is "
                "looked at again",
                GHOST_REST,
            )
        self._enable(registration, entry, enabled=not on)
        return Cordoned(busy=on and self._has_job(registration))

    def dismiss(self, registration: str) -> Dismissed:
        """Delete the entry; an agent that has a job keeps it."""
        entry = self._entry(registration)
        if entry is None or not self._ours(entry):
            return Dismissed()
        self._enable(registration, entry, enabled=False)
        busy = self._has_job(registration) or not self._delete(registration, entry)
        return Dismissed(busy=busy)

    def retire(self, registration: str) -> None:
        """Put a key that nobody has in the place of the ended agent's; the entry waits for the next one."""
        entry = self._entry(registration)
        if entry is None or not self._ours(entry):
            return
        body = {key: value for key, value in entry.items() if key not in OF_THE_SERVICE}
        body |= {"enabled": True, "authorization": {"publicKey": dict(LOST_KEY)}}
        self._agents("PUT", f"/{_id(entry)}", f"take the key of {registration}", body=body)

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls there were, by operation and status."""
        return self._web.calls() | (
            self._principal.web.calls() if self._principal is not None else {}
        )

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
        if self._principal is not None:
            return {"Authorization": Secret(f"Bearer {self._config_token().reveal()}")}
        pair = f":{self._config_token().reveal()}"
        return {"Authorization": Secret("Basic " + base64.b64encode(pair.encode()).decode())}

    def _config_token(self) -> Secret:
        """The personal access token, read anew each time; for a service principal its hour's token."""
        secret = credentials.read(self._token)
        return self._principal.token(secret) if self._principal is not None else secret

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
    ) -> ServiceReply:
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

    def _has_job(self, name: str) -> bool:
        """Look twice: a job that was being assigned when the agent was disabled shows a moment later."""
        for look in range(2):
            if look:
                self._pause(LOOK_APART)
            entry = self._entry(name)
            if entry is not None and entry.get("assignedRequest") is not None:
                return True
        return False

    def _clear(self, name: str, entry: Entry) -> None:
        """Make the entry such that an agent can take it."""
        online = entry.get("status") == "online"
        if online and not self._ours(entry):
            raise Passing(
                f"an agent named {name} that is not this Mayfly's is online in the agent pool: rename this "
                "host (host.name) or the pool, or stop that agent",
                30.0,
            )
        if entry.get("assignedRequest") is not None:
            raise self._still_counted(name)
        if online:
            # The slot's last agent is over, so this is what is left of its session, which would hold the next
            # one off for longer than its client waits. An entry of a new id has no session.
            self._renew(name, entry)
        else:
            self._enable(name, entry, enabled=True)

    def _still_counted(self, name: str) -> Passing:
        return Passing(
            f"the service still counts a job on {name}, whose last agent is over; it gives it up after "
            "about five minutes, and the slot is filled then",
            GHOST_REST,
        )

    def _renew(self, name: str, entry: Entry) -> None:
        if not self._delete(name, entry):
            raise self._still_counted(name)
        kept = ("name", "version", "osDescription", "systemCapabilities", "userCapabilities")
        body = {key: entry[key] for key in kept if key in entry}
        body |= {"maxParallelism": 1, "provisioningState": "Provisioned", "enabled": True}
        body |= {"authorization": {"publicKey": dict(LOST_KEY)}}
        try:
            # So that jobs go on waiting; where it fails `config` makes the entry, some seconds later.
            self._agents("POST", "", f"make {name} anew", body=body)
        except Fault:
            return

    def _delete(self, name: str, entry: Entry) -> bool:
        """Delete the entry; False where the service says that it has a job."""
        accept = (200, 204, 400, 403, 404, 409, 500)
        operation = f"delete {name}"
        reply = self._agents("DELETE", f"/{_id(entry)}", operation, accept=accept)
        if reply.status in (200, 204, 404):
            return True
        if isinstance(reply.body, dict) and STILL_RUNNING in str(reply.body.get("typeKey")):
            return False
        raise self._web.fault(reply, operation)

    # -- the check -------------------------------------------------------------------------------------

    def _findings(self) -> Iterator[Finding]:
        self._id_of_pool()
        if not self._pools("see whether the agent pool may be managed", actionFilter="manage"):
            yield Finding(
                Severity.ERROR,
                f'{self._whose}: the owner of the token may see the agent pool "{self._name}" and '
                "not manage it",
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


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
