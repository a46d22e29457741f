"""What a pool of Gitea Actions is set up with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.model import SECRET, UNBAKED


@dataclass(frozen=True, slots=True)
class GiteaSettings:
    """The table ``[pool.gitea]``, checked."""

    url: str
    # a reference, never the secret
    token: Mapping[str, str] = field(metadata=SECRET)
    # where runners are registered; None: where `url` points
    scope: str | None = None
    calls_per_hour: int = field(default=20_000, metadata=UNBAKED)
    # where the runner is fetched from for images; None: its maker's own place
    releases: str | None = field(default=None, metadata=UNBAKED)
