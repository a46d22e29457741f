"""GitLab CI: one runner a slot, kept from agent to agent, of a group, a project or an instance."""

from __future__ import annotations

from pathlib import Path

from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.providers import Hints, Package, Provider


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.gitlab import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


def left_behind(state_dir: Path) -> tuple[PoolSpec, ...]:
    """The pools that runners are remembered for."""
    from mayfly.providers.gitlab import store  # noqa: PLC0415

    return store.left_behind(state_dir)


PACKAGE = Package(
    name="gitlab",
    make=make,
    client="RUNNER",
    hints=Hints(
        url="https://gitlab.example.org/GROUP",
        place_key="scope",
        place="its runners' place: project:ID, group:ID, instance",
    ),
    left_behind=left_behind,
)
