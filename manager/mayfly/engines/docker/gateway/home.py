"""Where the gateway and the manager meet: the places below ``STATE/gateway``."""

from __future__ import annotations

from pathlib import Path

GATEWAY = "gateway"
AGENTS = "agents"
LOCK = "lock"
CONTROL = "control.sock"
# What is asked there: POST CLOSE + GENERATION, GET HEALTH.
CLOSE = "/v1/close/"
HEALTH = "/v1/health"


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
