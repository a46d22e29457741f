"""How many containers, networks and volumes an agent has, where one more is asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from mayfly.core.admission.grant import LABEL_BELONGS, Grant
from mayfly.engines.docker.gateway.engine_connection import NOT_REACHED, EngineGone, asked

PROCESSES = "processes"
PROCESSES_MOST = 64  # beside a container's own: the Engine keeps each in memory, command and all
LISTS = {
    "containers": "/containers/json?all=1&",
    "networks": "/networks?",
    "volumes": "/volumes?",
}


class Counting:
    """Of one agent: what the Engine lists, and what is being made; too many rather than too few."""

    def __init__(self, engine: str, *, recalls: bool = False) -> None:
        """``recalls``: an earlier gateway may have made processes that have not ended."""
        self._engine = engine
        self._recalls = recalls
        self._making: Counter[str] = Counter()
        self._processes: set[str] = set()  # ids of those that have not been seen to have ended

    async def begin(self, kind: str, grant: Grant, more: int = 1) -> str | None:
        """Count so many more of that kind, until ``end``; a sentence where that is more than there may be."""
        self._making[kind] += more
        try:
            there = await (self._running(grant) if kind == PROCESSES else self._listed(kind, grant))
        except BaseException:
            self.end(kind, more)
            raise
        most: int = PROCESSES_MOST if kind == PROCESSES else getattr(grant.bounds, kind)
        if there + self._making[kind] <= most:
            return None
        self.end(kind, more)
        return f"this job has {there} {kind} of at most {most}: remove some that it does not need any more"

    def end(self, kind: str, more: int = 1) -> None:
        """They have been made, or have not."""
        self._making[kind] -= more

    def made_process(self, by_id: str) -> None:
        """A process that the Engine has kept, and that has not been started."""
        self._processes.add(by_id)

    async def _recall(self, grant: Grant) -> None:
        """Those that containers of the agent have, ended or not."""
        for entry in await self._own("containers", grant):
            status, shown = await asked(self._engine, "GET", f"/containers/{entry['Id']}/json")
            if status == 200:
                self._processes.update(str(one) for one in shown.get("ExecIDs") or ())
        self._recalls = False

    async def _running(self, grant: Grant) -> int:
        """Processes that have not ended; the Engine is asked where there are as many as there may be."""
        if self._recalls:
            await self._recall(grant)
        if len(self._processes) + self._making[PROCESSES] > PROCESSES_MOST:
            for by_id in tuple(self._processes):
                status, shown = await asked(self._engine, "GET", f"/exec/{quote(by_id)}/json")
                if status == 404 or (status == 200 and _has_ended(shown)):
                    self._processes.discard(by_id)
        return len(self._processes)

    async def _listed(self, kind: str, grant: Grant) -> int:
        return len(await self._own(kind, grant))

    async def _own(self, kind: str, grant: Grant) -> list[Mapping[str, Any]]:
        wanted = quote(json.dumps({"label": [f"{LABEL_BELONGS}={grant.generation}"]}))
        status, listed = await asked(self._engine, "GET", f"{LISTS[kind]}filters={wanted}")
        if status != 200:
            raise EngineGone(NOT_REACHED)
        entries = (listed.get("Volumes") if kind == "volumes" else listed) or []
        mounted = {place.volume for place in (grant.work, *grant.shared) if place is not None}
        return [
            entry
            for entry in entries
            if grant.owns(entry.get("Labels")) and entry.get("Name") not in mounted
        ]


def _has_ended(shown: Mapping[str, Any]) -> bool:
    """One that was never started has no exit code, and is kept as long as its container runs."""
    return not shown.get("Running") and shown.get("ExitCode") is not None
