"""Gitea Actions: one-job runners of a repository, an organisation, a user or a whole instance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.core.client_release import ClientRelease
from mayfly.core.model import HostId, HostSpec, ImageClient, PoolSpec
from mayfly.providers import Hints, Package, Provider

if TYPE_CHECKING:
    from mayfly.edge.provider_keys import ProviderKeys
    from mayfly.providers.canary_job import CanaryMaker
    from mayfly.providers.setting_up import Surveying


def make(pool: PoolSpec, host: HostSpec, host_id: HostId, state_dir: Path) -> Provider:
    """The provider of one pool; what is heavy is imported here and not before."""
    from mayfly.providers.gitea import provider  # noqa: PLC0415

    return provider.make(pool, host, host_id, state_dir)


def keys() -> ProviderKeys:
    """How the table ``[pool.gitea]`` is read."""
    from mayfly.providers.gitea.keys import KEYS  # noqa: PLC0415

    return KEYS


def published(architecture: str, version: str | None) -> ClientRelease:
    """The runner with the checksum that its maker says to everybody."""
    from mayfly.providers.gitea.client_release import release  # noqa: PLC0415

    return release(architecture, version)


def survey() -> Surveying:
    """What a token reaches there."""
    from mayfly.providers.gitea.survey import survey as look  # noqa: PLC0415

    return look


def canary() -> CanaryMaker:
    """What can be run there by hand."""
    from mayfly.providers.gitea.canary import make as maker  # noqa: PLC0415

    return maker


PACKAGE = Package(
    name="gitea",
    make=make,
    keys=keys,
    client=ImageClient("Gitea's runner", "RUNNER", "https://dl.gitea.com/gitea-runner/"),
    published=published,
    hints=Hints(
        url="https://gitea.example.org/ORGANISATION",
        place_key="scope",
        place="its runners' place: repo:OWNER/NAME, org:NAME, user, instance",
        places="repo:OWNER/NAME, org:NAME, user, instance",
        first_job="in a repository, .gitea/workflows/hello.yml with `on: workflow_dispatch` and "
        "`runs-on: [self-hosted, {pool}]`, then Actions, hello, Run workflow",
        where_made="your avatar, Settings, Applications, Generate New Token: write:organization for an "
        "organisation, write:repository for a repository, write:user for all of yours, write:admin for all "
        "of the Gitea",
    ),
    survey=survey,
    canary=canary,
)
