"""The line that builds an agent image, to be pasted: it names all that the build needs."""

from __future__ import annotations

from mayfly.core.model import ImageClient


def build_line(provider: str, name: str, client: ImageClient | None, *, embedded: bool) -> str:
    """The command for ``mayfly/PROVIDER:NAME``, where ``name`` is ``cpu``, ``wheels`` or a CUDA version."""
    words = f"mayfly images build {name}"
    if not embedded:
        words += f" --provider {provider}"
    if client is None:
        return words
    version = client.tried or "VERSION"
    chosen, checked = client.arguments
    words += f" --build-arg {chosen}={version} --build-arg {checked}=CHECKSUM"
    what = "CHECKSUM stands" if client.tried else "both stand"
    return f"{words}   # {what} at {client.place}"
