"""What a cluster's probes are told: whether the manager is alive, and whether it can keep its slots now.

By its own word, the last publication of its loop: a probe asks nobody else, and waits for nothing.
"""

from __future__ import annotations

from typing import Any

from mayfly.service.board import StatusBoard

SILENT = 120.0  # seconds without a pass, after which systemd ends a manager too (WatchdogSec)
UNSEEN = "engine.unknown"  # the condition of an engine that cannot be looked at


def why_not_alive(board: StatusBoard) -> str | None:
    """Why it should be started anew; ``None``: it is alive."""
    silent = board.silent()
    return f"no pass has ended for {silent:.0f} s" if silent > SILENT else None


def why_not_ready(board: StatusBoard) -> str | None:
    """Why it keeps no slots now; ``None``: it does."""
    latest = board.read()
    if latest is None:
        return "no pass has ended yet"
    health: Any = latest.document.get("health", ())
    for line in health:
        if line.get("code") == UNSEEN:
            return str(line.get("text"))
    return why_not_alive(board)
