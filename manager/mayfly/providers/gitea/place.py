"""Where a pool's runners are registered: a repository, an organisation, a user or an instance, and whose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

_NAME = r"[A-Za-z0-9_.-]{1,100}"
SCOPE = rf"instance|user|org:{_NAME}|repo:{_NAME}/{_NAME}"
WHERE = 'say where its runners belong: scope = "repo:OWNER/NAME", "org:NAME", "user" or "instance"'

Kind = Literal["instance", "user", "org", "repo"]


@dataclass(frozen=True, slots=True)
class GiteaPlace:
    """Where runners are registered."""

    kind: Kind
    name: str  # "OWNER/NAME" or "NAME"; "": there is only one
    site: str  # the instance's own address

    @property
    def path(self) -> str:
        """Its beginning of every path below the API."""
        kinds = {"instance": "admin", "user": "user", "org": "orgs", "repo": "repos"}
        return "/".join(filter(None, (kinds[self.kind], self.name)))

    @property
    def token_scope(self) -> str:
        """What the token has to be allowed to write, in Gitea's words."""
        return {"instance": "admin", "user": "user", "org": "organization", "repo": "repository"}[
            self.kind
        ]

    @property
    def owner(self) -> str:
        """Whose the token has to be."""
        return {
            "instance": "a site administrator",
            "user": "the person",
            "org": f"an owner of {self}",
            "repo": f"the owner of {self}",
        }[self.kind]

    def __str__(self) -> str:
        """As ``scope`` has it."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


def place_of(url: str, scope: str | None) -> GiteaPlace:
    """What a pool's ``url`` and ``scope`` name; with a scope the URL is the instance's own."""
    if scope is not None:
        kinds: dict[str, Kind] = {
            "instance": "instance",
            "user": "user",
            "org": "org",
            "repo": "repo",
        }
        kind, _, name = scope.partition(":")
        return GiteaPlace(kinds[kind], name, url.rstrip("/"))
    named = named_by(url)
    assert named is not None  # its keys are checked
    return named


def named_by(url: str) -> GiteaPlace | None:
    """The organisation or repository at that address; ``None``: it names neither."""
    parts = urlsplit(url)
    names = [part for part in parts.path.split("/") if part]
    if not 1 <= len(names) <= 2 or not all(re.fullmatch(_NAME, name) for name in names):
        return None
    kind: Kind = "repo" if len(names) == 2 else "org"
    name = "/".join(names).removesuffix(".git")
    return GiteaPlace(kind, name, f"{parts.scheme}://{parts.netloc}")
