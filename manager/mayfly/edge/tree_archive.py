"""What a job brings, as a tar that is made while it is read: nothing of it is ever in memory as a whole.

Everything in it belongs to the job's user and is as old as the job: archives and builds stumble over files
without an age. Directories that a list implies are in it, so that none is made by an engine as root's.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mayfly.core.tree_manifest import TreeEntry
from mayfly.core.workspace import STDIN, WORKSPACE, Owner

END = b"\0" * 2 * tarfile.BLOCKSIZE
DIRECTORY_MODE = 0o755


@dataclass(frozen=True, slots=True)
class TreeArchive:
    """Makes the parts of one archive; ``END`` ends it."""

    owner: Owner
    now: float

    def workspace(
        self, entries: Iterable[TreeEntry], content: Callable[[TreeEntry], Iterable[bytes]]
    ) -> Iterator[bytes]:
        """The workspace, with those entries in their order; names begin at the container's root."""
        root = WORKSPACE.strip("/")
        yield self._header(root, tarfile.DIRTYPE, DIRECTORY_MODE)
        made: list[str] = []  # the directory that was made last, by its parts
        for entry in entries:
            parts = entry.path.split("/")
            parents = parts[:-1]
            for depth in range(1, len(parents) + 1):
                if made[:depth] != parents[:depth]:
                    made = parents[:depth]
                    yield self._header("/".join((root, *made)), tarfile.DIRTYPE, DIRECTORY_MODE)
            name = f"{root}/{entry.path}"
            match entry.kind:
                case "dir":
                    yield self._header(name, tarfile.DIRTYPE, entry.mode)
                    made = parts
                case "link":
                    yield self._header(name, tarfile.SYMTYPE, 0o777, target=entry.target)
                case "file":
                    yield from self._file(name, entry.mode, entry.size, content(entry))

    def stdin(self, content: Iterable[bytes], size: int) -> Iterator[bytes]:
        """What a job reads as its standard input; nobody else's."""
        return self._file(STDIN.strip("/"), 0o400, size, content)

    def _file(self, name: str, mode: int, size: int, content: Iterable[bytes]) -> Iterator[bytes]:
        yield self._header(name, tarfile.REGTYPE, mode, size)
        yield from content
        yield b"\0" * (-size % tarfile.BLOCKSIZE)

    def _header(self, name: str, kind: bytes, mode: int, size: int = 0, target: str = "") -> bytes:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.size, entry.linkname = kind, mode, size, target
        entry.uid, entry.gid, entry.mtime = self.owner.uid, self.owner.gid, int(self.now)
        # GNU's form has any bytes in a name, where PAX has Unicode alone.
        return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
