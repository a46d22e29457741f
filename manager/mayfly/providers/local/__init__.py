"""The embedded queue: jobs that people submit to this manager itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.core.model import HostId, HostSpec, PoolSpec
from mayfly.providers import Hints, Package, PipelineForm, Provider

if TYPE_CHECKING:
    from mayfly.edge.provider_keys import ProviderKeys


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.local import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


def keys() -> ProviderKeys:
    """It has no keys of its own."""
    from mayfly.edge.provider_keys import ProviderKeys  # noqa: PLC0415

    meaningless = frozenset({"enrolment", "calls_per_hour"})
    return ProviderKeys(name="local", embedded=True, ignored=meaningless)


def pipeline() -> PipelineForm:
    """How a pipeline is written for it."""
    from mayfly.providers.local.pipeline import FORM  # noqa: PLC0415

    return FORM


PACKAGE = Package(
    name="local",
    make=make,
    keys=keys,
    embedded=True,
    hints=Hints(jobs_from="jobs come from `mayfly submit`"),
    pipeline=pipeline,
)
