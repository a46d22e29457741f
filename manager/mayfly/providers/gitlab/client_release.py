"""Which runner goes into images for GitLab: the one of the server's own release, made together with it.

Checksums stand in ``release.sha256`` beside the binaries at the maker's place. For a server that does not
tell its version, or whose release has no runner, it is the one that was tried.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from mayfly.core.client_release import ClientRelease
from mayfly.edge.catalogue import client
from mayfly.edge.faults import Refused
from mayfly.edge.published import WayOut, checksum

MAKER = "https://s3.dualstack.us-east-1.amazonaws.com/gitlab-runner-downloads"


def release(
    architecture: str,
    version: str | None = None,
    releases: str | None = None,
    way: WayOut | None = None,
    server: str | None = None,
) -> ClientRelease:
    """That version; else the one of the server's release, else the one of the catalogue.

    ``releases`` stands in for the maker's place, ``server`` is what the server says of its version.
    """
    tried = client("gitlab").version
    assert tried is not None
    own = re.match(r"([0-9]{1,4})\.([0-9]{1,4})\.", server or "")
    wanted = [version] if version else [f"{own[1]}.{own[2]}.0"] if own else []
    for one in dict.fromkeys([*wanted, *([] if version else [tried])]):
        found = _release(architecture, one, releases, way or WayOut())
        if found is not None:
            return found
    place = releases or MAKER
    raise Refused(f"there is no runner {version or tried} for {architecture} at {place}")


def _release(
    architecture: str, version: str, releases: str | None, way: WayOut
) -> ClientRelease | None:
    place = f"{(releases or MAKER).rstrip('/')}/v{version}"
    name = f"gitlab-runner-linux-{architecture}"
    found = checksum(f"{place}/release.sha256", name, way)
    if found is None:
        return None
    return ClientRelease(version, found, f"{place}/binaries/{name}", urlsplit(place).netloc)
