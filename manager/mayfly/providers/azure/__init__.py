"""Azure Pipelines: agents with stable names in an agent pool of Azure DevOps Services or Server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.core.model import HostId, HostSpec, ImageClient, PoolSpec
from mayfly.providers import Hints, Package, PipelineForm, Provider

if TYPE_CHECKING:
    from mayfly.edge.provider_keys import ProviderKeys
    from mayfly.providers.canary_job import CanaryMaker
    from mayfly.providers.setting_up import Surveying


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.azure import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


def keys() -> ProviderKeys:
    """How the table ``[pool.azure]`` is read."""
    from mayfly.providers.azure.keys import KEYS  # noqa: PLC0415

    return KEYS


def pipeline() -> PipelineForm:
    """How a pipeline is written for it."""
    from mayfly.providers.azure.pipeline import FORM  # noqa: PLC0415

    return FORM


def survey() -> Surveying:
    """What a token reaches there."""
    from mayfly.providers.azure.survey import survey as look  # noqa: PLC0415

    return look


def canary() -> CanaryMaker:
    """What can be run there by hand."""
    from mayfly.providers.azure.canary import make as maker  # noqa: PLC0415

    return maker


PACKAGE = Package(
    name="azure",
    make=make,
    keys=keys,
    client=ImageClient(
        "Microsoft's agent",
        "AGENT",
        "https://github.com/microsoft/azure-pipelines-agent/releases",
        good_for=0.0,  # from the moment that a newer one is offered it may be given no jobs
    ),
    hints=Hints(
        url="https://dev.azure.com/ORGANISATION",
        group_key="agent_pool",
        group="the agent pool of the organisation",
        group_default="Default",
        first_job='a pipeline with `pool: "{group}"`, then Run pipeline',
        where_made="User settings (top right), Personal access tokens, New Token: scope Agent Pools "
        "(Read & manage), by somebody who is Administrator of the agent pool",
    ),
    pipeline=pipeline,
    survey=survey,
    canary=canary,
)
