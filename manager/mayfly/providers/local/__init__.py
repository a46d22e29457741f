"""The embedded queue: jobs that people submit to this manager itself."""

from __future__ import annotations

from pathlib import Path

from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.providers import Hints, Package, Provider


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.local import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


PACKAGE = Package(
    name="local",
    make=make,
    embedded=True,
    hints=Hints(jobs_from="jobs come from `mayfly submit`"),
)
