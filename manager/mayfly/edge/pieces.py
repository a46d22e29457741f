"""Pieces of bytes as a file that is read once, from its beginning to its end."""

from __future__ import annotations

import io
from collections.abc import Iterator


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
                self._held = next(self._pieces, b"")
                if not self._held:
                    break
            part, self._held = self._held[:left], self._held[left:]
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
