"""What answers of several kinds have in common: names without the prefix, and labels without Mayfly's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.core.admission.grant import RESERVED, Grant

# What the gateway listens on for a container, by its ports; the same by the containers' ids.
Listens = Mapping[str, tuple[int, ...]]
Published = Mapping[str, Listens]


def kept(document: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Those keys of it that are there."""
    return {key: document[key] for key in keys if key in document}


def named(name: str, grant: Grant) -> str:
    """The name as the job knows it."""
    return name.removeprefix("/").removeprefix(grant.prefix)


def clean_labels(labels: Mapping[str, Any] | None) -> dict[str, Any]:
    """Without Mayfly's own."""
    return {name: value for name, value in (labels or {}).items() if not name.startswith(RESERVED)}
