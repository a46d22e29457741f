"""The line that builds a missing image, and the clients that the catalogue has for it."""

from __future__ import annotations

import re
import tomllib
from types import SimpleNamespace
from typing import cast

import pytest

from mayfly.cli.image_line import build_line
from mayfly.core.client_release import is_sha256, is_version
from mayfly.core.desire import Survey, desired
from mayfly.core.model import Config, HostSpec, PoolName, PoolSpec, Traits
from mayfly.edge.catalogue import client
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
    assert "build-arg" not in line, "version and checksum are found out by the build"
    assert f"`{line.removeprefix('sudo ')}`" in missing(provider, traits)


def test_the_versions_of_the_catalogue_are_those_that_were_tried() -> None:
    found = {name: client(name).version for name, one in packages().items() if one.client}
    tried = {name: version for name, version in found.items() if version is not None}
    assert tried.keys() == {"gitea", "gitlab"}
    built = (ROOT / "tests/real/gitea/runner/go.mod").read_text()
    assert f"gitea.com/gitea/runner v{tried['gitea']}\n" in built


def test_the_catalogue_has_every_client_and_no_other() -> None:
    carried = tomllib.loads((ROOT / "dockerfiles/clients.toml").read_text())["client"]
    assert carried.keys() == {name for name, one in packages().items() if one.client}
    for name in carried:
        known = client(name)
        assert known.version is None or is_version(known.version)
        assert all(is_sha256(checksum) for checksum in known.sha256.values())
        assert known.sha256.keys() <= {"amd64", "arm64"}


@pytest.mark.parametrize("provider", [name for name, one in packages().items() if one.client])
def test_the_build_arguments_are_those_that_its_stage_asks_for(provider: str) -> None:
    text = (ROOT / "dockerfiles/Dockerfile").read_text()
    (stage,) = re.findall(
        rf"^FROM \S+ AS {provider}\n(.*?)(?:^FROM |\Z)", text, re.MULTILINE | re.DOTALL
    )
    described = packages()[provider].client
    assert described is not None
    asked_for = re.findall(r'^    && : "\$\{([A-Z0-9_]+):\?', stage, re.MULTILINE)
    assert set(asked_for) == set(described.arguments)
    assert f"ARG {described.argument}_URL" in stage
