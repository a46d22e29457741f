"""Processes that hold a GPU: how they were called, how long they run, and the end of one that is a leftover.

A process is ended by a pidfd, once its control group says that it is whose it was taken for: its number alone
proves nothing. What it is called is its own word, cut and made printable.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from mayfly.core.model import ContainerId, Generation
from mayfly.core.plain_text import one_line, shortened
from mayfly.edge.parent_groups import whose

COMMAND = 80  # characters of how a process was called
READ = 4096  # bytes of it that are looked at


def command_of(pid: int) -> str:
    """How the process was called; ``""`` where that cannot be told."""
    try:
        with Path(f"/proc/{pid}/cmdline").open("rb", buffering=0) as file:
            words = file.read(READ) or b""
    except OSError:
        return ""
    text = words.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace").replace("`", "'")
    return shortened(one_line(text), COMMAND)


def age_of(pid: int) -> float | None:
    """For how many seconds it runs (proc(5): ``starttime`` of ``stat``); ``None`` where that is not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def end_leftover(pid: int, container: ContainerId | None, agent: Generation | None) -> bool:
    """Kill the process where it is in that container's control group, or in that of what the agent has made;
    whether it was.
    """
    try:
        held = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return False
    try:
        if not _belongs(pid, container, agent):
            return False
        with suppress(OSError):
            signal.pidfd_send_signal(held, signal.SIGKILL)
            return True
        return False
    finally:
        os.close(held)


def _belongs(pid: int, container: ContainerId | None, agent: Generation | None) -> bool:
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    if container is not None and container in groups:
        return True
    if agent is None:
        return False
    paths = (line.split(":", 2)[-1] for line in groups.splitlines())
    return any(one is not None and one.agent == agent for one in map(whose, paths))
