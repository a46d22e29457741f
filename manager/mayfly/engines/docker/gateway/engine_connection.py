"""One connection to the Engine, for one request: made anew each time, so that nothing of one agent's is left
in the next one's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Self

import h11

from mayfly.engines.docker.gateway.memory import PARSED, Held

HEAD_MOST = 64 * 1024
DOCUMENT_MOST = 16 * 1024 * 1024  # bytes of an answer that is read whole
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 30.0  # for a question of the gateway's own
PIECE = 64 * 1024
SWITCHING = 101

Headers = Iterable[tuple[str, str]]


class EngineGone(Exception):
    """The Engine is not reached, or has broken off; in a sentence for the agent."""


class EngineUnreached(EngineGone):
    """It was sent nothing."""


NOT_REACHED = "the Engine of this host does not answer; try again in a moment"
BROKE_OFF = "the Engine of this host broke off; what was asked may have been done"


@dataclass(frozen=True, slots=True)
class Head:
    """What the Engine answers before the body; names of headers are in small letters."""

    status: int
    headers: dict[str, str]


class EngineConnection:
    """A client's side of a connection; a context manager that closes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MOST)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self.reader, self.writer = await asyncio.open_unix_connection(
                    self._path, limit=PIECE
                )
        except (OSError, TimeoutError) as error:
            raise EngineUnreached(NOT_REACHED) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | None = None,
        *,
        chunked: bool = False,
    ) -> None:
        """The head of a request, and its body where that is whole; ``chunked``: pieces follow."""
        said = [("Host", "docker"), *headers]
        if chunked:
            said.append(("Transfer-Encoding", "chunked"))
        elif body is not None or method not in ("GET", "HEAD"):
            said.append(("Content-Length", str(len(body or b""))))
        coded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in said]
        self._write(h11.Request(method=method, target=target, headers=coded))
        if not chunked:
            if body:
                self._write(h11.Data(data=body))
            self._write(h11.EndOfMessage())
        await self._drained()

    async def piece(self, data: bytes) -> None:
        """A piece of the body, once the Engine has taken what was before."""
        self._write(h11.Data(data=data))
        await self._drained()

    async def end(self) -> None:
        """The end of the body."""
        self._write(h11.EndOfMessage())
        await self._drained()

    async def head(self) -> Head:
        """The head of the answer."""
        while True:
            event = await self._event()
            if isinstance(event, h11.InformationalResponse) and event.status_code != SWITCHING:
                continue
            if isinstance(event, (h11.InformationalResponse, h11.Response)):
                pairs = ((name.decode(), value.decode("latin-1")) for name, value in event.headers)
                return Head(event.status_code, dict(pairs))
            raise EngineGone(BROKE_OFF)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body of the answer as it comes."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise EngineGone(BROKE_OFF)

    async def body(self, most: int = DOCUMENT_MOST, held: Held | None = None) -> bytes:
        """The whole body of the answer; ``Full`` where there is no room for it."""
        whole = bytearray()
        async for piece in self.pieces():
            if held is not None:
                held.more(len(piece))
            whole += piece
            if len(whole) > most:
                raise EngineGone(f"the Engine's answer has more than {most} bytes")
        return bytes(whole)

    def raw(self) -> bytes:
        """What came behind the head already, where the raw connection follows it."""
        early, _ = self._http.trailing_data
        return early

    async def _event(self) -> Any:
        while True:
            try:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self._http.receive_data(await self.reader.read(PIECE))
            except (OSError, h11.RemoteProtocolError) as error:
                raise EngineGone(BROKE_OFF) from error

    def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self.writer.write(data)

    async def _drained(self) -> None:
        try:
            await self.writer.drain()
        except OSError as error:
            raise EngineGone(BROKE_OFF) from error


async def asked(
    path: str,
    method: str,
    target: str,
    document: Any = None,
    *,
    seconds: float = LOOK_SECONDS,
    held: Held | None = None,
) -> tuple[int, Any]:
    """What the Engine says to a question of the gateway's own: a status, and the document or its message.

    ``held``: of what it holds, parsed, as long as whoever asks does; ``Full`` where there is no room.
    """
    try:
        async with asyncio.timeout(seconds), EngineConnection(path) as engine:
            body = None if document is None else json.dumps(document).encode()
            await engine.send(method, target, (("Content-Type", "application/json"),), body)
            head = await engine.head()
            said = await engine.body(held=held)
    except TimeoutError as error:
        raise EngineGone(NOT_REACHED) from error
    if held is not None:
        held.more(PARSED * len(said))
    try:
        found = json.loads(said) if said.strip() else None
    except ValueError as error:
        raise EngineGone("the Engine of this host answered what is no JSON") from error
    if head.status >= 400:
        return head.status, str((found or {}).get("message", "")) if isinstance(found, dict) else ""
    return head.status, found
