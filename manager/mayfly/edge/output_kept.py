"""One agent's output on disk: a bounded tail, each line once, readable while it grows.

A kept file holds the Engine's own frames as they came (a header of 8 bytes with stream and length,
then the time, a space and the bytes), so nothing is parsed or changed on the way in. Frames of
other kinds are Mayfly's: where the output begins, where it ended, and notes on what is missing. The
tail is two segments, ``GENERATION.log.1`` and ``GENERATION.log``: when the second is full it
becomes the first. Frames are written whole and never taken back, so a reader may follow at any
time. A full disk costs output and leaves a note; it never raises.
By hand, since no library keeps a bounded tail that others read while it grows.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from mayfly.edge.launcher_lines import OPENED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTE, OUT, ERR, BEGIN, END = 0, 1, 2, 16, 17
AT_GATE = b"mayfly: at gate "
ENDED = re.compile(rb"mayfly: ended \d{1,3}\n?\Z")
ENDED_MAX = len(b"mayfly: ended 255\n")
FRAME_MAX = 128 * 1024
STAMP = 8 + 30  # where the time in a frame of the Engine's ends
PIECE = 16 * 1024  # bytes at which the Engine cuts a line
_KINDS = frozenset({NOTE, OUT, ERR, BEGIN, END})
_OPEN = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_DISORDER = 10**9  # ns: stdout and stderr are stamped before they queue for the Engine's log
_READ = 2 * FRAME_MAX
BEGINNING_GONE = (
    b"the beginning of this output is gone: only the last part is kept (host.output_per_agent)"
)
NOTHING_KEPT = b"nothing of this output is kept any more (host.output_total)"
READ_TOO_LATE = b"output is missing here: it came faster than it was read (host.output_per_agent)"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of output; ``stream`` is 1 or 2, or 0 for a note on output missing here."""

    stream: int
    time: float
    data: bytes


@dataclass(slots=True)
class Resume:
    """From where to ask the Engine again, and what of its answer is kept already."""

    since: int = 0  # nanoseconds
    newest: int = 0  # nanoseconds; what is more than _DISORDER later is surely new
    known: Counter[int] = field(default_factory=Counter)  # hashes of frames
    latest: dict[int, bytes] = field(default_factory=dict)  # the newest time kept of each stream
    ended: bool = False
    parted: bool = False  # the last line kept of stdout is the launcher's
    met: bool = False  # something known came again: nothing is missing between it and what follows

    def fresh(self, data: bytes) -> bytes:
        """The frames of ``data`` that are not kept yet."""
        out = bytearray()
        for at, size in frames(data):
            frame = data[at : at + 8 + size]
            key = hash(frame)
            if self.known.get(key, 0) > 0:
                self.known[key] -= 1
                self.met = True
                continue
            if self.known and stamp(frame[8:])[0] > self.newest + _DISORDER:
                self.known = Counter()
            out += frame
        return bytes(out)


def frames(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Offset and payload length of each whole frame; ValueError where there is none."""
    at, end = 0, len(data)
    while end - at >= 8:
        kind, size = struct.unpack_from(">BxxxL", data, at)
        if kind not in _KINDS or size > FRAME_MAX:
            raise ValueError("not a frame")
        if end - at < 8 + size:
            return
        yield at, size
        at += 8 + size


def stamp(payload: bytes) -> tuple[int, int]:
    """The time at the start of a payload in nanoseconds, and where its bytes begin."""
    if payload[29:31] == b"Z ":
        return _second(payload[:19]) + int(payload[20:29]), 31
    text, space, _ = payload.partition(b" ")
    if not space:
        return 0, 0
    moment = datetime.fromisoformat(re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", text.decode()))
    return int(moment.timestamp() * 1e6) * 1000, len(text) + 1


def own_frame(kind: int, text: str) -> bytes:
    """A frame of Mayfly's own, stamped now."""
    now = time.time_ns()
    at = datetime.fromtimestamp(now // 10**9, UTC)
    payload = f"{at:%Y-%m-%dT%H:%M:%S}.{now % 10**9:09d}Z {text}".encode()
    return struct.pack(">BxxxL", kind, len(payload)) + payload


class KeptFile:
    """The writing end; used by one thread only."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.old = path.with_name(path.name + ".1")
        self.kept = 0  # bytes in both segments
        self._segment_max = max(limit // 2, 1)
        self._size = 0  # of the current segment
        self._fd: int | None = None
        self._lost = 0
        self._why = ""

    def open(self) -> Resume:
        """Make the file ready, cut a torn last frame off, and say from where to go on; ``OSError`` where what
        is kept cannot be read.
        """
        self.close()
        self._cut()
        self._lost = 0  # the Engine is asked for it again
        earlier, current = _bytes(self.old), _bytes(self.path)
        self._size, self.kept = len(current), len(earlier) + len(current)
        if self.kept == 0:
            self._append(own_frame(BEGIN, ""))
        return _resume(earlier + current)

    def append(self, data: bytes) -> int:
        """Keep whole frames; how many bytes more there are on disk than before (less than 0 after a
        turn).
        """
        before = self.kept
        if self._size and self._size + len(data) > self._segment_max:
            self._turn()
        if self._lost and self._append(
            own_frame(NOTE, f"{self._lost} bytes of output are missing here: {self._why}")
        ):
            self._lost = 0
        self._append(data)
        return self.kept - before

    def end(self) -> int:
        """Mark that nothing will follow."""
        return self.append(own_frame(END, ""))

    def close(self) -> None:
        """Let go of the file; what is kept stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _append(self, data: bytes) -> bool:
        """Write whole frames as far as the disk takes them; whether it took all."""
        written = 0
        try:
            if self._fd is None:
                self._fd = os.open(self.path, _OPEN, 0o600)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            whole = max((at + 8 + size for at, size in frames(data[:written])), default=0)
            if self._fd is not None and whole < written:
                os.ftruncate(self._fd, self._size + whole)
            self._lost += len(data) - whole
            self._why = error.strerror or str(error)
            written = whole
        self._size += written
        self.kept += written
        return written == len(data)

    def _turn(self) -> None:
        """Make the full segment the older one, and begin another."""
        self.close()
        try:
            self.path.replace(self.old)
        except OSError as error:
            self._why = error.strerror or str(error)
            return
        self.kept, self._size = self._size, 0

    def _cut(self) -> None:
        for path in (self.old, self.path):
            data = _bytes(path)
            whole = 0
            with contextlib.suppress(ValueError):  # nonsense after a power cut: keep what is before
                for at, size in frames(data):
                    whole = at + 8 + size
            if whole < len(data):
                os.truncate(path, whole)


class KeptReader:
    """The reading end, on any thread: the output in order, without what Mayfly itself printed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.old = path.with_name(path.name + ".1")
        self.ended = False
        self._fd: int | None = None
        self._at = 0
        self._shears = Shears()
        self._long_lines = LongLines()
        self._missing: bytes | None = (
            None  # what to say of bytes that are gone before the next ones
        )
        self._begun = False

    @property
    def found(self) -> bool:
        """Whether anything of it is kept."""
        return self._fd is not None

    def more(self) -> list[Chunk] | None:
        """What came since the last call; None where nothing did. ``ended`` is set when nothing can
        follow.
        """
        data = self._bytes()
        if not data:
            return None
        out: list[Chunk] = []
        if not self._begun:
            self._begun = True
            self._missing = None if data[0] == BEGIN else BEGINNING_GONE
        if self._missing is not None:
            out.append(Chunk(NOTE, time.time(), self._missing))
            self._missing = None
        consumed = 0
        for at, size in frames(data):
            payload = data[at + 8 : at + 8 + size]
            nanos, skip = stamp(payload)
            if data[at] == END:
                self.ended = True
                out += self._shears.rest()
            else:
                text = self._long_lines.whole(data[at], payload[skip:])
                out += self._shears.cut(data[at], nanos / 1e9, text)
            consumed = at + 8 + size
        self._at += consumed
        return out if consumed else None

    def rest(self) -> list[Chunk]:
        """What was held back, for a reader that waits no longer."""
        return list(self._shears.rest())

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _bytes(self) -> bytes:
        if self._fd is None and not self._open_first():
            return b""
        assert self._fd is not None
        while not (data := os.pread(self._fd, _READ, self._at)):
            following = self._following()
            if following is None or (data := os.pread(self._fd, _READ, self._at)):
                break
            if following is self.old:
                self._missing = READ_TOO_LATE
            self._open(following)
        return data

    def _open_first(self) -> bool:
        for path in (self.old, self.path, self.old):
            if self._fd is None or path is self.old:  # it may turn between the two looks
                self._open(path)
        return self._fd is not None

    def _open(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        self.close()
        self._fd, self._at = fd, 0

    def _following(self) -> Path | None:
        """The segment after the one being read; None where this is the newest."""
        assert self._fd is not None
        mine = os.fstat(self._fd).st_ino
        newest, older = _inode(self.path), _inode(self.old)
        if newest in (mine, None):
            return None
        return self.path if older in (mine, None) else self.old


class LongLines:
    """Gives long lines back their ends.

    The Engine cuts a line into pieces, and its log ``local`` does not say that the last of them ended with a
    newline. A piece that is shorter ends its line, but for the last one of a stream, which may end without:
    on stdout that is the launcher's.
    """

    def __init__(self) -> None:
        self._cut: set[int] = set()  # streams whose newest frame is a piece of a line that goes on

    def whole(self, stream: int, text: bytes) -> bytes:
        """The bytes as they were written."""
        if text.endswith(b"\n"):
            self._cut.discard(stream)
        elif len(text) >= PIECE:
            self._cut.add(stream)
        elif stream in self._cut:
            self._cut.remove(stream)
            return text + b"\n"
        return text


class Shears:
    """Cuts off what the gate and the launcher print: the first line, that behind it where it says that the
    gate was opened, and the end of the last one on stdout.

    The same words anywhere else are the job's own and stay.
    """

    def __init__(self) -> None:
        self._first = False
        self._second = False
        self._held = b""
        self._held_at = 0.0

    def cut(self, kind: int, at: float, data: bytes) -> Iterator[Chunk]:
        """The chunks to show now; the end of stdout is held back while it may be Mayfly's."""
        if kind == BEGIN:
            self._first = True
        elif kind != OUT:
            yield Chunk(kind, at, data)
        elif self._first and data.startswith(AT_GATE):
            self._first, self._second = False, True
        elif self._second and OPENED.fullmatch(data.removesuffix(b"\n") + b"\n"):
            self._second = False
        else:
            self._first = self._second = False
            joined = self._held + data
            keep = _kept_back(joined)
            self._held, self._held_at = joined[len(joined) - keep :], at
            if keep < len(joined):
                yield Chunk(OUT, at, joined[: len(joined) - keep])

    def rest(self) -> Iterator[Chunk]:
        """The end of stdout, when nothing follows."""
        held, self._held = ENDED.sub(b"", self._held), b""
        if held:
            yield Chunk(OUT, self._held_at, held)


def _kept_back(data: bytes) -> int:
    """How many bytes at the end may turn out to be the launcher's last line."""
    tail = data[-ENDED_MAX:]
    found = ENDED.search(tail)
    if found is not None:
        return len(tail) - found.start()
    return 0 if data.endswith(b"\n") else min(len(data), ENDED_MAX - 1)


def _resume(data: bytes) -> Resume:
    if not data:
        return Resume()
    found = list(frames(data))
    known: Counter[int] = Counter()
    latest: dict[int, bytes] = {}
    newest = oldest = floor = 0
    last = next(
        (data[at + 8 : at + 8 + size] for at, size in reversed(found) if data[at] == OUT), b""
    )
    for at, size in reversed(found):
        if data[at] == NOTE and oldest:
            # What is missing before it would come back out of order. Of what is kept before it some may be
            # later than what is behind it, and is known.
            floor = floor or oldest
        if data[at] not in (OUT, ERR):
            continue
        when, _ = stamp(data[at + 8 : at + 8 + size])
        if not floor:
            latest.setdefault(data[at], data[at + 8 : at + STAMP])
            oldest, newest = when, max(newest, when)
        if when < newest - 2 * _DISORDER:
            break
        known[hash(data[at : at + 8 + size])] += 1
    since = max(0, newest - _DISORDER, floor)
    at, size = found[0]
    if data[at] != BEGIN:  # older frames were thrown away, and are not to come back
        since = max(since, stamp(data[at + 8 : at + 8 + size])[0] + 1)
    return Resume(
        since,
        newest,
        known,
        latest,
        ended=data[found[-1][0]] == END,
        parted=ENDED.search(last) is not None,
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _second(text: bytes) -> int:
    return int(datetime.fromisoformat(text.decode() + "+00:00").timestamp()) * 10**9
