"""The configuration with every provider's keys: ``edge.config``, told which providers there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from mayfly.core.model import Config
from mayfly.edge import config
from mayfly.edge.config import Loaded
from mayfly.edge.provider_keys import ProviderKeys
from mayfly.edge.sources import Merged
from mayfly.providers.installed import packages


@cache
def provider_keys() -> Mapping[str, ProviderKeys]:
    """How each provider's keys are read, by its name."""
    return {name: package.keys() for name, package in packages().items()}


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Loaded:
    """Read, merge and check the configuration; ``ConfigError`` with every mistake."""
    return config.load(path, provider_keys(), environ=environ, flags=flags)


def check(merged: Merged, main: str) -> Config:
    """A merged tree as a ``Config``; ``ConfigError`` with every mistake."""
    return config.check(merged, main, provider_keys())


def schema() -> dict[str, Any]:
    """The JSON Schema of ``config.toml``, for editors."""
    return config.schema(provider_keys())
