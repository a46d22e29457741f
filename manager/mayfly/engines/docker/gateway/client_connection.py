"""One connection of an agent's client: requests are read strictly, answers are written as they come.

Bytes are held back at the source: nothing is read from a client whose request is being served, but a little
that tells whether it has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from http import HTTPStatus

import h11

from mayfly.engines.docker.gateway import relay
from mayfly.engines.docker.gateway.memory import Held
from mayfly.engines.docker.gateway.strict_head import END, HEAD_MOST, fault_of

HEAD_SECONDS = 10.0  # from the first byte of a head to its last
IDLE_SECONDS = 3600.0  # between two requests
BODY_SECONDS = 60.0  # without a byte of a body
WRITE_SECONDS = 60.0  # for an answer that is not streamed
LINGER_SECONDS = 5.0  # that a client may take to stop sending what is not read any more
CLOSE_SECONDS = 5.0
HUNG_UP_SECONDS = 1.0  # between two looks whether a client that says no more is still there
LINGER_MOST = 64 * 1024 * 1024
PIECE = 64 * 1024

Headers = Iterable[tuple[str, str]]


class BadRequest(Exception):
    """It is not served, and the connection ends; ``status`` and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """The head of a request; names of headers are in small letters."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def upgrades(self) -> bool:
        """Whether the raw connection is asked for behind the answer."""
        return "upgrade" in self.headers.get("connection", "").lower() and bool(
            self.headers.get("upgrade")
        )

    @property
    def has_body(self) -> bool:
        """Whether anything follows the head."""
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"


class ClientConnection:
    """The server's side of a connection; used by one task at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._held = bytearray()  # received and not read yet
        self._ended = False  # it will send no more
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MOST)
        self._unread = False  # whether a body has not been read to its end
        self._head_alone = False  # whether the request that was read last is for that alone
        self._answered = False  # whether anything was answered to the request that was read last

    # -- what it asks ----------------------------------------------------------------------

    async def asked(self) -> Asked | None:
        """The next request; ``None`` where there is none any more, ``BadRequest`` where it is none."""
        if not self._held:
            self._held += await self._received(IDLE_SECONDS)
            if not self._held:
                return None
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                end = await self._head_end()
        except TimeoutError as error:
            raise BadRequest(408, "the head of the request does not come to its end") from error
        if end is None:
            return None
        wrong = fault_of(bytes(self._held[:end]))
        if wrong is not None:
            raise BadRequest(400, f"this is no request: {wrong}")
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MOST)
        self._feed()
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequest(400, f"this is no request: {error}") from error
        assert isinstance(event, h11.Request)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        asked = Asked(event.method.decode(), event.target.decode(), headers)
        self._unread, self._answered = asked.has_body, False
        self._head_alone = asked.method == "HEAD"
        if not asked.has_body:
            self._http.next_event()  # its end
        return asked

    async def _head_end(self) -> int | None:
        looked = 0
        while (end := self._held.find(END, max(0, looked - len(END)))) < 0:
            looked = len(self._held)
            if looked > HEAD_MOST:
                raise BadRequest(431, f"the head of the request is longer than {HEAD_MOST} bytes")
            more = await self._received(None)
            if not more:
                return None
            self._held += more
        if end > HEAD_MOST:
            raise BadRequest(431, f"the head of the request is longer than {HEAD_MOST} bytes")
        return end

    async def body(self, most: int, held: Held | None = None) -> bytes:
        """The whole body; ``BadRequest`` where it is longer than that, ``Full`` where there is no room."""
        whole = bytearray()
        async for piece in self.pieces(most):
            if held is not None:
                held.more(len(piece))
            whole += piece
        return bytes(whole)

    async def pieces(self, most: int) -> AsyncIterator[bytes]:
        """The body as it comes; ``BadRequest`` where it is longer than ``most`` bytes, or breaks off."""
        total = 0
        while self._unread:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise BadRequest(400, f"the body of the request is no such: {error}") from error
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                self._held += await self._received(BODY_SECONDS)
                self._feed()
            elif isinstance(event, h11.Data):
                total += len(event.data)
                if total > most:
                    raise BadRequest(413, f"the body of the request has more than {most} bytes")
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._unread = False
            else:
                raise BadRequest(400, "the body of the request broke off")

    def _feed(self) -> None:
        if self._held:
            self._http.receive_data(bytes(self._held))
            self._held.clear()
        elif self._ended:
            self._http.receive_data(b"")

    async def _received(self, seconds: float | None) -> bytes:
        """What comes next; nothing where it has closed its side, has gone, or says nothing for so long."""
        if self._ended:
            return b""
        try:
            async with asyncio.timeout(seconds):
                received = await self._reader.read(PIECE)
        except (OSError, TimeoutError):
            received = b""
        self._ended = not received
        return received

    async def gone(self) -> None:
        """Returns once nobody is there to take an answer; what is sent meanwhile is kept, up to a bound.

        Who has only closed its own side still waits for one.
        """
        while not self._ended and len(self._held) <= HEAD_MOST:
            self._held += await self._received(None)
        while not self.hung_up():  # noqa: ASYNC110  the kernel has no bell for that
            await asyncio.sleep(HUNG_UP_SECONDS)

    # -- what it is answered ---------------------------------------------------------------

    async def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """A whole answer, of which who asked for the head alone gets that; whether another request may
        follow."""
        said = [*headers]
        bodyless = status in (204, 304) or self._head_alone
        if not bodyless:
            said.append(("Content-Length", str(len(body))))
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                events: list[h11.Event] = [self._response(status, said)]
                if body and not bodyless:
                    events.append(h11.Data(data=body))
                self._write(*events, h11.EndOfMessage())
                await self.writer.drain()
        except (OSError, TimeoutError, h11.LocalProtocolError):
            return False
        return await self._may_go_on()

    async def refuse(self, status: int, sentence: str) -> bool:
        """The Engine's form of a failure; whether another request may follow."""
        body = json.dumps({"message": sentence}).encode() + b"\n"
        return await self.answer(status, (("Content-Type", "application/json"),), body)

    async def turn_away(self, status: int, sentence: str, *, read_on: bool = True) -> None:
        """The last answer of this connection, whatever was read of the request, if anything was.

        ``read_on``: for a while, so that who is still sending comes to read it.
        """
        body = json.dumps({"message": sentence}).encode() + b"\n"
        if self._answered:
            return
        said = (
            f"HTTP/1.1 {status} {_reason(status).decode()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(WRITE_SECONDS):
                self.writer.write(said.encode() + body)
                await self.writer.drain()
                if read_on:
                    await self._linger()

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of an answer that is streamed."""
        self._write(self._response(status, headers))
        await self.writer.drain()

    async def piece(self, data: bytes) -> None:
        """A piece of it, once the client has taken what was before."""
        self._write(h11.Data(data=data))
        await self.writer.drain()

    async def end(self) -> bool:
        """Its end; whether another request may follow."""
        self._write(h11.EndOfMessage())
        await relay.flushed(self.writer)
        return await self._may_go_on()

    async def switch(self, lines: bytes) -> bytes:
        """The head before the raw connection, and what the client has sent for that already."""
        self._answered = True
        self.writer.write(lines)
        await self.writer.drain()
        early, _ = self._http.trailing_data
        early += bytes(self._held)
        self._held.clear()
        return early

    @property
    def answered(self) -> bool:
        """Whether the answer to the request that was read last has begun."""
        return self._answered

    @property
    def read_to_its_end(self) -> bool:
        """Whether nothing of that request's body is left."""
        return not self._unread

    @property
    def reader(self) -> asyncio.StreamReader:
        """For the raw connection alone."""
        return self._reader

    def hung_up(self) -> bool:
        """Whether nobody is at the other end any more, who could take an answer."""
        raw = self.writer.get_extra_info("socket")
        if raw is None:
            return True
        poll = select.poll()
        try:
            poll.register(raw.fileno(), 0)
        except (OSError, ValueError):
            return True
        return any(seen & (select.POLLHUP | select.POLLERR) for _, seen in poll.poll(0))

    def _response(self, status: int, headers: Headers) -> h11.Response:
        self._answered = True
        said = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if self._unread:
            said.append((b"Connection", b"close"))
        return h11.Response(status_code=status, headers=said, reason=_reason(status))

    def _write(self, *events: h11.Event) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        if data:
            self.writer.write(data)

    async def _may_go_on(self) -> bool:
        if self._unread:
            await self._linger()
            return False
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        early, _ = self._http.trailing_data
        self._held[:0] = early
        return not self._ended or bool(self._held)

    async def _linger(self) -> None:
        """Reads for a while what it still sends: who is cut off while sending does not read an answer."""
        left = LINGER_MOST
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            if self.writer.can_write_eof():
                self.writer.write_eof()
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0 and (piece := await self._reader.read(PIECE)):
                    left -= len(piece)

    async def close(self) -> None:
        """End the connection; what was written has a moment to be taken."""
        self.writer.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.writer.wait_closed()
        except (OSError, TimeoutError, asyncio.CancelledError):
            self.writer.transport.abort()


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
