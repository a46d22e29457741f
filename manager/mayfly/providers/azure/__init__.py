"""Azure Pipelines: agents with stable names in an agent pool of Azure DevOps Services or Server."""

from __future__ import annotations

from pathlib import Path

from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.providers import Hints, Package, Provider


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.azure import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


PACKAGE = Package(
    name="azure",
    make=make,
    client="AGENT",
    hints=Hints(
        url="https://dev.azure.com/ORGANISATION",
        group_key="agent_pool",
        group="the agent pool of the organisation",
        group_default="Default",
    ),
)
