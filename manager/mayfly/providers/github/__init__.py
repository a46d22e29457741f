"""GitHub Actions: ephemeral runners of a repository, an organisation or an enterprise."""

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
    from mayfly.providers.github.provider import GitHub  # noqa: PLC0415
    from mayfly.providers.github.scale_provider import ScaleSetGitHub  # noqa: PLC0415

    del state_dir
    enrolment = getattr(pool.settings, "enrolment", None)
    return (ScaleSetGitHub if enrolment == "scaleset" else GitHub)(pool, host, host_id)


def keys() -> ProviderKeys:
    """How the table ``[pool.github]`` is read."""
    from mayfly.providers.github.keys import KEYS  # noqa: PLC0415

    return KEYS


def pipeline() -> PipelineForm:
    """How a pipeline is written for it."""
    from mayfly.providers.github.pipeline import FORM  # noqa: PLC0415

    return FORM


def survey() -> Surveying:
    """What a token reaches there."""
    from mayfly.providers.github.survey import survey as look  # noqa: PLC0415

    return look


def canary() -> CanaryMaker:
    """What can be run there by hand."""
    from mayfly.providers.github.canary import make as maker  # noqa: PLC0415

    return maker


PACKAGE = Package(
    name="github",
    make=make,
    keys=keys,
    client=ImageClient(
        "GitHub's runner",
        "RUNNER",
        "https://github.com/actions/runner/releases",
        good_for=30.0,  # GitHub's page on self-hosted runners, of those that do not update themselves
    ),
    hints=Hints(
        url="https://github.com/OWNER/REPOSITORY",
        group_key="runner_group",
        group="the runner group, if any",
        first_job="in a repository, .github/workflows/hello.yml with `on: workflow_dispatch` and "
        "`runs-on: [self-hosted, {pool}]`, then Actions, hello, Run workflow",
        where_made="your avatar, Settings, Developer settings, Personal access tokens, Fine-grained: "
        "for an organisation Self-hosted runners, for a repository Administration, Read and write each",
        app=True,
    ),
    pipeline=pipeline,
    survey=survey,
    canary=canary,
)
