"""One container looked at closely, which Mayfly itself never does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mayfly.core.model import ContainerId, ContainerState
from mayfly.core.quantities import moment
from mayfly.engines.docker import wire
from mayfly.engines.docker.engine import DockerEngine as Engine
from mayfly.engines.docker.values import container_state
from mayfly.engines.protocol import Gone


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the Engine says of it."""

    name: str
    state: ContainerState
    exit_code: int | None  # None: it has not ended
    oom_killed: bool
    pid: int | None  # None: it does not run
    started: float | None  # None: never
    finished: float | None  # None: not yet
    size_rw: int | None  # None: not asked for


def inspect(engine: Engine, cid: ContainerId, *, size: bool = False) -> Inspection | None:
    """The container; None where it is not there. ``size`` also has its writable layer counted."""
    target = f"/containers/{cid}/json" + ("?size=1" if size else "")
    try:
        found: Mapping[str, Any] = wire.get_json(
            engine.base_url, target, f"inspecting container {cid[:12]}", timeout=engine.timeout
        )
    except Gone:
        return None
    state: Mapping[str, Any] = found.get("State") or {}
    finished = None if state.get("Running") else moment(state.get("FinishedAt") or "")
    return Inspection(
        name=found["Name"].removeprefix("/"),
        state=container_state(state.get("Status", "")),
        exit_code=None if finished is None else int(state.get("ExitCode", 0)),
        oom_killed=bool(state.get("OOMKilled")),
        pid=int(state.get("Pid") or 0) or None,
        started=moment(state.get("StartedAt") or ""),
        finished=finished,
        size_rw=found.get("SizeRw"),
    )
