"""What jobs at GitHub may ask for of a pool's agents, by any of its ways of enrolment."""

from __future__ import annotations

import platform

from mayfly.core.model import PoolSpec

ARCHITECTURES = {"x86_64": "X64", "aarch64": "ARM64", "armv7l": "ARM"}


def labels_of(pool: PoolSpec, given: tuple[str, ...]) -> tuple[str, ...]:
    """All of them, in order; ``given``: those of the host. GitHub adds none."""
    wanted = ["self-hosted", "Linux", ARCHITECTURES.get(platform.machine(), "X64")]
    if pool.gpus:
        wanted.append("gpu")
    if pool.cuda is not None:
        wanted.append(f"cuda-{pool.cuda}")
    return (*wanted, *pool.labels, *given, str(pool.name))
