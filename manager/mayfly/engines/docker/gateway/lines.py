"""Documents of JSON, one after the other, as the Engine streams them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from mayfly.engines.docker.gateway.engine_connection import BROKE_OFF, EngineGone

LINE_MOST = 4 * 1024 * 1024


async def documents(pieces: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """Each as soon as its line is whole; ``EngineGone`` where one is none, or is longer than LINE_MOST."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        if b"\n" in piece:
            *lines, rest = bytes(held).split(b"\n")
            held = bytearray(rest)
            for line in lines:
                if line.strip():
                    yield _read(line)
        if len(held) > LINE_MOST:
            raise EngineGone(BROKE_OFF)
    if held.strip():
        yield _read(bytes(held))


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise EngineGone(BROKE_OFF) from error
