"""Bytes both ways between two connections, at the pace of whoever takes them, each side closed for itself.

The docker command closes its side where its standard input ends, and goes on reading.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

PIECE = 64 * 1024
LATE_SECONDS = 10.0  # that a client has once the other end has said its last
LOOK_SECONDS = 5.0  # between two looks whether a client that has closed its side is still there


@dataclass(frozen=True, slots=True)
class End:
    """One end of a relay, and what it has sent already."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    first: bytes = b""


async def relayed(client: End, far: End, hung_up: Callable[[], bool] = lambda: False) -> None:
    """Returns when the far end has said its last, or one of them has gone; neither is closed here.

    ``hung_up``: whether a client that has closed its side is not there at all any more.
    """
    up = asyncio.create_task(_pumped(client, far))
    down = asyncio.create_task(_pumped(far, client))
    try:
        while not down.done():
            await asyncio.wait(
                {up, down} if not up.done() else {down},
                timeout=LOOK_SECONDS if up.done() else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if up.done() and (not up.result() or hung_up()):
                return
        if down.result() and not up.done():
            await asyncio.wait({up}, timeout=LATE_SECONDS)
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def both_ended(one: End, other: End) -> None:
    """Returns when both have said their last, or one of them has gone; neither is closed here."""
    tasks = {
        asyncio.create_task(_pumped(one, other)),
        asyncio.create_task(_pumped(other, one)),
    }
    try:
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not all(task.result() for task in done):
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pumped(source: End, sink: End) -> bool:
    """Whether the source has come to its end, and the sink was told; False where one of them broke off."""
    try:
        if source.first:
            sink.writer.write(source.first)
            await sink.writer.drain()
        while piece := await source.reader.read(PIECE):
            sink.writer.write(piece)
            await sink.writer.drain()
        await flushed(sink.writer)
    except OSError:
        return False
    with contextlib.suppress(OSError, RuntimeError):
        sink.writer.write_eof()
    return True


async def flushed(writer: asyncio.StreamWriter) -> None:
    """Returns once all that was written is taken, however slowly; ``OSError`` where nobody is there to."""
    writer.transport.set_write_buffer_limits(high=0)
    await writer.drain()
    writer.transport.set_write_buffer_limits()
