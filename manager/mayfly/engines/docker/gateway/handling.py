"""One request from its head to the end of its answer: read, looked up, admitted, forwarded, shown.

Decided is in ``core.admission`` alone. What goes out is what that made, by whole ids and never by a client's
own bytes; what comes back goes through what it shows.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import traceback
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

from mayfly.core.admission.admit import admit, expects, objects
from mayfly.core.admission.grant import Grant
from mayfly.core.admission.image_names import familiar
from mayfly.core.admission.objects import Kind, Known, Ref
from mayfly.core.admission.outcome import (
    Answer,
    First,
    Forward,
    Outcome,
    Refuse,
    Reply,
    Streams,
)
from mayfly.core.admission.request import Request, request_head, with_body
from mayfly.core.admission.routes import Expects
from mayfly.core.admission.weights import is_heavy
from mayfly.engines.docker.gateway import work_directories
from mayfly.engines.docker.gateway.client_connection import Asked, BadRequest, ClientConnection
from mayfly.engines.docker.gateway.door import NOT_YET, OVER, Door
from mayfly.engines.docker.gateway.engine_connection import (
    EngineGone,
    EngineUnreached,
)
from mayfly.engines.docker.gateway.engine_connection import asked as asked_of
from mayfly.engines.docker.gateway.engine_words import (
    ADDRESSES,
    ADDRESSES_TOLD,
    is_used_up,
)
from mayfly.engines.docker.gateway.host_conditions import HostConditions
from mayfly.engines.docker.gateway.image_store import ImageStore, NoRoom
from mayfly.engines.docker.gateway.lookup import known
from mayfly.engines.docker.gateway.memory import PARSED, Full, Held
from mayfly.engines.docker.gateway.passage import ANSWER_SECONDS, BYTES_A_REQUEST, JSON, Passage
from mayfly.engines.docker.gateway.published_ports import NotPublished, PublishedPorts
from mayfly.engines.docker.gateway.registry_credentials import RegistryCredentials, Rests, Unread
from mayfly.engines.docker.gateway.showing import told_failure, words_of
from mayfly.engines.docker.lines import LINES

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

HEAVY_COUNTS = 10  # requests more that such a one counts as
TURNS = 4  # of what has to be made first, for one request
BUG = "the gateway failed on this request, which is a fault of Mayfly's; its log has more"
STARTS = ("/start", "/restart")


class _Refused(Exception):
    """Within this file: what is answered instead."""

    def __init__(self, status: int, sentence: str, *, told: bool = True) -> None:
        super().__init__(sentence)
        self.refuse = Refuse(status, sentence, told)


class Handling:
    """Of the requests of all agents, at one Engine."""

    def __init__(
        self,
        engine: str,
        publishing: Callable[[], Awaitable[None]],
        conditions: HostConditions | None = None,
    ) -> None:
        self._engine = engine
        self.conditions = conditions or HostConditions()
        self.registries = RegistryCredentials(engine, self.conditions)
        self.store = ImageStore(engine, self.conditions)
        self._publishing = publishing  # containers that start and end are to be told of from now on

    async def resume(self, door: Door) -> None:
        """An agent's door has been opened: what was published before is listened on again."""
        try:
            grant = door.files.grant()
        except ValueError:
            return  # whoever asks is told
        ports = None if grant is None else self._ports(door, grant)
        if ports is not None and ports.any:
            await self._publishing()
            with suppress(EngineGone):  # it is looked again when the Engine is back
                await ports.look()

    async def serve(self, door: Door, client: ClientConnection, asked: Asked) -> bool:
        """Answer it; whether another request may follow on the connection."""
        try:
            return await self._served(door, client, asked)
        except _Refused as refused:
            return await _told(door, client, refused.refuse)
        except NoRoom as none:
            return await _told(door, client, Refuse(507, str(none)))
        except EngineGone as gone:
            return not client.answered and await client.refuse(503, str(gone))
        except Full as full:
            # What of its body has not been read yet is not read: the connection ends.
            raise BadRequest(503, str(full)) from full
        except (BadRequest, OSError):
            raise
        except Exception:  # noqa: BLE001  a bug on one request ends that one
            door.withheld(f"{asked.method} {asked.target}: {traceback.format_exc(limit=-3)}")
            return not client.answered and await client.refuse(500, BUG)

    async def _served(self, door: Door, client: ClientConnection, asked: Asked) -> bool:
        grant = await _grant(door)
        with door.memory.held() as held:
            return await self._answered(door, client, asked, grant, held)

    async def _answered(
        self, door: Door, client: ClientConnection, asked: Asked, grant: Grant, held: Held
    ) -> bool:
        request = await _read(door, client, asked, grant, held)
        if isinstance(request, Refuse):
            return await _told(door, client, request)
        outcome, things = await self._admitted(door, request, grant)
        if isinstance(outcome, Refuse):
            return await _told(door, client, outcome)
        if isinstance(outcome, Reply):
            body = json.dumps(outcome.body).encode() + b"\n"
            headers = {"Content-Type": JSON, **outcome.headers}
            return await client.answer(outcome.status, headers.items(), body)
        assert isinstance(outcome, Forward)
        passage = Passage(self._engine, door, client, asked, grant, outcome, held)
        await self._prepared(door, outcome)
        if outcome.answer is Answer.PULL:
            return await self._fetched(passage, things)
        _note_use(passage, things)
        if not is_heavy(outcome):
            return await self._passed(passage, things)
        door.charge(HEAVY_COUNTS)
        async with door.heavy:
            return await self._passed(passage, things)

    async def _passed(self, passage: Passage, things: Mapping[Ref, Known]) -> bool:
        match passage.forward.streams:
            case Streams.NONE:
                return await self._whole(passage, things)
            case Streams.LINES | Streams.ANSWER:
                return await passage.streamed()
            case Streams.UPLOAD:
                return await passage.uploaded()
            case Streams.HIJACK:
                return await passage.hijacked()

    async def _fetched(self, passage: Passage, things: Mapping[Ref, Known]) -> bool:
        """A pull, with the credentials that the pool has for its registry, if any."""
        grant, address = passage.grant, passage.forward.registry
        registry = None if address is None else grant.registry(address)
        if registry is not None:
            try:
                passage.credentials = await self.registries.header(grant, registry)
            except Unread as why:
                raise _Refused(503, str(why)) from why
            except Rests as why:
                raise _Refused(429, str(why)) from why
        await self.store.see_that_there_is_room()
        await _fetching(passage, anew=not any(ref.kind is Kind.IMAGE for ref in things))
        passage.store = self.store
        going_on = await passage.streamed()
        if registry is not None and passage.fetched is not None:
            judge = self.registries.taken if passage.fetched else self.registries.doubted
            await judge(grant, registry)
        return going_on

    # -- deciding --------------------------------------------------------------------------

    async def _admitted(
        self, door: Door, request: Request, grant: Grant
    ) -> tuple[Outcome, Mapping[Ref, Known]]:
        for _ in range(TURNS):
            outcome, things = await self._judged(door, request, grant)
            if not isinstance(outcome, First):
                return outcome, things
            async with door.making_first:
                outcome, things = await self._judged(door, request, grant)
                if isinstance(outcome, First):  # and nobody has made it meanwhile
                    await self._made_first(door, outcome.make, grant)
        raise EngineGone("what this job needs is taken away as it is made; try again")

    async def _judged(
        self, door: Door, request: Request, grant: Grant
    ) -> tuple[Outcome, Mapping[Ref, Known]]:
        refs = objects(request)
        door.charge(len(refs))
        things = await known(self._engine, refs, grant, door.pulled, door.looks, door.memory)
        return admit(request, grant, things), things

    async def _made_first(self, door: Door, make: Forward, grant: Grant) -> None:
        """One of an agent's requests at a time; that another has made it is as good."""
        note = await _noted(door, make)
        going = asked_of(self._engine, make.method, make.target, make.body, seconds=ANSWER_SECONDS)
        status, said = await door.made(_until_answered(door, note, going))
        self._addresses(make, status, str(said))
        if status >= 300 and status != 409:
            raise _Refused(*told_failure(door, grant, status, str(said)), told=False)

    async def _prepared(self, door: Door, forward: Forward) -> None:
        """What has to be so before the request goes out."""
        if forward.makes and not await asyncio.to_thread(door.files.note_made):
            raise _Refused(403, OVER, told=False)
        for directory in forward.directories:
            volume = await self._mountpoint(door, directory.volume)
            try:
                await asyncio.to_thread(work_directories.made, volume, (directory.subpath,))
            except OSError as error:
                raise _Refused(
                    500, f"the directory {directory.subpath} cannot be made: {error.strerror}"
                ) from error

    async def _mountpoint(self, door: Door, volume: str) -> Path:
        found = door.mountpoints.get(volume)
        if found is None:
            status, shown_volume = await asked_of(self._engine, "GET", f"/volumes/{volume}")
            if status != 200 or not shown_volume.get("Mountpoint"):
                raise EngineGone("the work directory of this agent is not to be found")
            found = door.mountpoints[volume] = Path(shown_volume["Mountpoint"])
        return found

    # -- one whole answer ------------------------------------------------------------------

    async def _whole(self, passage: Passage, things: Mapping[Ref, Known]) -> bool:
        door, forward, grant = passage.door, passage.forward, passage.grant
        await self._counted(door, forward, grant)
        starting = await self._publish(door, forward, grant, things)
        going = passage.asked_whole(starting)
        if forward.makes:
            note = await _noted(door, forward)
            going = door.made(_until_answered(door, note, going))
        head, body = await passage.unless_gone(going)
        self._addresses(forward, head.status, words_of(body) if head.status >= 300 else "")
        return await passage.answered(head, body)

    def _addresses(self, forward: Forward, status: int, words: str) -> None:
        """Whether the Engine has some left for networks, as one that was to be made shows."""
        made = _made_by(forward)
        if made is None or made[0] != "networks":
            return
        if status < 300:
            self.conditions.mended(ADDRESSES, "")
        elif is_used_up(words):
            self.conditions.tell(ADDRESSES, "", ADDRESSES_TOLD, LINES.addresses)

    async def _counted(self, door: Door, forward: Forward, grant: Grant) -> None:
        """Count what it makes, all of it or, with a refusal, nothing."""
        with ExitStack() as undo:
            for kind, more in forward.numbers.items():
                refusal = await door.counting.begin(kind, grant, more)
                if refusal is not None:
                    raise _Refused(409, refusal)
                undo.callback(door.counting.end, kind, more)
            undo.pop_all()

    async def _publish(
        self, door: Door, forward: Forward, grant: Grant, things: Mapping[Ref, Known]
    ) -> PublishedPorts | None:
        """Listen for a container that is about to start; ``None`` where none with ports is."""
        path = forward.target.partition("?")[0]
        if forward.method != "POST" or not path.endswith(STARTS):
            return None
        container = next((one for one in things.values() if f"/{one.id}/" in path), None)
        if container is None or not container.ports:
            return None
        ports = self._ports(door, grant)
        await self._publishing()
        try:
            name = container.name.removeprefix(grant.prefix)
            await ports.publish(container.id, name, container.ports)
        except NotPublished as why:
            await self._remove_unstarted(container.id)
            raise _Refused(500, str(why), told=False) from why
        return ports

    async def _remove_unstarted(self, container: str) -> None:
        """As the Engine does with one that removes itself and cannot be started: clients wait for that."""
        path = f"/containers/{container}"
        status, document = await asked_of(self._engine, "GET", f"{path}/json")
        running = status != 200 or (document.get("State") or {}).get("Running")
        if not running and (document.get("HostConfig") or {}).get("AutoRemove"):
            await asked_of(self._engine, "DELETE", f"{path}?force=1&v=1")

    def _ports(self, door: Door, grant: Grant) -> PublishedPorts:
        if door.ports is None:
            inside = grant.holder or grant.container
            door.ports = PublishedPorts(self._engine, door.place, inside)
        return door.ports


def _made_by(forward: Forward) -> tuple[str, str] | None:
    """Kind and name, as the Engine has them, of what it makes; ``None``: it makes nothing."""
    path, _, query = forward.target.partition("?")
    before, create, _ = path.rpartition("/create")
    if not forward.makes or not create:
        return None
    kind = before.rpartition("/")[2]
    named = parse_qs(query)["name"][0] if kind == "containers" else (forward.body or {})["Name"]
    return kind, str(named)


async def _noted(door: Door, making: Forward) -> str | None:
    """What is about to be made, on the disk before the Engine is asked; what the note is called."""
    if not making.makes:
        return None
    made = _made_by(making)
    if await asyncio.to_thread(door.files.note_made):
        note = None if made is None else await asyncio.to_thread(door.files.note_making, *made)
        if made is None or note is not None:
            return note
    raise _Refused(403, OVER, told=False)


async def _until_answered(door: Door, note: str | None, going: Awaitable[T]) -> T:
    """What it comes to. The note stays where nobody knows whether the Engine has made it."""
    answered = True
    try:
        return await going
    except EngineUnreached:
        raise
    except BaseException:
        answered = False
        raise
    finally:
        if note is not None and answered:
            door.files.note_answered(note)


async def _fetching(passage: Passage, *, anew: bool) -> None:
    """A pull is about to go out; ``anew``: the host has no image of that name."""
    door, most = passage.door, passage.grant.bounds.images
    names = passage.fetches()
    if len(door.fetches | names) > most:
        raise _Refused(403, f"this job has fetched {most} images, and may fetch no more")
    door.fetches |= names
    if anew:
        await asyncio.to_thread(passage.note_fetched)


def _note_use(passage: Passage, things: Mapping[Ref, Known]) -> None:
    """Of a create: when its image was used last, which tells whether it is old."""
    body = passage.forward.body or {}
    for ref, image in things.items():
        if ref.kind is Kind.IMAGE and image.id == body.get("Image"):
            for name in _noted_names(image):
                passage.images.used(name)


def _noted_names(image: Known) -> set[str]:
    """As it may be noted: by the tag that the job said, or else by all names that it has."""
    by_tag = image.name and "@" not in image.name
    names = (image.name,) if by_tag else image.names
    return {plain for name in names if (plain := familiar(name)) is not None}


async def _grant(door: Door) -> Grant:
    try:
        grant = await door.granted()
    except ValueError as error:
        raise _Refused(
            503,
            f"this agent's grant cannot be read ({error}): Mayfly was changed; it is written again",
        ) from error
    if grant is None:
        over = door.closed or door.files.is_over()
        raise _Refused(403 if over else 503, OVER if over else NOT_YET, told=False)
    door.bound_by(grant.bounds)
    return grant


async def _read(
    door: Door, client: ClientConnection, asked: Asked, grant: Grant, held: Held
) -> Request | Refuse:
    request = request_head(
        asked.method, asked.target, asked.headers.items(), token=secrets.token_hex(6)
    )
    if isinstance(request, Refuse):
        return request
    expected = expects(request)
    if expected is Expects.UPLOAD:
        return request
    body = await client.body(grant.bounds.body, held)
    door.charge(len(body) / BYTES_A_REQUEST)
    if expected is not Expects.JSON:
        return request
    held.more(PARSED * len(body))
    return with_body(request, body)


async def _told(door: Door, client: ClientConnection, refuse: Refuse) -> bool:
    if refuse.told:
        door.files.note_refusal(refuse.sentence)
    return await client.refuse(refuse.status, refuse.sentence)
