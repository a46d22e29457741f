"""What a pool of GitLab CI is set up with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.core.model import SECRET, UNBAKED


@dataclass(frozen=True, slots=True)
class GitLabSettings:
    """The table ``[pool.gitlab]``, checked."""

    url: str
    # a reference, never the secret; None: the pool is left
    token: Mapping[str, str] | None = field(default=None, metadata=SECRET)
    # where runners are made; None: where `url` points
    scope: str | None = None
    calls_per_hour: int = field(default=3000, metadata=UNBAKED)
    # the configuration has the pool no more: its runners are only to be deleted
    left: bool = field(default=False, metadata={**UNBAKED, "key": False})
    # of a pool with `containers`: the image of a job that names none; None: such a job fails
    default_image: str | None = field(default=None, metadata=UNBAKED)
    # of such a pool: what clones, and keeps caches and artifacts; None: its maker's, of the runner's version
    helper_image: str | None = field(default=None, metadata=UNBAKED)
    # where the runner is fetched from for images; None: its maker's own place
    releases: str | None = field(default=None, metadata=UNBAKED)
