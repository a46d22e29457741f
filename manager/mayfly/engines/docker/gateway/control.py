"""The gateway's own control socket: the manager asks it to let go of an agent, and how it fares.

It is root's alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mayfly.core.naming import is_generation
from mayfly.edge import door_places
from mayfly.engines.docker.gateway.client_connection import BadRequest, ClientConnection
from mayfly.engines.docker.gateway.engine_connection import PIECE

JSON = (("Content-Type", "application/json"),)


class Control:
    """Serves that socket; ``close`` answers how many requests of an agent are in flight still, ``look`` is
    called where an agent has come.
    """

    def __init__(
        self,
        close: Callable[[str], Awaitable[int]],
        health: Callable[[], dict[str, Any]],
        look: Callable[[], None],
    ) -> None:
        self._close = close
        self._health = health
        self._look = look
        self._server: asyncio.Server | None = None

    async def open(self, folder_path: Path) -> None:
        """Make the socket, in place of one that an earlier gateway left; ``OSError``."""
        folder = os.open(folder_path, os.O_RDONLY | os.O_DIRECTORY)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                os.unlink(door_places.CONTROL, dir_fd=folder)
            old = os.umask(0o177)
            try:
                made.bind(f"/proc/self/fd/{folder}/{door_places.CONTROL}")
            finally:
                os.umask(old)
            made.listen()
            made.setblocking(False)
        except BaseException:
            made.close()
            raise
        finally:
            os.close(folder)
        self._server = await asyncio.start_unix_server(self._connected, sock=made, limit=PIECE)

    def shut(self) -> None:
        """Serve it no more."""
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = ClientConnection(reader, writer)
        with suppress(OSError, BadRequest):
            while (asked := await client.asked()) is not None:
                await client.body(PIECE)
                if not await self._answered(client, asked.method, asked.target):
                    break
        await client.close()

    async def _answered(self, client: ClientConnection, method: str, target: str) -> bool:
        generation = target.removeprefix(door_places.CLOSE)
        if method == "POST" and target.startswith(door_places.CLOSE) and is_generation(generation):
            said: dict[str, Any] = {"in_flight": await self._close(generation)}
        elif (method, target) == ("GET", door_places.HEALTH):
            said = self._health()
        elif (method, target) == ("POST", door_places.LOOK):
            self._look()
            said = {}
        else:
            return await client.refuse(404, "the gateway has no such path")
        return await client.answer(200, JSON, json.dumps(said).encode())
