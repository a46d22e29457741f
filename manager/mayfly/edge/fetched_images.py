"""Which images jobs have fetched that were not there before, and when one was used last: a file each.

The gateway notes them, the manager takes away what was not used for long. Only what stands here is ever
removed: an image that was there before, or that a person fetched, is none of these.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from mayfly.edge.faults import Passing

FOLDER = "images"
LONGEST = 240  # characters of a file's name
HASHED = "~"  # which no image's name has: a file that begins so has the name within


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that a job has fetched."""

    name: str  # as people write it
    used: float  # when it was fetched, or a container was last made of it


class FetchedImages:
    """Those of one state directory; ``gateway`` is its folder of the gateway's."""

    def __init__(self, gateway: Path) -> None:
        self.folder = gateway / FOLDER

    def fetched(self, name: str) -> bool:
        """A job fetches it, and it is not there yet; whether that is noted now and was not before.

        That it cannot be noted keeps it for ever.
        """
        place = self._place(name)
        if place is None:
            return False
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            new = not place.exists()
            with place.open("w" if new else "a", encoding="utf-8") as file:
                file.write(name if new and place.name.startswith(HASHED) else "")
            place.chmod(0o600)
            os.utime(place)
        except OSError:
            return False
        return new

    def came(self, name: str) -> None:
        """It is there now, which may be long after it was noted: from now on it is looked at anew."""
        place = self._place(name)
        if place is not None:
            with suppress(OSError):
                os.utime(place)
                os.utime(self.folder)

    def used(self, name: str) -> None:
        """A container is made of it; where nobody fetched it for a job nothing is noted."""
        place = self._place(name)
        if place is not None:
            with suppress(OSError):
                os.utime(place)

    def all(self) -> tuple[Fetched, ...]:
        """Those that are noted, whoever was not used for the longest first."""
        return tuple(sorted(self._noted(), key=lambda one: one.used))

    def changed(self) -> float:
        """When one was noted or forgotten last; 0: never."""
        try:
            return self.folder.stat().st_mtime
        except OSError:
            return 0.0

    def forget(self, name: str) -> None:
        """It is gone."""
        place = self._place(name)
        if place is not None:
            with suppress(FileNotFoundError):
                place.unlink()

    def _noted(self) -> Iterator[Fetched]:
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        yield Fetched(_name(entry), entry.stat().st_mtime)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Passing(f"cannot read {self.folder}: {error.strerror}") from error

    def _place(self, name: str) -> Path | None:
        file = quote(name, safe="")
        if len(file) > LONGEST:
            file = HASHED + hashlib.sha256(name.encode()).hexdigest()
        return self.folder / file if file else None


def _name(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith(HASHED):
        return Path(entry.path).read_text(encoding="utf-8")
    return unquote(entry.name)
