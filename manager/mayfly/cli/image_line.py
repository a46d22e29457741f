"""The line that builds an agent image, to be pasted: what ``init`` and ``doctor`` print."""

from __future__ import annotations

# Whose client the image of a provider carries: its version and checksum are a person's choice.
CLIENTS = {"azure": "AGENT", "github": "RUNNER", "gitlab": "RUNNER"}


def build_line(provider: str, name: str) -> str:
    """The command for `mayfly/PROVIDER:NAME`, where ``name`` is ``cpu`` or a CUDA version."""
    words = f"mayfly images build {name}"
    if provider != "local":
        words += f" --provider {provider}"
    client = CLIENTS.get(provider)
    if client is not None:
        words += f" --build-arg {client}_VERSION=… --build-arg {client}_SHA256=…"
    return words
