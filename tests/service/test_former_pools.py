"""Pools that are gone from the configuration, and whose agents a service still knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.core.memory import Memory
from mayfly.core.model import Config, HostSpec, PoolName, PoolSpec
from mayfly.providers.github.settings import GitHubApp
from mayfly.service.former_pools import FormerPools
from tests.providers.contract import pool
from tests.service_agent import service_agent

TOKEN = {"file": "/etc/mayfly/token"}
POOLS = {
    "azure": pool("azure", url="https://dev.azure.com/lab", agent_pool="gpu", token=TOKEN),
    "github": pool("github", url="https://github.com/acme", app=GitHubApp("4711", TOKEN)),
    "gitea": pool("gitea", url="https://gitea.lab/acme", token=TOKEN),
    "gitlab": pool("gitlab", url="https://gitlab.com/lab", token={"credential": "gitlab"}),
}
GONE = Config(HostSpec("box"), ())


class Remembering:
    """One manager after the other on a state directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.memory = Memory()

    def starts(self) -> FormerPools:
        return FormerPools(self.home, lambda: self.memory)

    def has_agent(self, of: PoolName) -> None:
        agent = service_agent(of)
        self.memory = Memory({agent.generation: agent})


@pytest.mark.parametrize("provider", sorted(POOLS))
def test_a_pool_that_is_gone_is_remembered_for_as_long_as_it_has_agents(
    provider: str, tmp_path: Path
) -> None:
    spec = replace(POOLS[provider], env={"PASSWORD": "hunter2"})
    host = Remembering(tmp_path)
    host.starts().keep(Config(HostSpec("box"), (spec,)))
    host.has_agent(spec.name)
    host.starts().keep(GONE)
    (left,) = host.starts().left()
    assert (left.name, left.provider) == (spec.name, spec.provider)
    assert left.settings == spec.settings
    assert left.env == {}
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert "hunter2" not in "".join(kept)
    host.memory = Memory()
    assert host.starts().left() == ()
    host.starts().keep(GONE)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_pool_of_the_embedded_queue_leaves_nothing(tmp_path: Path) -> None:
    host = Remembering(tmp_path)
    host.starts().keep(Config(HostSpec("box"), (PoolSpec(PoolName("local")),)))
    host.has_agent(PoolName("local"))
    assert host.starts().left() == ()


@pytest.mark.parametrize("text", ["", "{}", '{"toml": "]"}', '{"toml": "[[pool]]\\nname = 4"}'])
def test_what_cannot_be_read_is_no_pool(text: str, tmp_path: Path) -> None:
    host = Remembering(tmp_path)
    host.starts().keep(Config(HostSpec("box"), (POOLS["github"],)))
    host.has_agent(PoolName("gpu"))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_text(text)
    assert host.starts().left() == ()
