"""What there is on a host of what agents have made, and what is left of agents that are gone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mayfly.core.container_labels import HOLDER
from mayfly.core.model import LABEL_GENERATION, LABEL_SANDBOX
from tests.engine.private_engine import PrivateEngine
from tests.harness import Manager

LABEL = "io.mayfly.belongs"
KINDS = {"containers": "container", "networks": "network", "volumes": "volume", "images": "image"}
AT_GATE = (b"/opt/mayfly/gate", b"docker-init", b"runc\0init", b"runc init")  # made, not started
# Where control groups are: of version 2, and of version 1 those that every container has.
GROUPS = tuple(Path("/sys/fs/cgroup") / name for name in ("", "memory", "cpu", "pids"))


def belongings(engine: PrivateEngine, generation: str | None = None) -> dict[str, list[str]]:
    """What agents have made, or one of them, by its kind: what the Engine has of it."""
    label = LABEL if generation is None else f"{LABEL}={generation}"
    chosen = ("-q", "--filter", f"label={label}")
    listed = {
        "containers": engine.docker("ps", "-a", "--no-trunc", *chosen),
        "networks": engine.docker("network", "ls", "--no-trunc", *chosen),
        "volumes": engine.docker("volume", "ls", *chosen),
        "images": engine.docker("image", "ls", "-a", *chosen),
    }
    return {kind: found.split() for kind, found in listed.items() if found}


def inspected(engine: PrivateEngine, kind: str, *names: str) -> list[dict[str, Any]]:
    """What the Engine tells of these; those that are gone are left out."""
    found = engine.docker(kind, "inspect", *names, check=False) if names else "[]"
    return [dict(row) for row in json.loads(found or "[]")]


def agents(engine: PrivateEngine, manager: Manager) -> dict[str, str]:
    """The agents that there are, standbys too: generation -> container."""
    mine = f"label=io.mayfly.host={manager.host_id()}"
    found = engine.docker("ps", "-aq", "--no-trunc", "--filter", mine).split()
    rows = inspected(engine, "container", *found)
    labels = {row["Id"]: row["Config"]["Labels"] for row in rows}
    running = {it: own for it, own in labels.items() if own.get(LABEL_SANDBOX) != HOLDER}
    return {own[LABEL_GENERATION]: it for it, own in running.items()}


def leftovers(engine: PrivateEngine, manager: Manager) -> dict[str, object]:
    """What is left of agents that are gone: on the Engine, below the state directory, of control groups."""
    found: dict[str, object] = {}
    mine = belongings(engine)
    living = set(
        agents(engine, manager)
    )  # looked for afterwards: whoever has something is there by then
    for kind, ids in mine.items():
        gone = [row for row in inspected(engine, KINDS[kind], *ids) if _whose(row) not in living]
        if gone:
            found[kind] = [row.get("Name") or row.get("Id") for row in gone]
    living |= set(filter(_is_forgotten, _ended(manager) - living))
    doors = manager.state / "gateway/agents"
    if left := [place.name for place in doors.iterdir() if place.name not in living]:
        found["doors"] = left
    if groups := [str(place) for place in map(_group, _ended(manager) - living) if place]:
        found["control groups"] = groups
    return found


def _whose(row: Mapping[str, Any]) -> str:
    labels = row.get("Labels") or (row.get("Config") or {}).get("Labels") or {}
    return str(labels.get(LABEL, ""))


def _ended(manager: Manager) -> set[str]:
    return {str(row["agent"]) for row in manager.json("history", "-n", "1000")["agents"]}


def _is_forgotten(generation: str) -> bool:
    """Whether its agent was being started when its Engine was killed, and waits below a shim that the Engine
    has forgotten. No job is in it; see `tests/chaos/soak.py`.
    """
    group = _group(generation)
    if group is None:
        return False
    lines = [
        Path(f"/proc/{process}/cmdline").read_bytes()
        for file in group.rglob("cgroup.procs")
        for process in file.read_text().split()
    ]
    return bool(lines) and all(any(word in line for word in AT_GATE) for line in lines)


def _group(generation: str) -> Path | None:
    """A control group that held an agent and its containers together, where it is there."""
    names = (f"mayfly/{generation}", f"mayfly.slice/mayfly-{generation}.slice")
    places = [root / name for root in GROUPS for name in names]
    return next((place for place in places if place.exists()), None)
