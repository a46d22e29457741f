"""The gateway as a process: it finds the agents' directories, keeps a door for each, and reports to systemd.

It reads everything anew when it starts, and nothing is asked of the manager: a gateway that is killed is
started again by systemd and serves the same agents.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mayfly import __version__
from mayfly.core.admission.grant import Grant, known_keys
from mayfly.core.naming import is_generation
from mayfly.edge import door_places, systemd
from mayfly.engines.docker.gateway.container_events import ContainerEvents
from mayfly.engines.docker.gateway.control import Control
from mayfly.engines.docker.gateway.counting import Counting
from mayfly.engines.docker.gateway.door import Door
from mayfly.engines.docker.gateway.handling import Handling
from mayfly.engines.docker.gateway.host_conditions import HostConditions
from mayfly.engines.docker.gateway.memory import OF_ALL, OF_ONE, Memory
from mayfly.engines.docker.gateway.own_code import OwnCode, begin_anew
from mayfly.engines.docker.gateway.said import say

# between two looks whether an agent has come that nobody told of, or one is over
LOOK_SECONDS = 1.0
LOCK_SECONDS = 2.0  # that an earlier gateway has for its end
LOCK_LOOK = 0.2
ALIVE_SECONDS = 10.0


class Elsewhere(Exception):
    """It cannot be served here, in a sentence for the operator."""


class Gateway:
    """All doors of one state directory."""

    def __init__(self, state_dir: Path, engine: str) -> None:
        self._state_dir = state_dir
        self._engine = engine
        self._agents = door_places.agents(state_dir)
        self._started = time.time()
        self._doors: dict[str, Door] = {}
        self._unopened: set[str] = set()  # told already that their door cannot be made
        self._seen: int | None = None  # when the directory of all agents was changed last
        self._conditions = HostConditions()
        self._events = ContainerEvents(engine, self._doors.values)
        self._handling = Handling(engine, self._events.needed, self._conditions)
        self._code = OwnCode()
        self._memory = Memory(OF_ALL)
        self._rung = asyncio.Event()  # an agent may have come
        self._ends = asyncio.Event()
        self._begins_anew = False
        self._control = Control(self._close, self._health, self._rung.set)

    async def run(self) -> bool:
        """Serve until SIGTERM or SIGINT; whether it is to begin anew, as another version of itself.

        ``Elsewhere`` where another gateway serves already.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ends.set)
        self._agents.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = await self._locked()
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._control.open(door_places.folder(self._state_dir))
            tasks.append(asyncio.create_task(_lasting(self._events.follow)))
            await self._look()
            tasks += [
                asyncio.create_task(_lasting(each)) for each in (self._looking, self._judging)
            ]
            systemd.ready(self._sentence())
            await self._ends.wait()
            return self._begins_anew
        finally:
            if not self._begins_anew:
                systemd.stopping()
            for task in tasks:
                task.cancel()
            self._control.shut()
            for door in self._doors.values():
                door.shut()
            os.close(held)

    async def _locked(self) -> int:
        held = os.open(
            door_places.lock(self._state_dir), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(held)
                    raise Elsewhere(
                        f"another gateway serves {self._state_dir}; one is enough for a host"
                    ) from None
                await asyncio.sleep(LOCK_LOOK)
            else:
                return held

    # -- agents ----------------------------------------------------------------------------

    async def _looking(self) -> None:
        """Opens a door for each agent whose directory is there."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            await self._look()

    async def _look(self) -> None:
        with suppress(OSError):
            changed = self._agents.stat().st_mtime_ns
            if changed == self._seen and not self._unopened:
                return
            # A directory that is made in this very moment may not have another time yet.
            self._seen = changed if time.time_ns() - changed > 10**9 else None
            for name in sorted(place.name for place in self._agents.iterdir()):
                if name not in self._doors and is_generation(name):
                    await self._open(name)

    async def _open(self, generation: str) -> None:
        place = self._agents / generation
        if not (place / door_places.DOOR).is_dir():
            self._seen = None  # it is being made
            return
        made = (place / door_places.LIVE / door_places.MADE).exists()
        counting = Counting(self._engine, recalls=made)
        door = Door(generation, place, self._handling.serve, counting)
        door.memory = Memory(OF_ONE, self._memory)
        if door.files.is_over():
            return
        try:
            await door.open()
        except OSError as error:
            if generation not in self._unopened:
                say(f"the Engine socket of agent {generation} cannot be made: {error.strerror}")
            self._unopened.add(generation)
            return
        self._unopened.discard(generation)
        self._doors[generation] = door
        await self._handling.resume(door)

    async def _judging(self) -> None:
        """Closes the doors of agents that are over, and gives systemd a sign of life. All that wakes it where
        nobody asks anything: a hand-over needs the processors.
        """
        told = 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._rung.set()
            for generation, door in tuple(self._doors.items()):
                if door.files.is_over():
                    door.shut()
                    if not door.in_flight:
                        del self._doors[generation]
            self._unopened = {name for name in self._unopened if (self._agents / name).exists()}
            if time.monotonic() - told > ALIVE_SECONDS:
                told = time.monotonic()
                systemd.alive(self._sentence())
                await self._handling.registries.look(self._grants())
                if self._is_idle() and self._code.is_replaced():
                    self._begins_anew = True
                    self._ends.set()

    def _grants(self) -> list[Grant]:
        """Of the agents that are there, as far as they can be read."""
        found = []
        for door in self._doors.values():
            with suppress(ValueError):
                if (grant := door.files.grant()) is not None:
                    found.append(grant)
        return found

    def _is_idle(self) -> bool:
        """Whether nobody would notice that it is not there for a moment."""
        return not any(
            door.connections or door.in_flight or (door.ports is not None and door.ports.any)
            for door in self._doors.values()
        )

    async def _close(self, generation: str) -> int:
        door = self._doors.get(generation)
        if door is None:
            return 0
        door.shut()
        return await door.settled()

    # -- how it fares ----------------------------------------------------------------------

    def _health(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "grant": sorted(
                known_keys()
            ),  # by which a manager of another version sees what it reads
            "started": self._started,
            "agents": len(self._doors),
            "connections": sum(door.connections for door in self._doors.values()),
            "conditions": self._conditions.document(),
        }

    def _sentence(self) -> str:
        agents = len(self._doors)
        return f"{agents} agent{'' if agents == 1 else 's'} may use containers"


async def _lasting(does: Callable[[], Awaitable[None]]) -> None:
    """Goes on for ever: what strikes one look, or one agent, must not end what all others have."""
    while True:
        try:
            await does()
        except Exception:  # noqa: BLE001  it is told, and what was asked of it is asked again
            say(traceback.format_exc(limit=-3))
            await asyncio.sleep(LOOK_SECONDS)


def run(state_dir: Path, engine: str) -> int:
    """Serve until told to stop; the exit code."""
    try:
        if asyncio.run(Gateway(state_dir, engine).run()):
            begin_anew(state_dir, engine)
    except Elsewhere as why:
        say(str(why))
        return 1
    except OSError as error:
        say(f"{error.filename or state_dir}: {error.strerror}")
        return 1
    return 0
