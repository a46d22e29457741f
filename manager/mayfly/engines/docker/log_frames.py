"""Frames of an Engine's log as they come: whether they are whole, finished lines, and each of them once.

An Engine that follows a log (seen in 20.10) shows the beginning of a new file of it twice, be that one line,
where it comes to the end of the file before that is as long as the one before it. So nothing comes again
before a first file can be full. It loses its place where a log turns faster than it is read: it leaves lines
out then. What it left out it shows when it is asked anew, and behind later lines it would push those out of a
bounded tail.

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
_FIRST_FILE = 1 / 8  # of it, as frames count it, whatever the log's driver writes for a byte


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
    first: dict[int, int] = field(default_factory=dict)  # where each of them stands first
    again: int | None = None  # how many of them have come again; None: nothing comes again
    kept: bool = False  # that is what was kept before this answer: nothing newer has come

    def add(self, frame: bytes) -> None:
        """One more of that time; of very many the older half is forgotten."""
        if len(self.frames) >= _SAME_TIME:
            del self.frames[: _SAME_TIME // 2]
            self.first.clear()
            for at, key in enumerate(self.frames):
                self.first.setdefault(key, at)
        key = hash(frame)
        self.first.setdefault(key, len(self.frames))
        self.frames.append(key)


class Order:
    """How far the streams of one answer have come.

    ``latest``: the newest time kept of each stream. ``follows``: the answer is one that goes on, and may show
    again what it has shown. ``whole_log``: the bytes of one file of the log, where the answer begins with the
    first of them; 0 where it may begin anywhere.
    """

    def __init__(
        self,
        latest: Mapping[int, bytes] | None = None,
        *,
        follows: bool = True,
        whole_log: int = 0,
    ) -> None:
        kept = {} if latest is None else latest
        self._newest = {stream: _Newest(time, kept=True) for stream, time in kept.items()}
        self._follows = follows
        self._unturned = int(whole_log * _FIRST_FILE)  # bytes that come before anything can again

    @property
    def newest(self) -> bytes:
        """The newest time of all, as the Engine has it; empty before anything has come."""
        return max((one.time for one in self._newest.values()), default=b"")

    def take(self, data: bytes | bytearray) -> Taken:
        """Look at every whole frame once."""
        whole, lines, unfinished, broken, doubtful = 0, 0, False, False, False
        last: dict[int, tuple[int, int]] = {}  # from where to where
        times = {stream: one.time for stream, one in self._newest.items()}
        try:
            for at, size in frames(data):
                whole, lines = at + 8 + size, lines + 1
                stream, stamped = data[at], bytes(data[at + 8 : at + STAMP])
                unfinished |= stream == OUT and data[whole - 1] != _NEWLINE
                doubtful |= stamped <= times.get(stream, b"")
                times[stream], last[stream] = stamped, (at, whole)
        except ValueError:
            broken = True
        given = bytes(memoryview(data)[:whole])
        self._unturned -= whole
        fresh, behind = given, b""
        if not doubtful:
            for at, end in last.values():
                self._begin(given[at:end])
        elif self._unturned >= 0:
            self._remember(given)
        else:
            fresh, behind = self._told_apart(given)
        return Taken(whole, lines, fresh, behind, unfinished, broken)

    def _begin(self, frame: bytes) -> None:
        one = self._newest[frame[0]] = _Newest(frame[8:STAMP])
        one.add(frame)

    def _remember(self, data: bytes) -> None:
        """Frames of which none has come before, whatever their times."""
        for at, size in frames(data):
            frame = data[at : at + 8 + size]
            one, stamped = self._newest.get(frame[0]), frame[8:STAMP]
            if one is not None and one.time == stamped:
                one.add(frame)
            else:
                self._begin(frame)

    def _told_apart(self, data: bytes) -> tuple[bytes, bytes]:
        now = now_stamped()
        fresh, behind = bytearray(), bytearray()
        for at, size in frames(data):
            frame = data[at : at + 8 + size]
            one = self._newest.get(frame[0])
            stamped = frame[8:STAMP]
            if one is None or stamped > one.time or (stamped < one.time and now < one.time):
                self._begin(frame)
                fresh += frame
            elif stamped < one.time:
                one.again = 0
                if one.kept or not self._follows:
                    behind += frame
            elif one.kept or not self._follows or not _comes_again(one, frame):
                fresh += frame
        return bytes(fresh), bytes(behind)


def _comes_again(one: _Newest, frame: bytes) -> bool:
    """Whether a frame of the newest time is one that has come; the state goes on with it.

    Two lines of a coarse clock that are alike are taken for one here: nothing tells them from what a turned
    file shows twice.
    """
    key = hash(frame)
    at = one.again if one.again is not None else _first(one, key, frame)
    if at is not None and at < len(one.frames) and one.frames[at] == key:
        one.again = at + 1
        return True
    one.again = None
    one.add(frame)
    return False


def _first(one: _Newest, key: int, frame: bytes) -> int | None:
    """Where those that come again begin, if this is the first of them.

    The pieces of a long line have one time; and a piece that is as the one before it may be the next.
    """
    at = one.first.get(key)
    if at is None or one.frames[-1] != key:
        return at
    text = frame[STAMP + 1 :]
    half = PIECE // 2
    return None if len(text) == PIECE and text[:half] == text[half:] else at


def now_stamped() -> bytes:
    """The time as the Engine writes it; it sorts before what is stamped later."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
