"""The ports that an agent's containers publish: on loopback within the agent, and nowhere on the host.

The gateway listens in the agent's network namespace and carries what comes to the container's address in its
network, as that is when somebody connects. Which port was given to whom stands in ``ports.json`` beside the
agent's door, so that a gateway that starts again listens where the last one did.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit
from socket import socket
from typing import Any
from urllib.parse import quote

from mayfly.core.admission.ports import Published
from mayfly.engines.docker.gateway import relay
from mayfly.engines.docker.gateway.agent_namespace import NotThere, listening, namespace_of
from mayfly.engines.docker.gateway.engine_connection import EngineGone, asked

FILE = "ports.json"
PORTS = 256  # of all containers of one agent
RESERVED = 512  # descriptors that ports do not take: for doors, and what the manager asks
CONNECTIONS = 256  # at once, of all ports of one agent
REACH_SECONDS = 10.0
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  in a sentence; what is listened on is loopback
ENDING = "a port cannot be published: this agent is ending"

Given = tuple[Published, ...]


class NotPublished(Exception):
    """A port cannot be had, in a sentence for the agent."""


@dataclass(slots=True)
class _Open:
    """What is listened on for one container."""

    servers: list[asyncio.Server] = field(default_factory=list)
    carried: set[asyncio.Task[None]] = field(default_factory=set)

    def close(self) -> None:
        for server in self.servers:
            server.close()
        for task in tuple(self.carried):
            task.cancel()
        self.servers.clear()


class PublishedPorts:
    """Those of one agent; used from the loop's thread alone."""

    def __init__(self, engine: str, place: Path, agents_container: str) -> None:
        self._engine = engine
        self._file = place / FILE
        self._inside = agents_container  # whose namespace it is
        self._given: dict[str, Given] = _read(self._file)
        self._open: dict[str, _Open] = {}
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    @property
    def any(self) -> bool:
        """Whether a container was given a port."""
        return bool(self._given)

    def known(self) -> tuple[str, ...]:
        """The containers that were given one."""
        return tuple(self._given)

    def listened(self) -> Mapping[str, Given]:
        """What is listened on now, by the container's id."""
        return {container: self._given[container] for container in self._open}

    async def publish(self, container: str, name: str, wanted: Given) -> None:
        """Listen for that container, which is about to start; ``NotPublished`` where a port is taken."""
        async with self._one_at_a_time:
            if self._is_closed():
                raise NotPublished(ENDING)
            if container in self._open or not wanted:
                return
            had = self._given.get(container)
            self._see_that_there_is_room(len(had or wanted))
            given, opened = await self._listen(container, name, had or wanted)
            self._open[container] = opened
            if self._is_closed():  # meanwhile
                self.withdraw(container)
                raise NotPublished(ENDING)
            if given != had:
                self._given[container] = given
                await self._kept()

    def _see_that_there_is_room(self, more: int) -> None:
        there = sum(len(self._given.get(one, ())) for one in self._open)
        if there + more > PORTS:
            raise NotPublished(f"this job publishes {there} ports of at most {PORTS}")
        soft, _ = getrlimit(RLIMIT_NOFILE)
        if sum(1 for _ in Path("/proc/self/fd").iterdir()) + 2 * more + RESERVED > soft:
            raise NotPublished("this host's gateway has no descriptors left for another port")

    def withdraw(self, container: str) -> None:
        """Listen for it no more; it has ended, and may start again."""
        opened = self._open.pop(container, None)
        if opened is not None:
            opened.close()

    async def look(self) -> None:
        """Listen for those that run, of all that were given ports, and for no others."""
        for container in tuple(self._given):
            status, shown = await asked(self._engine, "GET", f"/containers/{container}/json")
            if status == 404:
                await self._forget(container)
            elif status == 200 and (shown.get("State") or {}).get("Running"):
                with suppress(
                    NotPublished
                ):  # another has the port; who looks sees that nobody listens
                    await self.publish(container, str(shown.get("Name")), self._given[container])
            else:
                self.withdraw(container)

    async def happened(self, container: str, what: str) -> None:
        """By the Engine's events."""
        if container not in self._given:
            return
        if what == "die":
            self.withdraw(container)
        elif what == "destroy":
            await self._forget(container)
        elif what == "start":
            with suppress(NotPublished):
                await self.publish(container, container, self._given[container])

    def close(self) -> None:
        """Listen for nobody, and carry nothing any more."""
        self._closed = True
        for container in tuple(self._open):
            self.withdraw(container)

    def _is_closed(self) -> bool:
        return self._closed

    async def _forget(self, container: str) -> None:
        self.withdraw(container)
        if self._given.pop(container, None) is not None:
            await self._kept()

    async def _kept(self) -> None:
        await asyncio.to_thread(_write, self._file, dict(self._given))

    # -- listening -------------------------------------------------------------------------

    async def _listen(self, container: str, name: str, wanted: Given) -> tuple[Given, _Open]:
        namespace = await self._namespace()
        opened, given = _Open(), []
        try:
            for one in wanted:
                port, sockets = await _bound(namespace, one.at, container, name)
                given.append(Published(one.port, port))
                for bound in sockets:
                    opened.servers.append(await self._served(bound, container, one.port, opened))
        except BaseException:
            opened.close()
            raise
        finally:
            os.close(namespace)
        return tuple(given), opened

    async def _namespace(self) -> int:
        target = f"/containers/{quote(self._inside, safe='')}/json"
        status, shown = await asked(self._engine, "GET", target)
        process = (shown.get("State") or {}).get("Pid") if status == 200 else 0
        if not process:
            raise NotPublished(ENDING)
        try:
            return namespace_of(process, self._inside)
        except NotThere as error:
            raise NotPublished(ENDING) from error
        except OSError as error:
            raise NotPublished(
                f"a port cannot be published: the agent's network is not to be entered ({error.strerror})"
            ) from error

    async def _served(
        self, bound: socket, container: str, port: int, opened: _Open
    ) -> asyncio.Server:
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            opened.carried.add(task)
            try:
                if sum(len(each.carried) for each in self._open.values()) <= CONNECTIONS:
                    await self._carried(reader, writer, container, port)
            except (OSError, TimeoutError, EngineGone, asyncio.CancelledError):
                pass
            finally:
                opened.carried.discard(task)
                writer.transport.abort()

        return await asyncio.start_server(carry, sock=bound, limit=relay.PIECE)

    async def _carried(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        container: str,
        port: int,
    ) -> None:
        address = await self._address(container)
        if address is None:
            return
        async with asyncio.timeout(REACH_SECONDS):
            there, back = await asyncio.open_connection(address, port, limit=relay.PIECE)
        try:
            # The address may have become another network's while it was reached: nothing is said to that.
            if await self._address(container) != address:
                return
            await relay.both_ended(relay.End(reader, writer), relay.End(there, back))
            await _flushed(writer)
            await _flushed(back)
        finally:
            back.transport.abort()

    async def _address(self, container: str) -> str | None:
        """Where it is reached from this host; ``None`` where nowhere."""
        status, shown = await asked(self._engine, "GET", f"/containers/{container}/json")
        if status != 200:
            return None
        networks = (shown.get("NetworkSettings") or {}).get("Networks") or {}
        addresses = (one.get("IPAddress") for one in networks.values() if one)
        return next((address for address in addresses if address), None)


async def _flushed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _bound(namespace: int, port: int, container: str, name: str) -> tuple[int, list[socket]]:
    try:
        return await asyncio.to_thread(listening, namespace, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise NotPublished(f"port {port} cannot be published: {error.strerror}") from error
    # Docker's own sentence, which programs look for.
    raise NotPublished(
        f"driver failed programming external connectivity on endpoint {name} ({container}): "
        f"Bind for {ANY_ADDRESS}:{port} failed: port is already allocated"
    )


def _read(file: Path) -> dict[str, Given]:
    """What a gateway before this one gave."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {
            container: tuple(Published(port, at) for port, at in pairs)
            for container, pairs in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(file: Path, given: Mapping[str, Given]) -> None:
    told: dict[str, Any] = {
        container: [[one.port, one.at] for one in ports] for container, ports in given.items()
    }
    new = file.with_name(f".{file.name}.new")
    with suppress(OSError):  # a gateway that starts again gives other ports then
        new.write_text(json.dumps(told), encoding="utf-8")
        new.replace(file)
