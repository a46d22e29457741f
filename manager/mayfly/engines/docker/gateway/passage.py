"""One admitted request on its way to the Engine and back, by the kind of stream that it is.

Nothing is decided here, and nothing of a client's own bytes goes out but what it uploads or says on a raw
connection.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from mayfly.core.admission.answers import shown_headers
from mayfly.core.admission.archive import Archive
from mayfly.core.admission.image_names import familiar
from mayfly.core.admission.outcome import Answer, Forward, Refused, Streams
from mayfly.edge.credentials import Secret
from mayfly.edge.fetched_images import FetchedImages
from mayfly.engines.docker.gateway import relay
from mayfly.engines.docker.gateway.client_connection import Asked, BadRequest, ClientConnection
from mayfly.engines.docker.gateway.counting import PROCESSES
from mayfly.engines.docker.gateway.engine_connection import EngineConnection, EngineGone, Head
from mayfly.engines.docker.gateway.lines import documents
from mayfly.engines.docker.gateway.memory import Held
from mayfly.engines.docker.gateway.showing import (
    document_of,
    shown_to,
    text_of,
    told_failure,
    told_of_registry,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mayfly.core.admission.grant import Grant
    from mayfly.engines.docker.gateway.door import Door
    from mayfly.engines.docker.gateway.image_store import ImageStore
    from mayfly.engines.docker.gateway.published_ports import PublishedPorts

JSON = "application/json"
ANSWER_SECONDS = 3600.0  # for an answer that is read whole: a stop may be told to wait long
BYTES_A_REQUEST = 16 * 1024  # read whole and parsed, count as one more request
HEADERS_A_REQUEST = 100  # of an archive: each is read
HEAD_ALONE_SECONDS = 0.02  # as long as the Engine itself takes to have something to say
BY_THEN = "mayfly-gateway"


class Passage:
    """One admitted request on its way to the Engine and back."""

    def __init__(
        self,
        engine: str,
        door: Door,
        client: ClientConnection,
        asked: Asked,
        grant: Grant,
        forward: Forward,
        held: Held,
    ) -> None:
        self.door = door
        self.grant = grant
        self.forward = forward
        self.images = FetchedImages(door.place.parents[1])
        self.noted: tuple[str, ...] = ()  # of a pull: the names that this one has noted as fetched
        self.credentials: Secret | None = None  # of a pull: the pool's own for its registry
        self.store: ImageStore | None = None  # of a pull: where the image comes to lie
        self.fetched: bool | None = None  # of a pull: whether it went well; None: nobody knows
        self._engine = engine
        self._client = client
        self._asked = asked
        self._held = held

    # -- one whole answer ------------------------------------------------------------------

    async def asked_whole(self, starting: PublishedPorts | None) -> tuple[Head, bytes]:
        """The whole answer; goes on where the client does not wait for it, if it makes something."""
        head = Head(500, {})
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                EngineConnection(self._engine) as engine,
            ):
                await self._send(engine)
                head = await engine.head()
                return head, await self._whole_body(engine, head.status)
        except TimeoutError as error:
            raise EngineGone("the Engine of this host does not answer") from error
        finally:
            self.uncount()
            if starting is not None and head.status >= 400:
                with suppress(EngineGone):  # it is looked again when the Engine is back
                    await starting.look()

    async def _whole_body(self, engine: EngineConnection, status: int) -> bytes:
        body = await engine.body(held=self._held)
        if self.forward.counts == PROCESSES and status == 201:
            self.door.counting.made_process(str(document_of(body).get("Id")))
        self.door.charge(len(body) / BYTES_A_REQUEST)
        return body

    def uncount(self) -> None:
        """What it makes has been made, or has not."""
        for kind, more in self.forward.numbers.items():
            self.door.counting.end(kind, more)

    async def unless_gone(self, going: Awaitable[tuple[Head, bytes]]) -> tuple[Head, bytes]:
        """What it comes to; broken off where the client does not wait for it."""
        answer = asyncio.ensure_future(going)
        watch = asyncio.create_task(self._client.gone())
        try:
            await asyncio.wait({answer, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ConnectionResetError("the client has gone")
            return answer.result()
        finally:
            for task in (answer, watch):
                task.cancel()
            await asyncio.gather(answer, watch, return_exceptions=True)

    async def answered(self, head: Head, body: bytes) -> bool:
        """The whole answer, as it is shown."""
        if head.status >= 400:
            return await self._failed(head, body)
        told = shown_headers(head.headers)
        if not self._is_json(head) or not body.strip():
            return await self._client.answer(head.status, told.items(), body)
        document = shown_to(self.door, self.grant, self.forward.answer, document_of(body))
        return await self._client.answer(head.status, told.items(), text_of(document))

    async def _failed(self, head: Head, body: bytes) -> bool:
        if self.credentials is None:
            status, sentence = told_failure(self.door, self.grant, head.status, words_of(body))
        else:
            # At a 401 the docker command asks for a login.
            status = 403 if head.status == 401 else head.status
            sentence = self._of_registry(words_of(body))
        return await self._client.refuse(status, sentence)

    # -- streams ---------------------------------------------------------------------------

    async def streamed(self) -> bool:
        """An answer as it comes, at the client's pace, until one of them has gone."""
        async with EngineConnection(self._engine) as engine:
            carrying = asyncio.create_task(self._carried(engine))
            watch = asyncio.create_task(self._client.gone())
            try:
                await asyncio.wait({carrying, watch}, return_when=asyncio.FIRST_COMPLETED)
                if not carrying.done():
                    raise ConnectionResetError("the client has gone")
                failure = carrying.result()
            finally:
                for task in (carrying, watch):
                    task.cancel()
                await asyncio.gather(carrying, watch, return_exceptions=True)
        return await (self._client.end() if failure is None else self._failed(*failure))

    async def _carried(self, engine: EngineConnection) -> tuple[Head, bytes] | None:
        """The Engine's answer where it is a failure, of which nothing is told here."""
        await self._send(engine)
        head = await engine.head()
        if head.status >= 400:
            self._not_fetched()
            self.fetched = False
            return head, await engine.body()
        await self._client.begin(head.status, shown_headers(head.headers).items())
        failed = False
        if self.forward.streams is Streams.LINES:
            async for document in documents(engine.pieces()):
                if self.store is not None and (full := await self.store.filled()):
                    told = {"errorDetail": {"message": full}, "error": full}
                    await self._client.piece(text_of(told))
                    failed = True
                    break
                one = shown_to(self.door, self.grant, self.forward.answer, document)
                failed = isinstance(document, dict) and "error" in document
                if failed and self.credentials is not None:
                    words = self._of_registry(str(document["error"]))
                    one = {"errorDetail": {"message": words}, "error": words}
                if one is not None:
                    await self._client.piece(text_of(one))
                if failed:
                    break  # the Engine fetches no more where nobody listens
        else:
            async for piece in engine.pieces():
                await self._client.piece(piece)
        if self.forward.answer is Answer.PULL:
            self.fetched = not failed
            if failed:
                self._not_fetched()
            else:
                self.door.pulled.update(self.fetches())
                await asyncio.to_thread(self._came)
        return None

    def _of_registry(self, words: str) -> str:
        return told_of_registry(self.door, self.grant, str(self.forward.registry), words)

    async def uploaded(self) -> bool:
        """The client's body goes out as it comes; an answer that comes before its end ends it."""
        async with EngineConnection(self._engine) as engine:
            await self._send(engine, chunked=True)
            up = asyncio.create_task(self._sent_up(engine))
            down = asyncio.create_task(engine.head())
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                if up.done() and isinstance(up.exception(), BadRequest):
                    up.result()
                async with asyncio.timeout(ANSWER_SECONDS):
                    head = await down
                    body = await engine.body()
            except TimeoutError as error:
                raise EngineGone("the Engine of this host does not answer") from error
            finally:
                for task in (up, down):
                    task.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        return await self.answered(head, body)

    async def _sent_up(self, engine: EngineConnection) -> None:
        archive = Archive(self.grant.capabilities)
        async for piece in self._client.pieces(self.grant.bounds.upload):
            before = archive.headers
            try:
                going = archive.passed(piece)
            except Refused as refused:
                raise BadRequest(refused.refuse.status, refused.refuse.sentence) from refused
            finally:
                self.door.charge((archive.headers - before) / HEADERS_A_REQUEST)
            if going:
                await engine.piece(going)
        if rest := archive.rest():
            await engine.piece(rest)
        await engine.end()

    async def hijacked(self) -> bool:
        """Bytes both ways behind the answer's head; the connection ends with them."""
        if self._asked.has_body and not self._client.read_to_its_end:
            raise BadRequest(400, "a request for the raw connection has a body that is none")
        async with EngineConnection(self._engine) as engine:
            await self._send(engine)
            head = await engine.head()
            if head.status >= 300:
                return await self.answered(head, await engine.body())
            early = await self._client.switch(_switching(head))
            if (
                engine.raw()
            ):  # Docker's library for Python loses what it reads together with the head
                await asyncio.sleep(HEAD_ALONE_SECONDS)
            await relay.relayed(
                relay.End(self._client.reader, self._client.writer, early),
                relay.End(engine.reader, engine.writer, engine.raw()),
                self._client.hung_up,
            )
        return False

    # -- both ------------------------------------------------------------------------------

    async def _send(self, engine: EngineConnection, *, chunked: bool = False) -> None:
        forward = self.forward
        headers = {"User-Agent": BY_THEN, **forward.headers}
        if self.credentials is not None:
            headers["X-Registry-Auth"] = self.credentials.reveal()
        body = None
        if forward.body is not None:
            body = json.dumps(forward.body).encode()
            headers.setdefault("Content-Type", JSON)
        await engine.send(forward.method, forward.target, headers.items(), body, chunked=chunked)

    def _is_json(self, head: Head) -> bool:
        return head.headers.get("content-type", "").startswith(JSON)

    def fetches(self) -> set[str]:
        """Of a pull: the name that it fetches, as people write it."""
        return _pulled_names(self.forward.target) if self.forward.answer is Answer.PULL else set()

    def note_fetched(self) -> None:
        """Before it goes out: a client that leaves early leaves an image that is known of."""
        self.noted = tuple(name for name in self.fetches() if self.images.fetched(name))

    def _came(self) -> None:
        for name in self.fetches():
            self.images.came(name)

    def _not_fetched(self) -> None:
        for name in self.noted:
            self.images.forget(name)


def _pulled_names(target: str) -> set[str]:
    query = parse_qs(target.partition("?")[2])
    name, tag = query.get("fromImage", [""])[0], query.get("tag", [""])[0]
    whole = f"{name}@{tag}" if ":" in tag else f"{name}:{tag}" if tag else name
    plain = familiar(whole)
    return set() if plain is None else {plain}


def _switching(head: Head) -> bytes:
    kind = head.headers.get("content-type", "application/vnd.docker.raw-stream")
    if head.status == 101:
        first, more = "HTTP/1.1 101 UPGRADED", "Connection: Upgrade\r\nUpgrade: tcp\r\n"
    else:
        first, more = "HTTP/1.1 200 OK", ""
    return f"{first}\r\nContent-Type: {kind}\r\n{more}\r\n".encode("latin-1")
