"""Requests of an agent at a door that is served in this process, in front of any Engine."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mayfly.engines.docker.gateway.counting import Counting
from mayfly.engines.docker.gateway.door import Door
from mayfly.engines.docker.gateway.handling import Handling
from tests.engine.gateway.agent import GENERATION


async def nothing_published() -> None:
    raise AssertionError("nothing is published")


@asynccontextmanager
async def opened(place: Path, engine: str, handling: Handling | None = None) -> AsyncIterator[Door]:
    """The door of that directory, served until the end."""
    handling = handling or Handling(engine, nothing_published)
    door = Door(GENERATION, place, handling.serve, Counting(engine))
    await door.open()
    try:
        yield door
    finally:
        door.shut()


async def asked(
    place: Path,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Status and body of one answer; ``body``: bytes, or what is made JSON of."""
    # Its path is longer than that of a socket may be.
    folder = os.open(place / "door", os.O_RDONLY)
    try:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/docker.sock")
    finally:
        os.close(folder)
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    said = {"Host": "d", "Connection": "close", "Content-Length": str(len(raw)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + raw)
    answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), content
