"""The socket of one agent: who connects there, how many, and the end of all of them.

A door is served as soon as its directory is there, and waits with whoever comes before the grant. It closes
for good when the manager has said that the agent is over.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mayfly.core.admission.grant import Bounds
from mayfly.edge.door_places import DOOR, SOCKET
from mayfly.engines.docker.gateway.client_connection import Asked, BadRequest, ClientConnection
from mayfly.engines.docker.gateway.engine_connection import PIECE
from mayfly.engines.docker.gateway.grant_files import GrantFiles
from mayfly.engines.docker.gateway.lookup import ABREAST
from mayfly.engines.docker.gateway.memory import OF_ONE, Memory
from mayfly.engines.docker.gateway.rate import Rate
from mayfly.engines.docker.gateway.said import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from mayfly.core.admission.grant import Grant
    from mayfly.engines.docker.gateway.counting import Counting
    from mayfly.engines.docker.gateway.published_ports import PublishedPorts

T = TypeVar("T")

BACKLOG = 128
HEAVY_AT_ONCE = 2  # see `weights.is_heavy`: the Engine's work for these is in nobody's share
TURNED_SECONDS = 0.05  # between two that are turned away
GRANT_SECONDS = 10.0  # that whoever comes early waits for the grant
GRANT_LOOK = 0.1
CLOSING_SECONDS = 30.0  # that the Engine has for answering what it was sent
NOT_YET = "containers of this job cannot be made yet; try again in a moment"
WITHHELD_LINES = 50  # in the log, of one agent
WITHHELD_LONGEST = 1000
OVER = "this agent has ended: its containers are being removed"


@dataclass(slots=True)
class Door:
    """One agent's; ``serve`` answers one request, and says whether another may follow."""

    generation: str
    place: Path
    serve: Callable[[Door, ClientConnection, Asked], Awaitable[bool]]
    counting: Counting
    files: GrantFiles = field(init=False)
    bounds: Bounds = field(default_factory=Bounds)
    closed: bool = False
    ports: PublishedPorts | None = None  # None: it has published none yet
    pulled: set[str] = field(default_factory=set)  # names of images, as people write them
    fetches: set[str] = field(default_factory=set)  # the same, of all that it has asked for
    mountpoints: dict[str, Path] = field(default_factory=dict)  # of volumes, on this host
    making_first: asyncio.Lock = field(default_factory=asyncio.Lock)  # see `outcome.First`
    memory: Memory = field(default_factory=lambda: Memory(OF_ONE))  # for its requests
    heavy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HEAVY_AT_ONCE))
    looks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ABREAST))
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _making: set[asyncio.Task[Any]] = field(default_factory=set)
    _listening: socket.socket | None = None
    _accepting: asyncio.Task[None] | None = None
    _rate: Rate = field(init=False)
    _withheld: int = 0  # how often the Engine's words were not for the agent

    def __post_init__(self) -> None:
        self.files = GrantFiles(self.place)
        self._rate = Rate(self.bounds.requests)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def in_flight(self) -> int:
        """How many requests that make something the Engine has not answered."""
        return len(self._making)

    def bound_by(self, bounds: Bounds) -> None:
        """Hold it to these from now on."""
        if bounds != self.bounds:
            self.bounds = bounds
            self._rate = Rate(bounds.requests)

    async def open(self) -> None:
        """Make the socket, in place of one that an earlier gateway left; ``OSError``."""
        folder = os.open(self.place / DOOR, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            new = f".{SOCKET}.new"
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=folder)
            # A path of a socket has 107 bytes at most; by the descriptor it is short, however deep it is.
            made.bind(f"/proc/self/fd/{folder}/{new}")
            os.chmod(new, 0o666, dir_fd=folder)  # noqa: S103  for the job: whoever sees it may use it
            made.listen(BACKLOG)
            made.setblocking(False)
            os.rename(new, SOCKET, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            made.close()
            raise
        finally:
            os.close(folder)
        self._listening = made
        self._accepting = asyncio.create_task(self._accept(made))

    async def _accept(self, listening: socket.socket) -> None:
        """For ever; who is over the number of connections is not even heard as fast as it comes."""
        loop = asyncio.get_running_loop()
        while True:
            if len(self._connections) >= self.bounds.connections:
                await asyncio.sleep(TURNED_SECONDS)
            try:
                end, _ = await loop.sock_accept(listening)
            except OSError as error:  # no descriptor is left, or a client that has gone already
                say(f"agent {self.generation}: a connection is not taken: {error.strerror}")
                await asyncio.sleep(1.0)
                continue
            reader = asyncio.StreamReader(limit=PIECE, loop=loop)
            makes = partial(asyncio.StreamReaderProtocol, reader, self._connected, loop=loop)
            with suppress(OSError):
                await loop.connect_accepted_socket(makes, end)

    def charge(self, requests: float) -> None:
        """What one of its requests took was as much as so many more."""
        self._rate.charge(requests)

    async def granted(self) -> Grant | None:
        """The grant, for which it waits a while; ``None`` where there is none."""
        until = time.monotonic() + GRANT_SECONDS
        while not self.closed:
            found = self.files.grant()
            if found is not None or self.files.is_over() or time.monotonic() > until:
                return found
            await asyncio.sleep(GRANT_LOOK)
        return None

    async def made(self, making: Coroutine[Any, Any, T]) -> T:
        """See a request through to the Engine's answer, also where the client does not wait for it."""
        if self.closed:
            making.close()
            raise ConnectionResetError(OVER)
        task = asyncio.create_task(making)
        self._making.add(task)
        task.add_done_callback(self._making.discard)
        return await asyncio.shield(task)

    def withheld(self, words: str) -> None:
        """Have it in the log, as far as there is not much of it already."""
        self._withheld += 1
        if self._withheld <= WITHHELD_LINES:
            say(f"agent {self.generation}: {words[:WITHHELD_LONGEST]!r}")

    def shut(self) -> None:
        """Let nobody in any more, and cut whoever is connected."""
        self.closed = True
        if self._listening is not None and self._accepting is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._accepting.cancel()
            self._listening = self._accepting = None
        if self.ports is not None:
            self.ports.close()
        for task in tuple(self._connections):
            task.cancel()

    async def settled(self, seconds: float = CLOSING_SECONDS) -> int:
        """How many requests that make something are in flight still, after a while at most."""
        if self._making:
            await asyncio.wait(tuple(self._making), timeout=seconds)
        return self.in_flight

    # -- connections -----------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = ClientConnection(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        if self.closed or len(self._connections) >= self.bounds.connections:
            await self._turned_away(client)
            return
        self._connections.add(task)
        try:
            await self._talk(client)
        except asyncio.CancelledError:
            pass  # the door is closed
        except OSError:
            pass  # the client has gone
        finally:
            self._connections.discard(task)
            await client.close()

    async def _turned_away(self, client: ClientConnection) -> None:
        most = self.bounds.connections
        sentence = OVER if self.closed else f"more than {most} connections at once; close some"
        self.files.note_refusal(sentence)
        with suppress(OSError):
            await client.turn_away(503, sentence, read_on=False)
        await client.close()

    async def _talk(self, client: ClientConnection) -> None:
        while not self.closed:
            try:
                asked = await client.asked()
                if asked is None:
                    return
                await asyncio.sleep(self._rate.wait())
                if not await self.serve(self, client, asked):
                    return
            except BadRequest as bad:
                self.files.note_refusal(str(bad))
                await client.turn_away(bad.status, str(bad))
                return
