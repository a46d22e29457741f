"""The configuration with every provider's keys: ``edge.config``, told which providers there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mayfly.core.model import Config
from mayfly.edge import config
from mayfly.edge.config import Loaded
from mayfly.edge.faults import Refused
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Merged
from mayfly.providers.installed import found, packages


@cache
def _keys() -> tuple[Mapping[str, ProviderKeys], Mapping[str, str]]:
    """How each provider's keys are read, by its name, and why those that are broken cannot be used."""
    keys: dict[str, ProviderKeys] = {}
    broken = dict(found().broken)
    for name, package in packages().items():
        plugin = found().plugins.get(name)
        if plugin is None:
            keys[name] = package.keys()
            continue
        try:
            read: object = plugin.guarded(package.keys, "says no keys")
            if not isinstance(read, ProviderKeys):
                raise plugin.wrong(f"says no keys, but {type(read).__name__}")
            keys[name] = read
        except Refused as fault:
            broken[name] = str(fault)
    return keys, broken


def provider_keys() -> Mapping[str, ProviderKeys]:
    """How each provider's keys are read, by its name."""
    return _keys()[0]


def unusable() -> tuple[str, ...]:
    """A sentence for each package that is installed as a provider and is none, or is hidden by another."""
    return (*_keys()[1].values(), *found().hidden)


def forget() -> None:
    """What is installed is looked at again."""
    found.cache_clear()
    _keys.cache_clear()


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    texts: Mapping[Path, str] | None = None,
) -> Loaded:
    """Read, merge and check the configuration; ``ConfigError`` with every mistake.

    ``texts`` is what some of its files would say, whether they are there or not.
    """
    return config.load(path, *_keys(), environ=environ, flags=flags, texts=texts)


def check(merged: Merged, main: str) -> Config:
    """A merged tree as a ``Config``; ``ConfigError`` with every mistake."""
    return config.check(merged, main, *_keys())


def schema() -> dict[str, Any]:
    """The JSON Schema of ``config.toml``, for editors."""
    return config.schema(provider_keys())
