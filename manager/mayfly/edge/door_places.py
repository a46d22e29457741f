"""Where manager and gateway meet: what each of them looks for below ``STATE/gateway``, and asks there.

Said once for both, which are two processes and may be of two versions for a while.
"""

from __future__ import annotations

from pathlib import Path

from mayfly.core.naming import GATEWAY

AGENTS = "agents"
LOCK = "lock"
CONTROL = "control.sock"
# What is asked there: POST CLOSE + GENERATION, GET HEALTH; POST LOOK tells that an agent has come.
CLOSE = "/v1/close/"
HEALTH = "/v1/health"
LOOK = "/v1/look"
# Of one agent: the directory that it mounts, with its socket in it; what is there while it may ask, and what
# that becomes in one step when it has ended; and what stands in that.
DOOR = "door"
SOCKET = "docker.sock"
LIVE = "live"
OVER = "over"
GRANT = "grant.json"
MADE = "made"
MAKING = "making"  # a file for each thing that the Engine has been asked for and has not answered
REFUSALS = "refusals"
REFUSALS_MOST = 64 * 1024  # bytes
HEALTH_MOST = 256 * 1024  # of what it says of itself


def folder(state_dir: Path) -> Path:
    """All of it; root's alone."""
    return state_dir / GATEWAY


def agents(state_dir: Path) -> Path:
    """A directory for each agent that has a door."""
    return folder(state_dir) / AGENTS


def agent(state_dir: Path, generation: str) -> Path:
    """That of one."""
    return agents(state_dir) / generation


def lock(state_dir: Path) -> Path:
    """Locked by the gateway that serves, for as long as it does."""
    return folder(state_dir) / LOCK
