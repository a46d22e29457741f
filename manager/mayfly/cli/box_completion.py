"""Boxes for the shell's completion: what ssh's configuration of this user has names for."""

from __future__ import annotations

import re
from pathlib import Path

FILE = Path(".ssh/config")
READ_MAX = 256 * 1024  # bytes of it
_HOST = re.compile(r"^[ \t]*host[ \t=]+(.+)$", re.IGNORECASE | re.MULTILINE)


def complete_box(incomplete: str) -> list[str]:
    """The boxes that the last name behind a comma may become, with those before it."""
    before, comma, last = incomplete.rpartition(",")
    user, at, begun = last.rpartition("@")
    typed = before.split(",")
    return [
        f"{before}{comma}{user}{at}{name}"
        for name in _named()
        if name.startswith(begun) and f"{user}{at}{name}" not in typed
    ]


def _named() -> list[str]:
    """The names of ``Host`` lines that are no patterns, in their order; none where there is no file."""
    try:
        with (Path.home() / FILE).open("rb") as file:
            text = file.read(READ_MAX).decode(errors="replace")
    except (OSError, RuntimeError):
        return []
    found = (word.strip('"') for line in _HOST.findall(text) for word in line.split())
    return list(dict.fromkeys(name for name in found if name and not set(name) & set("*?!")))
