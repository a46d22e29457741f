"""How a person's terminal and a process beside a job speak to each other through the manager: frames.

After the upgrade of an HTTP connection to ``PROTOCOL`` both ends send frames: one byte that says of what
kind, three zero bytes, the length as a big-endian number, and so many bytes. ``cli`` and ``service`` are the
two ends; nothing here does any I/O. What arrives is bounded: a frame has at most ``FRAME_MAX`` bytes.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

PROTOCOL = "mayfly-attach/1"
MARK = "MAYFLY_ATTACH"  # a variable of all that an attachment starts; see agents/detach
FRAME_MAX = 64 * 1024
SIDE_MAX = 1000  # rows, or columns, of a terminal
TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")  # of a terminal, as TERM says it

_HEAD = struct.Struct(">BxxxI")
_SIZE = struct.Struct(">HH")


class Kind(IntEnum):
    """Of a frame."""

    INPUT = 0  # from the client: bytes for the process; none of them: no more will come
    OUT = 1  # from the manager: what the process printed
    ERR = 2  # the same, on standard error
    SIZE = 3  # from the client: the terminal's rows and columns, two bytes each
    END = 4  # from the manager, the last one: JSON, exit_code and sentence


class Malformed(Exception):
    """What arrived is no frame of this protocol."""


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's."""

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= SIDE_MAX and 1 <= self.columns <= SIDE_MAX):
            raise ValueError(f"a terminal has 1 to {SIDE_MAX} rows and columns")


@dataclass(frozen=True, slots=True)
class End:
    """How it ended: the process's exit code, and a sentence where there is something to say."""

    exit_code: int | None  # None: it has none, or none is known
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: Kind
    data: bytes


class Frames:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole by now; ``Malformed`` where something else came."""
        self._held += data
        while len(self._held) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._held)
            if kind > Kind.END or length > FRAME_MAX:
                raise Malformed
            end = _HEAD.size + length
            if len(self._held) < end:
                return
            frame = Frame(Kind(kind), bytes(self._held[_HEAD.size : end]))
            del self._held[:end]
            yield frame


def framed(kind: Kind, data: bytes = b"") -> bytes:
    """The bytes as frames: one, or as many as they need."""
    pieces = [data[at : at + FRAME_MAX] for at in range(0, len(data), FRAME_MAX)] or [b""]
    return b"".join(_HEAD.pack(kind, len(piece)) + piece for piece in pieces)


def size_frame(size: Size) -> bytes:
    """A terminal's size as a frame."""
    return framed(Kind.SIZE, _SIZE.pack(size.rows, size.columns))


def size_in(frame: Frame) -> Size:
    """The size that a frame says; ``Malformed`` where it says none."""
    try:
        return Size(*_SIZE.unpack(frame.data))
    except (ValueError, struct.error) as error:
        raise Malformed from error


def end_frame(end: End) -> bytes:
    """The last frame."""
    told = {"exit_code": end.exit_code, "sentence": end.sentence}
    return framed(Kind.END, json.dumps(told).encode())


def end_in(frame: Frame) -> End:
    """What the last frame says; ``Malformed`` where it says nothing."""
    try:
        told = json.loads(frame.data)
        code, sentence = told["exit_code"], told["sentence"]
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed from error
    if not (code is None or isinstance(code, int)) or not isinstance(sentence, str):
        raise Malformed
    return End(code, sentence)
