"""Frames of an Engine's log as they come: whether they are whole, finished lines, and in order.

Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from mayfly.edge.output_kept import OUT, STAMP, frames

_NEWLINE = ord("\n")
_AND_ITSELF = b"~"  # sorts behind a time, and before the next


class Seen(NamedTuple):
    """What one look over received frames tells."""

    whole: int = 0  # bytes of whole frames
    unfinished: bool = False  # the Engine cuts long lines, and maybe the launcher's words
    backward: bool = False  # a stream's time went back
    lines: int = 0  # whole frames
    broken: bool = False  # the Engine reports its own trouble with its log this way


def look(data: bytearray, newest: dict[int, bytes]) -> Seen:
    """Look at every frame once; ``newest`` is brought up to date."""
    whole, lines, unfinished, backward = 0, 0, False, False
    try:
        for at, size in frames(data):
            whole, lines = at + 8 + size, lines + 1
            stream, stamped = data[at], bytes(data[at + 8 : at + STAMP])
            unfinished |= stream == OUT and data[whole - 1] != _NEWLINE
            backward |= stamped < newest.get(stream, b"")
            newest[stream] = stamped
    except ValueError:
        return Seen(whole, unfinished, backward, lines, broken=True)
    return Seen(whole, unfinished, backward, lines)


def now_stamped() -> bytes:
    """The time as the Engine writes it; it sorts before what is stamped later."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()


def forward(data: bytes, newest: dict[int, bytes], *, counted: bool = False) -> tuple[bytes, bytes]:
    """The frames that are not older than their stream's newest, which is brought up to date, and
    those that are.

    Once a stream went back, its newest line is among those that come again; ``counted`` says that
    the caller tells them apart.

    The Engine (seen in 20.10) loses its place when it rotates its log faster than it is read: it
    leaves lines out and reads others again. What it left out it shows when it is asked anew, and
    behind later lines it would push those out of a bounded tail. A newest time that lies ahead
    means that the clock was set back: that is no repeat.
    """
    now = now_stamped()
    out, left_out = bytearray(), bytearray()
    for at, size in frames(data):
        stream, stamped = data[at], data[at + 8 : at + STAMP]
        if now < newest.get(stream, b"") or stamped >= newest.get(stream, b""):
            newest[stream] = stamped
            out += data[at : at + 8 + size]
        else:
            left_out += data[at : at + 8 + size]
            if not counted:
                newest[stream] = newest[stream][: STAMP - 8] + _AND_ITSELF
    return bytes(out), bytes(left_out)
