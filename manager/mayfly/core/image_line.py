"""The line that builds an agent image, to be pasted."""

from __future__ import annotations


def build_line(provider: str, name: str, *, embedded: bool) -> str:
    """The command for ``mayfly/PROVIDER:NAME``, where ``name`` is ``cpu``, ``wheels`` or a CUDA version."""
    words = f"mayfly images build {name}"
    return words if embedded else f"{words} --provider {provider}"
