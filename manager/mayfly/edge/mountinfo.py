"""What is mounted on this host, as the kernel lists it (proc(5), /proc/PID/mountinfo)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # of what would end a field


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of it."""

    device: str  # MAJOR:MINOR
    place: str
    kind: str  # of its file system
    options: frozenset[str]  # of its file system, not of this place


def mounts(text: str) -> Iterator[Mount]:
    """Those of such a text, in its order; what is no such line is passed over."""
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        fields, told = before.split(" "), after.split(" ")
        if len(fields) > 4 and len(told) > 2:
            yield Mount(fields[2], _plain(fields[4]), told[0], frozenset(told[2].split(",")))


def mounts_here() -> tuple[Mount, ...]:
    """This host's; ``OSError`` where it does not say."""
    return tuple(mounts(MOUNTINFO.read_text(encoding="utf-8", errors="replace")))


def _plain(field: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)
