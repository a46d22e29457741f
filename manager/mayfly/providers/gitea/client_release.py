"""Which runner goes into images for Gitea: no server says one, so it is the one that was tried.

Its checksum stands beside the binary at the maker's place, as NAME.sha256.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mayfly.core.client_release import ClientRelease
from mayfly.edge.catalogue import client
from mayfly.edge.faults import Refused
from mayfly.edge.published import WayOut, checksum

MAKER = "https://dl.gitea.com/gitea-runner"


def release(
    architecture: str,
    version: str | None = None,
    releases: str | None = None,
    way: WayOut | None = None,
) -> ClientRelease:
    """That version, or the one of the catalogue; ``releases`` stands in for the maker's place."""
    wanted = version or client("gitea").version
    assert wanted is not None
    place = f"{(releases or MAKER).rstrip('/')}/{wanted}"
    name = f"gitea-runner-{wanted}-linux-{architecture}"
    found = checksum(f"{place}/{name}.sha256", name, way or WayOut())
    if found is None:
        raise Refused(f"there is no runner {wanted} for {architecture} at {place}")
    return ClientRelease(wanted, found, f"{place}/{name}", urlsplit(place).netloc)
