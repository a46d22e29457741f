"""What a pool of GitHub Actions is set up with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mayfly.core.model import SECRET, UNBAKED


@dataclass(frozen=True, slots=True)
class GitHubApp:
    """A GitHub App, in place of a token."""

    id: str
    # a reference to its private key, never the key
    key: Mapping[str, str] = field(metadata=SECRET)


@dataclass(frozen=True, slots=True)
class GitHubSettings:
    """The table ``[pool.github]``, checked; it has a token or an App."""

    url: str
    # a reference, never the secret; None: an App
    token: Mapping[str, str] | None = field(default=None, metadata=SECRET)
    # None: a token
    app: GitHubApp | None = field(default=None, metadata=UNBAKED)
    # None: the first one
    runner_group: str | None = None
    enrolment: Literal["jit", "token", "scaleset"] = "jit"
    # None: HOST-POOL
    scale_set: str | None = None
    # how agents are enrolled where a GitHub has no scale sets; None: they are not
    fallback: Literal["jit", "token"] | None = None
    calls_per_hour: int = field(default=3000, metadata=UNBAKED)
