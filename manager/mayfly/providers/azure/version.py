"""Versions of Microsoft's agent, as the service writes them."""

from __future__ import annotations

import re


class Version(tuple[int, int, int]):
    """A version of the agent."""

    __slots__ = ()

    def __str__(self) -> str:
        return ".".join(str(part) for part in self)


def version_of(value: object) -> Version | None:
    """A version as text or as an object of three numbers; ``None`` where it is neither."""
    if isinstance(value, str):
        match = re.match(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", value)
        return Version(int(part) for part in match.groups()) if match is not None else None
    if isinstance(value, dict):
        parts = [value.get(key) for key in ("major", "minor", "patch")]
        numbers = [part for part in parts if isinstance(part, int) and not isinstance(part, bool)]
        return Version(numbers) if len(numbers) == len(parts) else None
    return None
