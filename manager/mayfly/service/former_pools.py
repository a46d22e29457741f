"""Pools that the configuration may lose while a service still knows agents of theirs.

What a pool of a service is configured to be is kept in the state directory, without its environment, for as
long as an agent of it is remembered: so that a manager that is started after the pool is gone can still ask
its service to let go of them. Secrets are not in it, but references to them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mayfly.core.memory import Memory
from mayfly.core.model import Config, PoolName, PoolSpec
from mayfly.edge.config import ConfigError
from mayfly.edge.config_text import config_lines
from mayfly.edge.faults import Fault
from mayfly.edge.sources import Layer, merge
from mayfly.edge.vault import Vault
from mayfly.providers import configuration


class FormerPools:
    """The kept pools; used by the loop's thread."""

    def __init__(self, state_dir: Path, memory: Callable[[], Memory]) -> None:
        self._vault = Vault(state_dir / "pools")
        self._memory = memory

    def keep(self, config: Config) -> None:
        """Keep the configuration's pools, and of others those that have agents. A full disk keeps nothing."""
        services = {pool.name: pool for pool in config.pools if not pool.embedded}
        with suppress(Fault):
            for name, pool in services.items():
                bare = replace(config, pools=(replace(pool, env={}),))
                value = {"toml": "\n".join(config_lines(bare, None))}
                if self._value(name) != value:
                    self._vault.put(name, value)
        peopled = {agent.pool for agent in self._memory().agents.values()}
        for kept in self._vault.names():
            if kept not in services and kept not in peopled:
                self._vault.drop(kept)

    def left(self) -> tuple[PoolSpec, ...]:
        """The kept pools that have agents; one that this version cannot read is none."""
        peopled = {one.pool for one in self._memory().agents.values() if not one.embedded}
        found: list[PoolSpec] = []
        for name in self._vault.names():
            if name in peopled:
                found += self._read(PoolName(name))
        return tuple(found)

    def _value(self, name: str) -> object:
        with suppress(Fault):
            return self._vault.get(name)
        return None

    def _read(self, name: PoolName) -> tuple[PoolSpec, ...]:
        value = self._value(name)
        text = value.get("toml") if isinstance(value, dict) else None
        if not isinstance(text, str):
            return ()
        origin = f"what is remembered of pool {name}"
        try:
            merged = merge([Layer(origin, tomllib.loads(text))])
            return configuration.check(merged, origin).pools
        except (tomllib.TOMLDecodeError, ConfigError):
            return ()
