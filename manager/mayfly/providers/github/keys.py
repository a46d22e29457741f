"""The keys of ``[pool.github]``: what each may be, and what is wrong between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from mayfly.edge.app_key import missing
from mayfly.edge.config_types import (
    AppText,
    CallsPerHour,
    PlainText,
    Reference,
    ServiceUrl,
    Table,
    form,
    key,
    said,
)
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Where
from mayfly.providers.github.settings import GitHubApp, GitHubSettings

SetName = Annotated[
    str,
    form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "is not 1 to 64 letters, digits, '.', '_' or '-'"),
]


class AppTable(Table):
    """A GitHub App, in place of a token; needs `mayfly-ci[app]`."""

    id: AppText | None = key(GitHubApp, "id", "the App's id, or its client id")
    key: Reference | None = key(GitHubApp, "key", "where its private key (.pem) is, as for `token`")


class GitHubTable(Table):
    """GitHub Actions: runners of a repository, an organisation or an enterprise."""

    url: ServiceUrl | None = key(
        GitHubSettings, "url", "the repository, the organisation or the enterprise"
    )
    token: Reference | None = key(
        GitHubSettings,
        "token",
        'where the secret is, { credential = "NAME" } or { file = "/path" }',
    )
    app: AppTable | None = key(
        GitHubSettings,
        "app",
        "a GitHub App in place of `token`, { id = …, key = { file = … } }; needs `mayfly-ci[app]`",
    )
    runner_group: PlainText | None = key(
        GitHubSettings, "runner_group", "the runner group; absent: the first one"
    )
    enrolment: Literal["jit", "token", "scaleset"] = key(
        GitHubSettings,
        "enrolment",
        "one-use configuration, a registration token, or a scale set that is handed its jobs",
    )
    scale_set: SetName | None = key(
        GitHubSettings,
        "scale_set",
        "the scale set's name, a label of its own for jobs; absent: HOST-POOL",
    )
    fallback: Literal["jit", "token"] | None = key(
        GitHubSettings,
        "fallback",
        "how agents are enrolled where this GitHub has no scale sets; absent: they are not",
    )
    calls_per_hour: CallsPerHour = key(
        GitHubSettings,
        "calls_per_hour",
        "how many calls may be made; a sixth of them for registrations",
    )


def _problems(table: GitHubTable) -> Iterator[tuple[Where, str]]:
    if table.url is None:
        yield ("url",), "is missing; provider github needs it"
    for name in ("scale_set", "fallback"):
        if getattr(table, name) is not None and table.enrolment != "scaleset":
            yield (name,), 'is for enrolment = "scaleset" alone: set that, or leave this out'
    if table.app is None:
        if table.token is None:
            yield ("token",), "is missing; provider github needs it, or an App"
        return
    if table.token is not None:
        yield ("token",), "is in the way of the GitHub App: give one of the two"
    if table.app.id is None:
        yield ("app", "id"), "is missing; `key` is the key of a GitHub App"
    if table.app.key is None:
        yield ("app", "key"), "is missing; a GitHub App needs it"


def _settings(app: AppTable | None = None, **keys: object) -> GitHubSettings:
    made = GitHubApp(**said(app)) if app is not None else None
    return GitHubSettings(app=made, **keys)  # type: ignore[arg-type]


def _lacks(settings: GitHubSettings) -> Iterator[tuple[Where, str]]:
    """A library that reads an App's key is an extra."""
    sentence = missing() if settings.app is not None else None
    if sentence is not None:
        yield ("app",), sentence


def _hands_out(settings: GitHubSettings) -> bool:
    """A scale set does; what stands in for one may leave a runner idle."""
    return settings.enrolment == "scaleset" and settings.fallback is None


KEYS = ProviderKeys(
    name="github",
    table=GitHubTable,
    settings=_settings,
    problems=_problems,
    lacks=_lacks,
    hands_out=_hands_out,
    flat={
        "url": ("url",),
        "token": ("token",),
        "app": ("app", "id"),
        "app_key": ("app", "key"),
        "agent_pool": ("runner_group",),
        "enrolment": ("enrolment",),
        "calls_per_hour": ("calls_per_hour",),
    },
)
