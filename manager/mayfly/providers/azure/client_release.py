"""Which agent goes into images for Azure Pipelines: the one that the service offers its agent pools.

``GET …/_apis/distributedtask/packages/agent/RID`` has address, version and ``hashValue``, the SHA-256 by
which an agent checks what it updates itself with (azure-pipelines-agent, SelfUpdater).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mayfly.core.client_release import ClientRelease, is_sha256, is_url
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import mapping
from mayfly.edge.web import clean
from mayfly.providers.azure.agent_pool import AgentPool
from mayfly.providers.azure.version import Version, version_of

MACHINES = {"amd64": "x64", "arm64": "arm64"}


def release(pool: AgentPool, architecture: str, version: str | None = None) -> ClientRelease:
    """The service's newest archive for that architecture, or that version's."""
    where = f"Azure DevOps at {pool.web.host}"
    found = dict(packages(pool, architecture, version))
    wanted = version_of(version) if version is not None else max(found, default=None)
    entry = found.get(wanted) if wanted is not None else None
    if wanted is None or entry is None:
        named = f"agent {clean(version)}" if version is not None else "agent"
        raise Refused(f"{where} offers no {named} for Linux on {clean(architecture)}")
    checksum, url = str(entry.get("hashValue") or "").lower(), str(entry.get("downloadUrl"))
    if not is_sha256(checksum):
        raise Refused(
            f"{where} does not tell the checksum of its agent {wanted}: give AGENT_VERSION={wanted} and "
            "AGENT_SHA256, which stands in the release's notes"
        )
    return ClientRelease(str(wanted), checksum, url if is_url(url) else None, where)


def packages(
    pool: AgentPool, architecture: str, version: str | None = None
) -> Iterator[tuple[Version, Mapping[str, object]]]:
    """What the service offers of agents, by version: the newest, or that one."""
    path = f"/_apis/distributedtask/packages/agent/linux-{MACHINES.get(architecture, architecture)}"
    reply = pool.web.call(
        "GET",
        path if version is None else f"{path}/{version}",
        "see which agents there are",
        query={"$top": "1"} if version is None else {},
        accept=(200, 404),
    )
    if reply.status != 200:
        return
    body = mapping(reply.body)
    listed = body.get("value", [body])  # of one version it is the entry itself
    for item in listed if isinstance(listed, list) else ():
        found = version_of(item.get("version")) if isinstance(item, dict) else None
        if found is not None:
            yield found, item
