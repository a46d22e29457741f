"""GitHub Actions: ephemeral runners of a repository, an organisation or an enterprise."""

from __future__ import annotations

from pathlib import Path

from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.providers import Hints, Package, Provider


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.github import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


PACKAGE = Package(
    name="github",
    make=make,
    client="RUNNER",
    hints=Hints(
        url="https://github.com/OWNER/REPOSITORY",
        group_key="agent_pool",
        group="the runner group, if any",
    ),
)
