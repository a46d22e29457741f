"""The disk that the Engine keeps images on: what jobs fetch leaves room there for what jobs write.

Images are the Engine's, and no limit of a job counts their bytes. So no pull begins where there is less room,
and one that is under way is broken off when it has come to that. Whoever looks after the host is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mayfly.edge.room import Room, lacks_room, room
from mayfly.engines.docker.gateway.engine_connection import asked
from mayfly.engines.docker.gateway.host_conditions import HostConditions
from mayfly.engines.docker.lines import LINES
from mayfly.engines.docker.places import places

CODE = "gateway.room"
LOOK_SECONDS = 1.0  # between two looks while something is fetched
TOLD = "this host has no room for more images; who looks after it is told"


class NoRoom(Exception):
    """Nothing is fetched; in a sentence for the agent."""


class ImageStore:
    """That of one Engine."""

    def __init__(
        self,
        engine: str,
        conditions: HostConditions,
        look: Callable[[Path], Room | None] = room,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``look``: what is left on a disk."""
        self._engine = engine
        self._conditions = conditions
        self._look = look
        self._clock = clock
        self._places: tuple[str, ...] | None = None  # None: the Engine was not asked yet
        self._looked = float("-inf")
        self._found = ""  # by the last look, whoever it was for

    async def see_that_there_is_room(self) -> None:
        """``NoRoom`` where nothing more is to be fetched."""
        if full := await self._look_now():
            raise NoRoom(full)

    async def filled(self) -> str:
        """Why nothing more is to be fetched, looked at now and then; ``""``: something may."""
        if self._clock() - self._looked < LOOK_SECONDS:
            return self._found
        return await self._look_now()

    async def _look_now(self) -> str:
        self._found = await self._seen()
        self._looked = self._clock()
        return self._found

    async def _seen(self) -> str:
        for place in await self._stored():
            there = self._look(Path(place))
            if there is not None and lacks_room(there):
                self._conditions.tell(
                    CODE,
                    place,
                    f"jobs fetch no images: {there.text}, which is kept for what they write",
                    there.fix(LINES.on(LINES.room, place)),
                )
                return TOLD
            self._conditions.mended(CODE, place)
        return ""

    async def _stored(self) -> tuple[str, ...]:
        if self._places is None:
            status, info = await asked(self._engine, "GET", "/info")
            if status != 200:
                return ()  # it is asked again
            self._places = tuple(place for place in places(info) if place)
        return self._places
