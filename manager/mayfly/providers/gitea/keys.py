"""The keys of ``[pool.gitea]``: what each may be, and what is wrong between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from mayfly.edge.config_types import CallsPerHour, Reference, ServiceUrl, Table, form, key
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Where
from mayfly.providers.gitea.place import SCOPE, WHERE, named_by
from mayfly.providers.gitea.settings import GiteaSettings

NEEDED = ("url", "token")
ScopeText = Annotated[
    str, form(SCOPE, 'is none of "repo:OWNER/NAME", "org:NAME", "user" and "instance"')
]


class GiteaTable(Table):
    """Gitea Actions: runners of a repository, an organisation, a user or a whole instance."""

    url: ServiceUrl | None = key(
        GiteaSettings, "url", "the instance; without `scope` the organisation or the repository"
    )
    token: Reference | None = key(
        GiteaSettings,
        "token",
        'where the secret is, { credential = "NAME" } or { file = "/path" }',
    )
    scope: ScopeText | None = key(
        GiteaSettings,
        "scope",
        'where runners are registered, "repo:OWNER/NAME", "org:NAME", "user" or "instance"; absent: where '
        "url points",
    )
    calls_per_hour: CallsPerHour = key(
        GiteaSettings, "calls_per_hour", "how many calls may be made"
    )
    releases: ServiceUrl | None = key(
        GiteaSettings,
        "releases",
        "a mirror of Gitea's downloads of its runner, for building images; absent: Gitea's own place",
    )


def _problems(table: GiteaTable) -> Iterator[tuple[Where, str]]:
    for name in NEEDED:
        if getattr(table, name) is None:
            yield (name,), "is missing; provider gitea needs it"
    if table.url is not None and table.scope is None and named_by(table.url) is None:
        yield ("scope",), f"is missing, and url names no organisation and no repository: {WHERE}"


KEYS = ProviderKeys(name="gitea", table=GiteaTable, settings=GiteaSettings, problems=_problems)
