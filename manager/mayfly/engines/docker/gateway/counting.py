"""How many containers, networks and volumes an agent has, where one more is asked for."""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import quote

from mayfly.core.admission.grant import LABEL_BELONGS, Grant
from mayfly.engines.docker.gateway.engine_connection import NOT_REACHED, EngineGone, asked

LISTS = {
    "containers": "/containers/json?all=1&",
    "networks": "/networks?",
    "volumes": "/volumes?",
}


class Counting:
    """Of one agent: what the Engine lists, and what is being made; too many rather than too few."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._making: Counter[str] = Counter()

    async def begin(self, kind: str, grant: Grant) -> str | None:
        """Count one more of that kind, until ``end``; a sentence where that is more than there may be."""
        self._making[kind] += 1
        try:
            there = await self._listed(kind, grant)
        except BaseException:
            self.end(kind)
            raise
        most: int = getattr(grant.bounds, kind)
        if there + self._making[kind] <= most:
            return None
        self.end(kind)
        return f"this job has {there} {kind} of at most {most}: remove some that it does not need any more"

    def end(self, kind: str) -> None:
        """It has been made, or has not."""
        self._making[kind] -= 1

    async def _listed(self, kind: str, grant: Grant) -> int:
        wanted = quote(json.dumps({"label": [f"{LABEL_BELONGS}={grant.generation}"]}))
        status, listed = await asked(self._engine, "GET", f"{LISTS[kind]}filters={wanted}")
        if status != 200:
            raise EngineGone(NOT_REACHED)
        entries = (listed.get("Volumes") if kind == "volumes" else listed) or []
        mounted = {place.volume for place in (grant.work, *grant.shared) if place is not None}
        return sum(
            grant.owns(entry.get("Labels")) and entry.get("Name") not in mounted
            for entry in entries
        )
