"""What a page follows: server-sent events, bounded for each reader in number, time and bytes.

Each is one thread's work that writes to one client and waits for nobody else. A client that does not read has
one event in the making and what the kernel keeps for it (``edge/page_http.py``), and is hung up on by the
server's own bound; the loop knows of none of this.
"""

from __future__ import annotations

import json
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from mayfly.core.plain_text import Cleaner
from mayfly.edge.places import Bounds
from mayfly.service.board import StatusBoard
from mayfly.service.output_stream import FRAME, Cursor
from mayfly.service.page.markup import Html

# By person; nobody in particular by the user that connects, all whom a proxy leaves unnamed as uid 0.
PLACES = Bounds(all=48, of_one=8, of_root=32)
LASTS = 600.0  # seconds that one is followed; a browser begins again by itself
QUIET = 15.0  # seconds after which a reader is told that nothing has changed
AT_ONCE = 1.0  # seconds between two events at the least
LATEST = 5.0  # seconds after which the world is looked at again, though nothing was published
TAIL = 256 * 1024  # bytes of a log that are shown of what was there before
STDOUT, STDERR = 1, 2
TYPE = "text/event-stream; charset=utf-8"

Sections = Callable[[], Mapping[str, Html]]


def event(name: str, value: object) -> bytes:
    """One event; JSON has no line of its own that could be taken for the next field."""
    data = json.dumps(value, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode("utf-8", "replace")


def parts(
    board: StatusBoard,
    sections: Sections,
    stopping: Callable[[float], bool],
    steady: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """The sections of a page, each when it has changed. ``stopping`` waits so long, or until it is so."""
    yield b"retry: 3000\n\n"
    ends, heard, rev = steady() + LASTS, steady(), 0
    sent: dict[str, int] = {}
    while steady() < ends:
        found = {name: markup.text for name, markup in sections().items()}
        new = {name: text for name, text in found.items() if sent.get(name) != hash(text)}
        if new:
            sent |= {name: hash(text) for name, text in new.items()}
            yield event("parts", new)
            heard = steady()
        elif steady() - heard >= QUIET:
            yield b": nothing has changed\n\n"
            heard = steady()
        else:
            yield b""  # (whoever has gone gives the place back)
        if stopping(AT_ONCE):
            return
        published = board.wait(rev, LATEST)
        rev = published.rev if published is not None else rev


def log(
    read: Callable[[Mapping[str, str]], Iterator[bytes]],
    steady: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """What a job prints: the end of what is there, then the rest as it comes.

    ``read`` gives frames of the output (``service/output_stream.py``), by the query of its path.
    """
    yield b"retry: 3000\n\n" + event("begin", "")
    cursor = Cursor()
    cleaners = {STDOUT: Cleaner(), STDERR: Cleaner()}
    before = _tail(read({}), cursor)
    text = "".join(_cleaned(cleaners, stream, data) for stream, data in before)
    yield event("print", text)
    ends = steady() + LASTS
    query = {"follow": "1", "mark": str(cursor.timestamp), "count": str(cursor.count)}
    for stream, data in _frames(read(query)):
        yield event("print", _cleaned(cleaners, stream, data)) if data else b": still here\n\n"
        if steady() >= ends:
            return
    yield event("end", "")


def _cleaned(cleaners: Mapping[int, Cleaner], stream: int, data: bytes) -> str:
    cleaner = cleaners.get(stream)
    if cleaner is None:  # a note of Mayfly's
        return f"[mayfly: {Cleaner().feed(data, final=True)}]\n"
    return cleaner.feed(data)


def _tail(pieces: Iterator[bytes], cursor: Cursor) -> deque[tuple[int, bytes]]:
    """The last of the frames, no more than ``TAIL`` bytes of them in memory; ``cursor`` goes with them."""
    kept: deque[tuple[int, bytes]] = deque()
    size = 0
    for stream, data, timestamp in _whole_frames(pieces):
        if not data:
            continue
        if stream in (STDOUT, STDERR):
            cursor.step(timestamp)
        kept.append((stream, data))
        size += len(data)
        while size > TAIL:
            size -= len(kept.popleft()[1])
    return kept


def _frames(pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    for stream, data, _ in _whole_frames(pieces):
        yield stream, data


def _whole_frames(pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes, int]]:
    """Each piece is a frame."""
    try:
        for piece in pieces:
            try:
                stream, length, timestamp = FRAME.unpack_from(piece)
            except struct.error:
                return
            yield stream, piece[FRAME.size : FRAME.size + length], timestamp
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


class Followed(Iterator[bytes]):
    """A stream that gives its place back when it is closed, read or not."""

    def __init__(self, pieces: Iterator[bytes], release: Callable[[], None]) -> None:
        self._pieces = pieces
        self._release: Callable[[], None] | None = release

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        """It is over, or its reader has gone."""
        release, self._release = self._release, None
        close = getattr(self._pieces, "close", None)
        try:
            if close is not None:
                close()
        finally:
            if release is not None:
                release()
