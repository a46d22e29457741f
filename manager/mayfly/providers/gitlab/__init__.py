"""GitLab CI: one runner a slot, kept from agent to agent, of a group, a project or an instance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.core.client_release import ClientRelease
from mayfly.core.model import HostId, HostSpec, ImageClient, PoolSpec
from mayfly.providers import Hints, Package, PipelineForm, Provider

if TYPE_CHECKING:
    from mayfly.edge.provider_keys import ProviderKeys
    from mayfly.providers.canary_job import CanaryMaker
    from mayfly.providers.setting_up import Surveying


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.gitlab import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


def left_behind(state_dir: Path) -> tuple[PoolSpec, ...]:
    """The pools that runners are remembered for."""
    from mayfly.providers.gitlab import store  # noqa: PLC0415

    return store.left_behind(state_dir)


def keys() -> ProviderKeys:
    """How the table ``[pool.gitlab]`` is read."""
    from mayfly.providers.gitlab.keys import KEYS  # noqa: PLC0415

    return KEYS


def pipeline() -> PipelineForm:
    """How a pipeline is written for it."""
    from mayfly.providers.gitlab.pipeline import FORM  # noqa: PLC0415

    return FORM


def published(architecture: str, version: str | None) -> ClientRelease:
    """The runner with the checksum that its maker says to everybody."""
    from mayfly.providers.gitlab.client_release import release  # noqa: PLC0415

    return release(architecture, version)


def survey() -> Surveying:
    """What a token reaches there."""
    from mayfly.providers.gitlab.survey import survey as look  # noqa: PLC0415

    return look


def canary() -> CanaryMaker:
    """What can be run there by hand."""
    from mayfly.providers.gitlab.canary import make as maker  # noqa: PLC0415

    return maker


PACKAGE = Package(
    name="gitlab",
    make=make,
    keys=keys,
    client=ImageClient(
        "GitLab's runner",
        "RUNNER",
        "https://gitlab.com/gitlab-org/gitlab-runner/-/releases",
        calls_docker=False,
    ),
    published=published,
    hints=Hints(
        url="https://gitlab.example.org/GROUP",
        place_key="scope",
        place="its runners' place: project:ID, group:ID, instance",
        places="group:ID, project:ID, instance",
        first_job="in a project of it, .gitlab-ci.yml with `tags: [{pool}]` in a job, then Build, Pipelines, "
        "New pipeline",
        where_made="your avatar, Edit profile, Access tokens, Add new token: scopes create_runner, "
        "manage_runner and read_api, by an Owner of the group or a Maintainer of the project",
    ),
    left_behind=left_behind,
    pipeline=pipeline,
    survey=survey,
    canary=canary,
)
