"""Pieces of bytes: gathered, and as a file that is read once, from its beginning to its end."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

PIECE = 256 * 1024  # bytes that are read, or handed on, at once


def gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of some size, so that not each small one is sent by itself."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


class Pieces(io.RawIOBase):
    """Holds no more than a piece."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or fewer at the end."""
        parts, left = [], size
        while left:
            if not self._held:
                found = next(self._pieces, None)
                if found is None:
                    break
                self._held = found
            part, self._held = self._held[:left], self._held[left:]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
