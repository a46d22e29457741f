"""What a service gave us once and will not give again: a small file for each slot, which only root can read.

A value is whole or not there: it is written beside its place, brought to the disk and renamed. Nothing here
is ever logged, and nothing that is kept here is in the configuration.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from mayfly.edge.faults import Passing, Refused

SUFFIX = ".json"


class Vault:
    """The kept values of one provider, by slot, in one directory of the state directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def get(self, name: str) -> Mapping[str, object] | None:
        """The value of that name; ``None`` where none is kept, ``Refused`` where it cannot be read."""
        try:
            text = self._path(name).read_text(encoding="utf-8")
            value = json.loads(text)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Refused(
                f"{self._path(name)} cannot be read ({error}): remove it, and the service is asked anew"
            ) from error
        if not isinstance(value, dict):
            raise Refused(f"{self._path(name)} does not hold what Mayfly writes there: remove it")
        return value

    def put(self, name: str, value: Mapping[str, object]) -> None:
        """Keep the value in place of the one there was; ``Passing`` where the disk does not take it."""
        path = self._path(name)
        beside = path.with_suffix(".new")
        try:
            self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(value, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _sync(self.place)
        except OSError as error:
            raise Passing(f"cannot keep {path}: {error.strerror}") from error

    def drop(self, name: str) -> None:
        """Forget the value; gone already is success."""
        with contextlib.suppress(FileNotFoundError):
            self._path(name).unlink()
            _sync(self.place)

    def names(self) -> tuple[str, ...]:
        """All that values are kept for."""
        try:
            return tuple(sorted(path.stem for path in self.place.glob(f"*{SUFFIX}")))
        except OSError:
            return ()

    def _path(self, name: str) -> Path:
        return self.place / f"{name}{SUFFIX}"


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
