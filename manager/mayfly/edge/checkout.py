"""What git would take of a folder, and what a commit has, file by file.

Of a folder the names alone: what is on disk under them may be anything by now.
"""

from __future__ import annotations

import os
import subprocess
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mayfly.edge.faults import Refused
from mayfly.edge.pieces import PIECE
from mayfly.edge.repository import Repository

SUBMODULE, LINK, PROGRAM = "160000", "120000", "100755"
DEPTH = 16  # of repositories in each other
# What a hook of git has in its environment: its repository, which is not the one that is meant.
_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE")
_OF_OBJECTS = (
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"),
)


@dataclass(frozen=True, slots=True)
class Checkout:
    """Paths from the folder on, of the repositories in it too."""

    tracked: tuple[str, ...]
    others: tuple[str, ...]  # that are not ignored
    missing: tuple[str, ...] = ()  # submodules that are not checked out

    @classmethod
    def of(cls, folder: Path, depth: int = DEPTH) -> Checkout | None:
        """``None`` where the folder is in no checkout; ``Refused`` where git does not read it."""
        if not _in_checkout(folder):
            return None
        repository = Repository(folder, _without((*_OF_HOOKS, *_OF_OBJECTS)))
        if repository.bare:
            raise Refused(f"{folder} is a repository without files: check it out first")
        modes, names = repository.beneath()
        tracked = [path for path, mode in modes.items() if mode != SUBMODULE]
        others = [path for path in names if not path.endswith("/")]
        nested = [path for path, mode in modes.items() if mode == SUBMODULE]
        missing: list[str] = []
        for path in [*nested, *(path.rstrip("/") for path in names if path.endswith("/"))]:
            inner = None
            if depth and os.path.lexists(folder / path / ".git"):
                inner = cls.of(folder / path, depth - 1)
            if inner is None:
                missing.append(path)
                continue
            tracked += [f"{path}/{one}" for one in inner.tracked]
            others += [f"{path}/{one}" for one in inner.others]
            missing += [f"{path}/{one}" for one in inner.missing]
        return cls(tuple(tracked), tuple(others), tuple(missing))


@dataclass(frozen=True, slots=True)
class Committed:
    """One entry of a commit."""

    path: str
    kind: Literal["file", "link", "submodule"]
    mode: int
    object: str
    size: int  # bytes, of a file or link


class Commit:
    """A commit of a repository, bare or not; its contents are read one after the other."""

    def __init__(self, repository: Repository, commit: str) -> None:
        self._repository = repository
        self._entries = tuple(
            Committed(path, _kind(mode), 0o755 if mode == PROGRAM else 0o644, name, size)
            for mode, name, size, path in repository.committed(commit)
        )
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, folder: Path, commit: str) -> Commit:
        """``Refused`` where there is no such commit."""
        return cls(Repository(folder, _without(_OF_HOOKS)), commit)

    def entries(self) -> tuple[Committed, ...]:
        """All that is in it."""
        return self._entries

    def content(self, name: str) -> Iterator[bytes]:
        """What an object has, in pieces; ``Refused`` where it is not there."""
        if self._process is None:
            self._process = self._repository.objects()
            weakref.finalize(self, _end, self._process)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            head = process.stdout.readline().split()
        except OSError as error:
            raise Refused(f"git does not read {name}: {error.strerror}") from error
        if len(head) != 3 or not head[2].isdigit():
            raise Refused(f"git does not have {name}")
        left = int(head[2]) + 1  # and the end of a line
        try:
            while left > 1:
                piece = process.stdout.read(min(PIECE, left - 1))
                if not piece:
                    raise Refused(f"git does not read {name} to its end")
                left -= len(piece)
                yield piece
        finally:
            while left and (rest := process.stdout.read(min(PIECE, left))):
                left -= len(rest)


def _kind(mode: str) -> Literal["file", "link", "submodule"]:
    return {LINK: "link", SUBMODULE: "submodule"}.get(mode, "file")  # type: ignore[return-value]


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()


def _in_checkout(folder: Path) -> bool:
    place = folder.resolve()
    return any(os.path.lexists(one / ".git") for one in (place, *place.parents))


def _without(names: tuple[str, ...]) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}
