"""The agent pool at the service: its entries, and what may be done to one.

An entry is ours by the capability ``MAYFLY_ID``. A job that was being assigned shows a moment later, so it is
looked for twice.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from mayfly.core.model import PoolSpec
from mayfly.edge import credentials
from mayfly.edge.credentials import Secret
from mayfly.edge.faults import Fault, Refused
from mayfly.edge.service_json import Pages, integer, items, mapping, text
from mayfly.edge.web import Budget, ServiceReply, Web, summed
from mayfly.providers.azure.lost_key import LOST_KEY
from mayfly.providers.azure.principal import Principal
from mayfly.providers.azure.settings import AzureSettings

MARK = "MAYFLY_ID"  # the capability by which an entry is ours: HOST_ID/POOL
API = "7.1"  # of Azure DevOps Services; a server may know an older one alone, and is asked by that then
TOO_NEW = "VssVersionOutOfRangeException"
LOOK_APART = 1.0  # seconds between the two looks for a job at an agent that takes no new one
STILL_RUNNING = "TaskAgentJobStillRunningException"
OF_THE_SERVICE = ("_links", "assignedRequest", "lastCompletedRequest", "pendingUpdate", "createdOn")

Entry = Mapping[str, object]


class AgentPool:
    """One agent pool, as a pool of ours speaks with it."""

    def __init__(
        self,
        pool: PoolSpec,
        settings: AzureSettings,
        mark: str,
        clock: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self.name = settings.agent_pool
        self.url = settings.url.rstrip("/")
        self.whose = f'pool "{pool.name}"'
        self._token, self._mark, self._pause = settings.token, mark, pause
        self.web = Web(
            self.url,
            "Azure DevOps",
            self.whose,
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
        self._id: int | None = None
        self._api = API

    def calls(self) -> dict[tuple[str, str], int]:
        """How many calls there were, by operation and status."""
        principal = [self._principal.web.calls()] if self._principal is not None else []
        return summed([self.web.calls(), *principal])

    def _authorise(self) -> Mapping[str, str | Secret]:
        if self._principal is not None:
            return {"Authorization": Secret(f"Bearer {self.config_token().reveal()}")}
        pair = f":{self.config_token().reveal()}"
        return {"Authorization": Secret("Basic " + base64.b64encode(pair.encode()).decode())}

    def config_token(self) -> Secret:
        """The personal access token, read anew each time; for a service principal its hour's token."""
        secret = credentials.read(self._token)
        return self._principal.token(secret) if self._principal is not None else secret

    def refuse_plain_http(self) -> None:
        """``Refused`` where a token would go over a network that anybody can read."""
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            raise Refused(
                f"{self.whose}: {self.url} is plain http, over which Azure DevOps Server takes no token "
                "and anybody on the way could read it: give the server a certificate, write https://, and "
                "name its authority in `ca`"
            )

    def pools(self, operation: str, **filters: str) -> list[Entry]:
        """The agent pools of its name."""
        found = self.listed(operation, poolName=self.name, **filters)
        wanted = self.name.casefold()
        return [pool for pool in found if text(pool.get("name")).casefold() == wanted]

    def listed(self, operation: str, **filters: str) -> list[Entry]:
        """The agent pools, whatever they are called."""
        query = {"poolType": "automation", **filters}
        reply = self.versioned("GET", "/_apis/distributedtask/pools", operation, query=query)
        return [mapping(pool) for pool in items(mapping(reply.body).get("value"))]

    def id(self) -> int:
        """Its number; ``Refused`` where there is none that takes agents."""
        if self._id is None:
            self.refuse_plain_http()
            found = self.pools("find the agent pool")
            if not found:
                raise Refused(
                    f'{self.whose}: {self.url} has no agent pool named "{self.name}", or the owner of '
                    "the token may not see it: check `agent_pool`, and that they are its Administrator"
                )
            if found[0].get("isHosted") is True:
                raise Refused(
                    f'{self.whose}: the agent pool "{self.name}" is Microsoft\'s own and takes no agents: '
                    "name one of the organisation's in `agent_pool`"
                )
            self._id = integer(found[0].get("id"))
        return self._id

    def versioned(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        accept: tuple[int, ...] = (200,),
    ) -> ServiceReply:
        """One call, by the newest version that the service has turned out to know."""
        while True:
            asked = self._api
            reply = self.web.call(
                method,
                path,
                operation,
                query={**(query or {}), "api-version": asked},
                body=body,
                accept=(*accept, 400),
            )
            older = _older(reply, asked)
            if older is not None:
                self._api = older
            elif reply.status in accept:
                return reply
            else:
                raise self.web.fault(reply, operation)

    def _call(
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
        path = f"/_apis/distributedtask/pools/{self.id()}/agents{below}"
        reply = self.versioned(method, path, operation, query=query, body=body, accept=accept)
        if reply.status == 404 and method == "GET":
            self._id = None
            raise self.web.fault(reply, operation)
        return reply

    def entries(self, operation: str, **filters: str) -> Iterator[Entry]:
        """The agents, with their capabilities and requests."""
        query = {"includeCapabilities": "true", "includeAssignedRequest": "true", **filters}
        pages = Pages()
        further: str | None = ""
        while further is not None:
            reply = self._call("GET", "", operation, query=query)
            yield from pages.entries(reply.content, mapping(reply.body).get("value"))
            further = reply.headers.get("x-ms-continuationtoken") or None
            query["continuationToken"] = further or ""

    def unfinished(self) -> list[object]:
        """The requests for agents that are not finished."""
        path = f"/_apis/distributedtask/pools/{self.id()}/jobrequests"
        query = {"completedRequestCount": "0"}
        reply = self.versioned("GET", path, "list the jobs that wait", query=query)
        return list(items(mapping(reply.body).get("value")))

    def change_build(
        self, project: str, number: int, body: Mapping[str, object], operation: str
    ) -> ServiceReply:
        """Change a build of that project: 200, or 400, 403 or 404 and why not."""
        path, accept = f"/{project}/_apis/build/builds/{number}", (200, 400, 403, 404)
        return self.versioned("PATCH", path, operation, body=body, accept=accept)

    def entry(self, name: str) -> Entry | None:
        """The entry of that name; ``None`` where there is none."""
        for entry in self.entries(f"look for {name}", agentName=name):
            if text(entry.get("name")).casefold() == name.casefold():
                return entry
        return None

    def ours(self, entry: Entry) -> bool:
        """Whether it carries our mark."""
        return capability(entry, MARK) == self._mark

    def enable(self, name: str, entry: Entry, *, enabled: bool) -> None:
        """Have it take jobs, or none."""
        if entry.get("enabled", True) is enabled:
            return
        body = {"id": number_of(entry), "name": name, "enabled": enabled}
        word = "enable" if enabled else "disable"
        self._call("PATCH", f"/{number_of(entry)}", f"{word} {name}", body=body)

    def has_job(self, name: str) -> bool:
        """Look twice: a job that was being assigned when the agent was disabled shows a moment later."""
        for look in range(2):
            if look:
                self._pause(LOOK_APART)
            entry = self.entry(name)
            if entry is not None and entry.get("assignedRequest") is not None:
                return True
        return False

    def delete(self, name: str, entry: Entry) -> bool:
        """Delete the entry; False where the service says that it has a job."""
        accept = (200, 204, 400, 403, 404, 409, 500)
        operation = f"delete {name}"
        reply = self._call("DELETE", f"/{number_of(entry)}", operation, accept=accept)
        if reply.status in (200, 204, 404):
            return True
        if isinstance(reply.body, dict) and STILL_RUNNING in str(reply.body.get("typeKey")):
            return False
        raise self.web.fault(reply, operation)

    def lock_out(self, name: str, entry: Entry) -> None:
        """Put a key that nobody has in the place of the entry's; it stays, and is enabled."""
        body = {key: value for key, value in entry.items() if key not in OF_THE_SERVICE}
        body |= {"enabled": True, "authorization": {"publicKey": dict(LOST_KEY)}}
        self._call("PUT", f"/{number_of(entry)}", f"take the key of {name}", body=body)

    def make(self, name: str, entry: Entry) -> None:
        """An entry like that one, with an id of its own and a key that nobody has.

        So that jobs go on waiting; where it fails `config` makes the entry, some seconds later.
        """
        kept = ("name", "version", "osDescription", "systemCapabilities", "userCapabilities")
        body = {key: entry[key] for key in kept if key in entry}
        body |= {"maxParallelism": 1, "provisioningState": "Provisioned", "enabled": True}
        body |= {"authorization": {"publicKey": dict(LOST_KEY)}}
        try:
            self._call("POST", "", f"make {name} anew", body=body)
        except Fault:
            return


def _older(reply: ServiceReply, asked: str) -> str | None:
    """The version that the service knows where it refused a newer one; ``None`` where it did not."""
    refused = reply.status == 400 and isinstance(reply.body, dict)
    if not refused or TOO_NEW not in str(mapping(reply.body).get("typeKey")):
        return None
    told = re.search(r"supports is ([0-9]{1,3})\.([0-9]{1,3})", reply.said)
    if told is None or _parts(told.group(1, 2)) >= _parts(asked.split(".")):
        return None
    return ".".join(told.group(1, 2))


def _parts(version: Iterable[str]) -> tuple[int, ...]:
    return tuple(int(part) for part in version)


def number_of(entry: Entry) -> int:
    """The entry's id."""
    return integer(entry.get("id"))


def capability(entry: Entry, name: str) -> str | None:
    """One of the entry's capabilities; ``None`` where it has none of that name."""
    capabilities = entry.get("systemCapabilities")
    value = capabilities.get(name) if isinstance(capabilities, dict) else None
    return value if isinstance(value, str) else None


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
