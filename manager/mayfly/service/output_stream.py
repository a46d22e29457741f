"""An agent's output on its way to a client: framed, and taken up again where a connection broke.

A frame is 16 bytes and then data: the stream (1 stdout, 2 stderr, 0 Mayfly itself), three zero bytes,
the length, and a timestamp; numbers are big-endian. Stream 0 without data says that the agent is still
followed; with data, what is missing here. A client that was cut off names the timestamp of the last frame
it had of streams 1 and 2, and how many in a row had that timestamp; it gets what follows. Where that
frame is not kept any more, everything that is kept is newer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mayfly.edge.output_kept import NOTE, Chunk

FRAME = struct.Struct(">BxxxIQ")
_QUIET_MAX = 8  # chunks without data that are left out between two signs of life


@dataclass(slots=True)
class Cursor:
    """How far an output was read: the last timestamp, and how many frames in a row carried it."""

    timestamp: int = 0
    count: int = 0

    def step(self, timestamp: int) -> None:
        """One more frame."""
        self.count = self.count + 1 if timestamp == self.timestamp else 1
        self.timestamp = timestamp


def timestamp_of(chunk: Chunk) -> int:
    """The Engine's time of a chunk in nanoseconds, as far as a float holds them."""
    return max(0, round(chunk.time * 1e9))


def after(chunks: Iterator[Chunk], cursor: Cursor) -> Iterator[Chunk]:
    """What follows ``cursor``; everything, where it is not among what is kept."""
    if not cursor.count:
        yield from chunks
        return
    skipped: list[Chunk] = []
    seen = Cursor()
    for chunk in chunks:
        if _is_output(chunk):
            seen.step(timestamp_of(chunk))
            if seen == cursor:
                skipped = []
                break
        elif not chunk.data:  # all there is was read
            break
        skipped.append(chunk)
    yield from skipped
    yield from chunks


def framed(chunks: Iterator[Chunk]) -> Iterator[bytes]:
    """Chunks as frames; of the signs that nothing came, one in a while."""
    quiet = _QUIET_MAX
    for chunk in chunks:
        if chunk.data:
            timestamp = timestamp_of(chunk) if _is_output(chunk) else 0
            yield FRAME.pack(chunk.stream, len(chunk.data), timestamp) + chunk.data
            quiet = 0
            continue
        quiet += 1
        if quiet >= _QUIET_MAX:
            yield FRAME.pack(NOTE, 0, 0)
            quiet = 0


def plain(chunks: Iterator[Chunk]) -> Iterator[bytes]:
    """The bytes of both streams in order, for people who use curl."""
    for chunk in chunks:
        if _is_output(chunk):
            yield chunk.data


def _is_output(chunk: Chunk) -> bool:
    return chunk.stream != NOTE and bool(chunk.data)
