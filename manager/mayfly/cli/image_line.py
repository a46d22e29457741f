"""The line that builds an agent image, for a provider by its name: what ``init`` and ``doctor`` print."""

from __future__ import annotations

from mayfly.core import image_line
from mayfly.providers.installed import package


def build_line(provider: str, name: str) -> str:
    """The command for `mayfly/PROVIDER:NAME`, where ``name`` is ``cpu`` or a CUDA version."""
    found = package(provider)
    embedded = found is not None and found.embedded
    return f"sudo {image_line.build_line(provider, name, embedded=embedded)}"
