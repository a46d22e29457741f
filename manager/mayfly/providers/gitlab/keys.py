"""The keys of ``[pool.gitlab]``: what each may be, and what is wrong between them."""

from __future__ import annotations

from collections.abc import Iterator

from mayfly.edge.config_types import (
    CallsPerHour,
    PlainText,
    Reference,
    ScopeText,
    ServiceUrl,
    Table,
    key,
)
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Where
from mayfly.providers.gitlab.settings import GitLabSettings

NEEDED = ("url", "token")


class GitLabTable(Table):
    """GitLab CI: runners of a group, a project or an instance."""

    url: ServiceUrl | None = key(GitLabSettings, "url", "the group, the project or the instance")
    token: Reference | None = key(
        GitLabSettings,
        "token",
        'where the secret is, { credential = "NAME" } or { file = "/path" }',
    )
    scope: ScopeText | None = key(
        GitLabSettings,
        "scope",
        'where runners are made, "group:ID", "project:ID" or "instance"; absent: where url points',
    )
    calls_per_hour: CallsPerHour = key(
        GitLabSettings, "calls_per_hour", "how many calls may be made"
    )
    default_image: PlainText | None = key(
        GitLabSettings,
        "default_image",
        "with `containers`: the image of a job that names none; absent: such a job fails",
    )
    helper_image: PlainText | None = key(
        GitLabSettings,
        "helper_image",
        "with `containers`: the runner's helper image; absent: GitLab's own, of the runner's version",
    )
    releases: ServiceUrl | None = key(
        GitLabSettings,
        "releases",
        "a mirror of GitLab's downloads of its runner, for building images; absent: GitLab's own place",
    )


def _problems(table: GitLabTable) -> Iterator[tuple[Where, str]]:
    for name in NEEDED:
        if getattr(table, name) is None:
            yield (name,), "is missing; provider gitlab needs it"


KEYS = ProviderKeys(
    name="gitlab",
    table=GitLabTable,
    settings=GitLabSettings,
    problems=_problems,
    flat={name: (name,) for name in (*NEEDED, "scope", "calls_per_hour")},
    ignored=frozenset({"agent_pool", "enrolment"}),
)
