"""A job that runs in an image of its own, as a container beside its agent."""

from __future__ import annotations

import pytest

from mayfly.core.contained_job import contains
from mayfly.core.model import PoolName, PoolSpec


@pytest.mark.parametrize(
    ("changes", "image", "may"),
    [
        ({}, "anything:1", True),
        ({"allowed_images": ("lab/*",)}, "lab/torch:2", True),
        ({"allowed_images": ("lab/*",)}, "other/torch:2", False),
        ({"allowed_images": ("busybox",)}, "busybox", True),
        ({"allowed_images": ()}, "busybox", False),
        ({"containers": False}, "busybox", False),
        ({"embedded": False}, "busybox", False),
        ({}, "sha256:" + "0" * 64, False),  # an id is no name
    ],
)
def test_which_images_a_pool_s_jobs_may_run_in(
    changes: dict[str, object], image: str, may: bool
) -> None:
    pool = PoolSpec(**{"name": PoolName("box"), "containers": True, **changes})  # type: ignore[arg-type]
    assert contains(pool, image) is may
