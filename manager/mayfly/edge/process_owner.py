"""Whose a process of this host is, and since when it runs, as the kernel has it (proc(5))."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.quantities import whole_number

PROC = Path("/proc")
STARTED = 19  # the field of ``stat`` behind the name: 22 in all, the first two are before it


@dataclass(frozen=True, slots=True)
class Owner:
    """A user of this host, by name where there is one, and when the process began, since the epoch."""

    user: str
    since: float


def uid_of(pid: int, proc: Path = PROC) -> int | None:
    """Whose the process is; ``None`` where it has gone or cannot be seen."""
    try:
        return (proc / str(pid)).stat().st_uid
    except OSError:
        return None


def owner_of(pid: int, proc: Path = PROC) -> Owner | None:
    """The owner of a process; ``None`` where it has gone or cannot be seen."""
    place = proc / str(pid)
    try:
        uid = place.stat().st_uid
        fields = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
        booted = next(
            line.split()[1]
            for line in (proc / "stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, StopIteration):
        return None
    ticks, boot = (
        whole_number(fields[STARTED]) if len(fields) > STARTED else None,
        whole_number(booted),
    )
    if ticks is None or boot is None:
        return None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"uid {uid}"
    return Owner(user, boot + ticks / os.sysconf("SC_CLK_TCK"))
