"""What a hostile job says to the Engine's socket that it was given.

HTTP as a client speaks it, or bytes as they come. It runs inside an agent, with Python's own library alone.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SOCKET = "/run/mayfly-docker/docker.sock"
API = "/v1.47"
MOST = 65_536  # bytes kept of an answer


class Expect(StrEnum):
    """What has to have become of a try.

    Whatever it is, nothing of a stranger or of the host is told or touched.
    """

    REFUSED = "refused with a sentence"
    ABSENT = "told as what is not there"
    CONFINED = "made, and the host finds it confined"
    EITHER = "refused with a sentence, or made and confined"
    HARMLESS = "whatever the answer, no more than the agent's own"


@dataclass
class Answer:
    """One answer: status 0 where none came that is HTTP."""

    status: int
    body: bytes = b""

    @property
    def message(self) -> str:
        """The sentence that docker would show; empty where there is none."""
        with suppress(ValueError):
            found = json.loads(self.body)
            if isinstance(found, dict) and isinstance(found.get("message"), str):
                return str(found["message"])
        return ""

    @property
    def document(self) -> Any:
        """The answer's JSON; None where it is none."""
        with suppress(ValueError):
            return json.loads(self.body)
        return None


@dataclass
class World:
    """What the job was told of others, as if it had guessed it."""

    image: str  # that containers may be of
    forbidden_image: str  # on the Engine, and not among those that the pool allows
    gpu_image: str  # whose ENV wants all GPUs
    own_gpu: str
    other_gpu: str
    agent: str  # the id of this job's own agent
    holder: str  # of the sandbox
    stranger: str  # the id of another agent's container
    stranger_name: str  # as the Engine has it
    stranger_exec: str
    stranger_network: str
    stranger_volume: str
    stranger_generation: str
    stranger_address: str  # in its network; something listens there on port 80
    sandbox_network: str
    work_volume: str  # of the other agent
    engine_socket: str
    secret_folder: str  # of the host; has a file `marker` with a word in it
    state: str  # the manager's state directory
    work: str  # this job's own work directory


@dataclass
class Seen:
    """What came of one try, for the report."""

    status: int = 0
    message: str = ""
    read: str = ""  # the bytes that came, as far as they were kept
    asked: str = ""  # the bytes that went
    made: list[str] = field(default_factory=list)  # containers
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Try:
    """One of the table."""

    name: str
    run: Callable[[World], Seen]
    expect: Expect


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def ask(
    method: str,
    target: str,
    document: Any = None,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    patience: float = 60.0,
) -> Answer:
    """One request and its answer; ``target`` without the version of the API gets one."""
    connection = _Connection("docker", timeout=patience)
    if not target.startswith(("/v1", "/v9", "//")):
        target = API + target
    sent = dict(headers or {})
    if body is None and document is not None:
        body = json.dumps(document).encode()
        sent.setdefault("Content-Type", "application/json")
    try:
        connection.request(method, target, body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(MOST))
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, repr(error).encode())
    finally:
        connection.close()


def tried(method: str, target: str, document: Any = None, **more: Any) -> Seen:
    """The same, as one row of the report."""
    answer = ask(method, target, document, **more)
    asked = f"{method} {target} {json.dumps(document)} {more}"
    return Seen(answer.status, answer.message, answer.body.decode(errors="replace"), asked)


def create(
    document: Mapping[str, Any], query: str = "", *, start: bool = False, body: bytes | None = None
) -> Seen:
    """Ask for a container; with ``start`` it runs before the host looks."""
    seen = tried("POST", f"/containers/create{query}", document, body=body)
    found = json.loads(seen.read) if seen.status == 201 else {}
    if found.get("Id"):
        seen.made.append(found["Id"])
        if start:
            begun = ask("POST", f"/containers/{found['Id']}/start")
            seen.more["start"] = [begun.status, begun.message]
    return seen


def container(world: World, host: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The body that a client sends for a container that waits."""
    return {
        "Image": world.image,
        "Cmd": ["sleep", "1000"],
        "HostConfig": dict(host or {}),
        **more,
    }


def own(world: World, host: Mapping[str, Any] | None = None, *, start: bool = True) -> str:
    """A container of one's own that runs: its id."""
    seen = create(container(world, host), start=start)
    assert seen.made, seen.message
    return seen.made[0]


def removed(container_id: str) -> None:
    """Have one of one's own removed."""
    ask("DELETE", f"/containers/{container_id}?force=1&v=1")


def connected(patience: float = 20.0) -> socket.socket:
    """A connection to the socket."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(patience)
    made.connect(SOCKET)
    return made


def spoken(*parts: bytes, quiet: float = 2.0, half_close: bool = False) -> Seen:
    """Send bytes on one connection, part after part with a look in between: all that came."""
    read = bytearray()
    connection = connected()
    try:
        for part in parts:
            connection.sendall(part)
            _listen(connection, read, 0.3 if part is not parts[-1] else quiet)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
            _listen(connection, read, quiet)
    except OSError as error:
        read += f"\n{error!r}".encode()
    finally:
        connection.close()
    first = bytes(read[:16]).split(b" ")
    status = int(first[1]) if len(first) > 1 and first[1].isdigit() else 0
    return Seen(status, "", read[:MOST].decode("latin-1"), b"".join(parts)[:MOST].decode("latin-1"))


def _listen(connection: socket.socket, read: bytearray, quiet: float) -> None:
    """Read until the other side is quiet for so many seconds, or has ended."""
    end = time.monotonic() + 10 * quiet
    connection.settimeout(quiet)
    with suppress(TimeoutError):
        while time.monotonic() < end and len(read) < MOST:
            piece = connection.recv(65_536)
            if not piece:
                return
            read += piece
