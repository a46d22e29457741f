"""Where GitHub's runners are registered: a repository, an organisation or an enterprise, on which GitHub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from mayfly.edge.faults import Refused


@dataclass(frozen=True, slots=True)
class GitHubAddress:
    """Where runners are registered."""

    kind: Literal["repository", "organisation", "enterprise"]
    name: str  # "owner/repo", "org" or "enterprise"
    web: str  # the address that people and config.sh use
    api: str

    @property
    def right(self) -> str:
        """What a token needs to register runners there: of a fine-grained one, or of a classic one."""
        return {
            "repository": "Administration: Read and write (a classic one: repo)",
            "organisation": "Self-hosted runners: Read and write (a classic one: admin:org)",
            "enterprise": "to be a classic one with manage_runners:enterprise",
        }[self.kind]

    @property
    def path(self) -> str:
        """Its beginning of every path below the API."""
        kinds = {"repository": "repos", "organisation": "orgs", "enterprise": "enterprises"}
        return f"{kinds[self.kind]}/{self.name}"


def place_of(url: str) -> GitHubAddress:
    """What a pool's ``url`` names: a repository, an organisation or an enterprise, wherever GitHub runs."""
    parts = urlsplit(url)
    host = parts.netloc.lower()
    if host in ("github.com", "www.github.com"):
        host, api = "github.com", "https://api.github.com"
    elif host.endswith(".ghe.com"):
        api = f"https://api.{host}"
    else:
        api = f"{parts.scheme}://{host}/api/v3"
    web = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    match [part for part in parts.path.split("/") if part]:
        case ["enterprises", name]:
            return GitHubAddress("enterprise", name, web, api)
        case [owner, repo]:
            return GitHubAddress(
                "repository", f"{owner}/{repo.removesuffix('.git')}", web.removesuffix(".git"), api
            )
        case [name]:
            return GitHubAddress("organisation", name, web, api)
    raise Refused(
        f"`url` {url} names no place for runners: give https://github.com/ORG, …/OWNER/REPO or "
        "…/enterprises/NAME"
    )
