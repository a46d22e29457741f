"""A small file of the state directory that the command line writes whole, one writer at a time.

It is root's alone. A file that is damaged is its reader's to tell; nothing here replaces one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mayfly.edge.faults import Passing, Refused
from mayfly.edge.lock_file import locked

LONGEST = 4 * 1024 * 1024
PATIENCE = 30.0  # seconds that another who writes is waited for


def content(place: Path) -> bytes | None:
    """What it holds, at most a byte more than ``LONGEST``; ``None``: it is not there. ``Refused`` where it
    cannot be read.
    """
    try:
        with place.open("rb") as file:
            return file.read(LONGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{place} cannot be read: {error.strerror}; try sudo") from error


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Be the only one who changes it; a ``Fault`` where that cannot be."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(place.with_name(f".{place.name}.lock"), PATIENCE) as ours:
            if not ours:
                raise Passing(
                    f"somebody else has been writing {place} for {PATIENCE:.0f} s: try again"
                )
            yield
    except OSError as error:
        raise Refused(f"{place} cannot be written: {error.strerror}; try sudo") from error


def write(place: Path, text: str) -> None:
    """Put the text in its place, whole or not at all; ``OSError`` where it cannot be."""
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(
            new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(place)
    finally:
        with suppress(FileNotFoundError):
            new.unlink()
