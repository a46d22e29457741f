"""Which runner goes into images for GitHub: the one that GitHub hands out for the pool's place.

``GET …/actions/runners/downloads`` names one archive for each system, with its checksum (GitHub's REST
reference, "List runner applications").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from mayfly.core.client_release import ClientRelease, is_sha256, is_url
from mayfly.core.quantities import moment
from mayfly.edge.faults import Refused
from mayfly.edge.service_json import items, mapping
from mayfly.edge.web import clean
from mayfly.providers.github.connection import Connection

MACHINES = {"amd64": "x64", "arm64": "arm64"}


def release(connection: Connection, architecture: str, version: str | None = None) -> ClientRelease:
    """GitHub's archive for that architecture; ``Refused`` where it hands out another than that version."""
    reply = connection.call("GET", path_of(connection), "look at the newest runner")
    where = f"GitHub at {connection.web.host}"
    for entry in items(reply.body):
        told = mapping(entry)
        if told.get("os") != "linux" or told.get("architecture") != MACHINES.get(architecture):
            continue
        found = version_in(told)
        if found is None:
            continue
        checksum, url = (
            str(told.get("sha256_checksum") or "").lower(),
            str(told.get("download_url")),
        )
        if version is not None and version != found:
            raise Refused(
                f"{where} hands out the runner {found} and tells the checksum of no other: build with that "
                f"one, or give RUNNER_SHA256 of {clean(version)} too"
            )
        if not is_sha256(checksum):
            raise Refused(
                f"{where} does not tell the checksum of its runner {found}: give RUNNER_VERSION={found} and "
                "RUNNER_SHA256, which stands in the release's notes"
            )
        return ClientRelease(found, checksum, url if is_url(url) else None, where)
    raise Refused(f"{where} hands out no runner for Linux on {clean(architecture)}")


def refused(connection: Connection, version: str) -> float | None:
    """When GitHub refuses that runner; ``None``: it does not say, as to whoever is no enterprise."""
    if connection.place.kind != "enterprise":
        return None
    path = f"{connection.place.path}/actions/runners/deprecations/{quote(version, safe='')}"
    operation = "ask how long a runner is good for"
    reply = connection.call("GET", path, operation, accept=(200, 403, 404))
    told = mapping(reply.body).get("runtime_deprecates_at") if reply.status == 200 else None
    return moment(told)


def path_of(connection: Connection) -> str:
    """The list of archives of the pool's place."""
    return f"{connection.place.path}/actions/runners/downloads"


def handed_out(body: object) -> Iterator[str]:
    """The versions of the runners in GitHub's list."""
    for entry in items(body):
        found = version_in(mapping(entry))
        if found is not None:
            yield found


def version_in(entry: Mapping[str, object]) -> str | None:
    """The version in the name of an archive; ``None`` where it has none."""
    match = re.search(r"-([0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9})\.", str(entry.get("filename")))
    return match.group(1) if match is not None else None
