"""The line that builds an agent image, to be pasted: what ``init`` and ``doctor`` print."""

from __future__ import annotations

from mayfly.providers.installed import package


def build_line(provider: str, name: str) -> str:
    """The command for `mayfly/PROVIDER:NAME`, where ``name`` is ``cpu`` or a CUDA version."""
    words = f"sudo mayfly images build {name}"
    found = package(provider)
    if found is None or not found.embedded:
        words += f" --provider {provider}"
    if found is not None and found.client is not None:
        words += f" --build-arg {found.client}_VERSION=VERSION --build-arg {found.client}_SHA256=CHECKSUM"
        words += "   # both stand on its release page"
    return words
