"""The parcel queue as a provider of Mayfly: a small HTTP service with one-use tickets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.providers import Hints, Package, Provider

if TYPE_CHECKING:
    from mayfly.edge.provider_keys import ProviderKeys


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool."""
    from mayfly_parcel.provider import Parcel

    del state_dir
    return Parcel(pool, host, host_id)


def keys() -> ProviderKeys:
    """How the table ``[pool.parcel]`` is read."""
    from mayfly_parcel.keys import KEYS

    return KEYS


PACKAGE = Package(
    name="parcel",
    make=make,
    keys=keys,
    hints=Hints(
        jobs_from="the parcel queue",
        url="https://parcel.example.org",
        group_key="queue",
        group="the queue's name",
        where_made="the queue's front desk",
    ),
)
