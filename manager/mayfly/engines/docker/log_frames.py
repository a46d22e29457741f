"""Frames of an Engine's log as they come: whether they are whole, finished lines, and each of them once.

An Engine that follows a log (seen in 20.10) shows the beginning of a new file of it twice, be that one line,
where it comes to the end of the file before that is as long as the one before it. It loses its place where
a log turns faster than it is read: it leaves lines out then. What it left out it shows when it is asked anew,
and behind later lines it would push those out of a bounded tail.

Pure, but that it asks for the time: a newest line that lies ahead of it means that the clock was set back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mayfly.edge.output_kept import OUT, PIECE, STAMP, frames

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEWLINE = ord("\n")
_SAME_TIME = 8192  # frames of one time that are told apart: pieces of one line


@dataclass(frozen=True, slots=True)
class Taken:
    """What one look over received bytes tells."""

    whole: int = 0  # bytes of whole frames
    lines: int = 0  # whole frames
    fresh: bytes = b""  # those that came for the first time
    behind: bytes = b""  # those that are older than what was kept before, whether kept or not
    unfinished: bool = False  # the Engine cuts long lines, and maybe the launcher's words
    broken: bool = False  # the Engine reports its own trouble with its log this way


@dataclass(slots=True)
class _Newest:
    """How far one stream has come."""

    time: bytes  # as the Engine has it
    frames: list[int] = field(default_factory=list)  # hashes of those of that time, in order
    again: int | None = None  # how many of them have come again; None: nothing comes again
    kept: bool = False  # that is what was kept before this answer: nothing newer has come


class Order:
    """How far the streams of one answer have come.

    ``latest``: the newest time kept of each stream. ``follows``: the answer is one that goes on, and may show
    again what it has shown.
    """

    def __init__(self, latest: Mapping[int, bytes] | None = None, *, follows: bool = True) -> None:
        kept = {} if latest is None else latest
        self._newest = {stream: _Newest(time, kept=True) for stream, time in kept.items()}
        self._follows = follows

    @property
    def newest(self) -> bytes:
        """The newest time of all, as the Engine has it; empty before anything has come."""
        return max((one.time for one in self._newest.values()), default=b"")

    def take(self, data: bytes | bytearray) -> Taken:
        """Look at every whole frame once."""
        whole, lines, unfinished, broken, doubtful = 0, 0, False, False, False
        last: dict[int, tuple[bytes, int]] = {}
        times = {stream: one.time for stream, one in self._newest.items()}
        try:
            for at, size in frames(data):
                whole, lines = at + 8 + size, lines + 1
                stream, stamped = data[at], bytes(data[at + 8 : at + STAMP])
                unfinished |= stream == OUT and data[whole - 1] != _NEWLINE
                doubtful |= stamped <= times.get(stream, b"")
                times[stream], last[stream] = stamped, (stamped, at)
        except ValueError:
            broken = True
        given = bytes(memoryview(data)[:whole])
        if doubtful:
            fresh, behind = self._told_apart(given)
        else:
            fresh, behind = given, b""
            for stream, (stamped, at) in last.items():
                size = int.from_bytes(given[at + 4 : at + 8], "big")
                self._newest[stream] = _Newest(stamped, [hash(given[at : at + 8 + size])])
        return Taken(whole, lines, fresh, behind, unfinished, broken)

    def _told_apart(self, data: bytes) -> tuple[bytes, bytes]:
        now = now_stamped()
        fresh, behind = bytearray(), bytearray()
        for at, size in frames(data):
            frame = data[at : at + 8 + size]
            one = self._newest.get(frame[0])
            stamped = frame[8:STAMP]
            if one is None or stamped > one.time or (stamped < one.time and now < one.time):
                self._newest[frame[0]] = _Newest(stamped, [hash(frame)])
                fresh += frame
            elif stamped < one.time:
                one.again = 0
                if one.kept or not self._follows:
                    behind += frame
            elif one.kept or not self._follows or not _comes_again(one, frame):
                fresh += frame
        return bytes(fresh), bytes(behind)


def _comes_again(one: _Newest, frame: bytes) -> bool:
    """Whether a frame of the newest time is one that has come; the state goes on with it."""
    key = hash(frame)
    at = one.again if one.again is not None else _first(one.frames, key, frame)
    if at is not None and at < len(one.frames) and one.frames[at] == key:
        one.again = at + 1
        return True
    one.again = None
    one.frames.append(key)
    del one.frames[:-_SAME_TIME]
    return False


def _first(shown: list[int], key: int, frame: bytes) -> int | None:
    """Where those that come again begin, if this is the first of them.

    Two lines of a stream have never the same time, but the pieces of a long line have; and a piece that is as
    the one before it may be the next.
    """
    if key not in shown:
        return None
    text = frame[STAMP + 1 :]
    half = PIECE // 2
    alike = len(text) == PIECE and text[:half] == text[half:]
    return None if alike and shown[-1] == key else shown.index(key)


def now_stamped() -> bytes:
    """The time as the Engine writes it; it sorts before what is stamped later."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
