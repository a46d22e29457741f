"""The line that builds a missing image names all that its stage of the Dockerfile asks for."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast

import pytest

from mayfly.cli.image_line import build_line
from mayfly.core.desire import Survey, desired
from mayfly.core.model import Config, HostSpec, PoolName, PoolSpec, Traits
from mayfly.providers import Provider
from mayfly.providers.azure.provider import Azure
from mayfly.providers.gitea.provider import Gitea
from mayfly.providers.github.provider import GitHub
from mayfly.providers.gitlab.provider import OWN_RUNNERS, SHARED_RUNNER
from mayfly.providers.installed import packages
from mayfly.providers.local.provider import Local
from mayfly.service.services import Services
from tests.pages import ROOT

OWN = {
    "azure": (Azure.traits,),
    "gitea": (Gitea.traits,),
    "github": (GitHub.traits,),
    "gitlab": (OWN_RUNNERS, SHARED_RUNNER),
    "local": (Local.traits,),
}


def asked_for(provider: str) -> set[str]:
    """The build arguments without which that provider's stage of the Dockerfile ends the build."""
    text = (ROOT / "dockerfiles/Dockerfile").read_text()
    (stage,) = re.findall(
        rf"^FROM \S+ AS {provider}\n(.*?)(?:^FROM |\Z)", text, re.MULTILINE | re.DOTALL
    )
    return set(re.findall(r'^    && : "\$\{([A-Z0-9_]+):\?', stage, re.MULTILINE))


def missing(provider: str, traits: Traits) -> str:
    """What is told of a pool whose image is not there."""
    pool = PoolSpec(name=PoolName("p"), provider=provider, gpus=0)
    survey = Survey(images={f"mayfly/{provider}:cpu": None})
    config = Config(HostSpec("box"), (pool,))
    services = Services(lambda _: cast(Provider, SimpleNamespace(traits=traits)), lambda _: None)
    (sentence,) = desired(config, survey, services.preview(config)).obstacles.values()
    return sentence


def test_every_provider_is_looked_at() -> None:
    assert OWN.keys() == packages().keys()


@pytest.mark.parametrize(
    ("provider", "traits"), [(name, one) for name, several in OWN.items() for one in several]
)
def test_it_is_the_same_wherever_it_is_told(provider: str, traits: Traits) -> None:
    line = build_line(provider, "cpu")
    command, _, comment = line.partition("   # ")
    assert set(re.findall(r"--build-arg ([A-Z0-9_]+)=", command)) == asked_for(provider)
    assert bool(comment) == bool(asked_for(provider))
    assert f"`{line.removeprefix('sudo ')}`" in missing(provider, traits)


def test_a_version_that_is_named_is_the_one_that_was_tried() -> None:
    tried = {name: one.client.tried for name, one in packages().items() if one.client is not None}
    assert {name for name, version in tried.items() if version is not None} == {"gitea"}
    built = (ROOT / "tests/real/gitea/runner/go.mod").read_text()
    assert f"gitea.com/gitea/runner v{tried['gitea']}\n" in built
    page = (ROOT / "docs/how-to/gitea.md").read_text()
    assert set(re.findall(r"RUNNER_VERSION=(\S+)", page)) == {tried["gitea"]}
