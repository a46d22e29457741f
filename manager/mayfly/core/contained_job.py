"""Jobs that run in an image of their own, as a container beside their agent: which may, and what it is told.

Pure. See ADR 0029.
"""

from __future__ import annotations

from mayfly.core.job_images import matches
from mayfly.core.model import PoolSpec


def contains(pool: PoolSpec, image: str) -> bool:
    """Whether jobs of the pool may run in a container of that image."""
    return (
        pool.embedded
        and pool.containers
        and any(matches(pattern, image) for pattern in pool.allowed_images)
    )


def pools_variables(pool: PoolSpec) -> dict[str, str]:
    """What a container of a job's is told by its pool: its own variables, and where its mounts are.

    (A proxy and an authority the gateway tells it.)
    """
    places = {mount.env: mount.target for mount in pool.mounts if mount.env is not None}
    return {**pool.env, **places}
