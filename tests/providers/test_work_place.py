"""Where a job's files are in an agent, for a pool whose jobs have containers of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mayfly.core.model import Traits
from mayfly.core.reserved_paths import target_problem, within
from mayfly.providers import installed
from mayfly.providers.azure.provider import Azure
from mayfly.providers.gitea.provider import Gitea
from mayfly.providers.github.provider import GitHub
from mayfly.providers.gitlab.provider import OWN_RUNNERS, SHARED_RUNNER
from mayfly.providers.local.provider import Local

AGENTS = Path(__file__).parents[2] / "agents"
TRAITS = {
    "azure": Azure.traits,
    "gitea": Gitea.traits,
    "github": GitHub.traits,
    "gitlab": OWN_RUNNERS,
    "local": Local.traits,
}


def test_each_provider_says_where_it_is() -> None:
    assert set(TRAITS) == set(installed.packages())
    assert SHARED_RUNNER.work == OWN_RUNNERS.work
    assert SHARED_RUNNER.shared == OWN_RUNNERS.shared


@pytest.mark.parametrize("name", TRAITS)
def test_its_launcher_gives_the_job_that_directory(name: str) -> None:
    launcher = f". '{AGENTS}/{name}'; printf '%s' \"$_work\""
    around = {"_room": "/none", "_home": str(AGENTS)}
    said = subprocess.run(
        ["/bin/sh", "-c", launcher], env=around, capture_output=True, check=True, text=True
    )
    assert said.stdout == TRAITS[name].work


@pytest.mark.parametrize("traits", TRAITS.values(), ids=TRAITS)
def test_a_volume_may_be_mounted_there(traits: Traits) -> None:
    assert traits.work is not None
    for place in (traits.work, *traits.shared):
        assert target_problem(place) is None
    for place in traits.shared:
        assert not within(place, traits.work)
        assert not within(traits.work, place)
