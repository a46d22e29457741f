"""What the Engine says of containers that start and end, for the ports that they publish.

Followed from the first one that an agent publishes. Events are a bell: a stream that broke off is
opened again, and every container with ports is looked at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mayfly.core.admission.grant import LABEL_BELONGS
from mayfly.engines.docker.gateway.engine_connection import EngineConnection, EngineGone
from mayfly.engines.docker.gateway.lines import documents

if TYPE_CHECKING:
    from mayfly.engines.docker.gateway.door import Door

REST_SECONDS = 1.0
FILTERS = {
    "type": ["container"],
    "event": ["start", "die", "destroy"],
    "label": [LABEL_BELONGS],
}


class ContainerEvents:
    """One stream for all agents."""

    def __init__(self, engine: str, doors: Callable[[], Iterable[Door]]) -> None:
        self._engine = engine
        self._doors = doors
        self._wanted = asyncio.Event()
        self._followed = asyncio.Event()

    async def needed(self) -> None:
        """Follow from now on; returns when it is followed, or the Engine does not answer."""
        self._wanted.set()
        try:
            async with asyncio.timeout(REST_SECONDS):
                await self._followed.wait()
        except TimeoutError:
            pass  # the looks after it has been opened say what has happened meanwhile

    async def follow(self) -> None:
        """For ever."""
        while True:
            await self._wanted.wait()
            try:
                await self._stream()
            except EngineGone:
                await asyncio.sleep(REST_SECONDS)
            finally:
                self._followed.clear()

    async def _stream(self) -> None:
        async with EngineConnection(self._engine) as engine:
            await engine.send("GET", f"/events?filters={quote(json.dumps(FILTERS))}")
            if (await engine.head()).status != 200:
                raise EngineGone("the Engine tells no events")
            self._followed.set()
            for door in tuple(self._doors()):
                if door.ports is not None:
                    await door.ports.look()
            async for event in documents(engine.pieces()):
                await self._taken(event)

    async def _taken(self, event: Any) -> None:
        actor = (event.get("Actor") if isinstance(event, dict) else None) or {}
        generation = (actor.get("Attributes") or {}).get(LABEL_BELONGS)
        for door in tuple(self._doors()):
            if door.generation == generation and door.ports is not None:
                await door.ports.happened(str(actor.get("ID", "")), str(event.get("Action", "")))
