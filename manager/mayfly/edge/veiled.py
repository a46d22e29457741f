"""Text that nobody reads without its key: so a job's environment is on disk, and the key goes at its end.

SQLite overwrites what is deleted (`secure_delete`), but not each copy that it leaves where it moves rows from
one page to another: once in some ten thousand jobs an environment was still in the file. Keys are 32 bytes,
each used once, in a table of rows that never change; a copy that is left of the one says nothing without one
of the other.
"""

from __future__ import annotations

import hashlib
import os

KEY_BYTES = 32


def veiled(text: str) -> tuple[bytes, bytes]:
    """The text as it may stay on disk, and its key."""
    key = os.urandom(KEY_BYTES)
    return _under(key, text.encode()), key


def unveiled(data: bytes, key: bytes) -> str:
    """The text."""
    return _under(key, data).decode()


def _under(key: bytes, data: bytes) -> bytes:
    """With as much of SHAKE256 of the key as it is long (FIPS 202): the same once more gives it back."""
    stream = hashlib.shake_256(key).digest(len(data))
    size = len(data)
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
