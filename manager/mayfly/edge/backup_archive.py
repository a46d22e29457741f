"""The file of a backup: a gzipped tar that says at its begin what it is and at its end what was in it.

It is written and read once from begin to end, so that it goes through a pipe. Whoever reads one knows a file
that was cut off or damaged before anything of it is used, and takes nothing from it but regular files with
names that have one meaning. Here, since a library's extraction places what a stranger's file says.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from mayfly.edge.faults import Refused

MANIFEST = "manifest.json"  # the first entry
END = "end.json"  # the last one
PIECE = 256 * 1024
SMALL = 16 * 1024 * 1024  # bytes of the first and of the last
LATEST = 1 << 33  # seconds: when a file was changed at the latest, so that any disk can say it
RESERVE = 1 << 30  # bytes that stay free, at most: a fiftieth of a smaller disk
_LEVEL = 1  # a backup waits for the disk, and costs jobs no processor


@dataclass(slots=True)
class _Sums:
    """How many entries there were, and one checksum of all their names, sizes and checksums."""

    entries: int = 0
    _all: Any = field(default_factory=hashlib.sha256)

    def add(self, name: str, size: int, digest: str) -> None:
        self.entries += 1
        self._all.update(f"{name}\0{size}\0{digest}\n".encode(errors="surrogateescape"))

    @property
    def told(self) -> dict[str, object]:
        return {"entries": self.entries, "sha256": self._all.hexdigest()}


@dataclass(slots=True)
class Writer:
    """Writes one, entry by entry; ``OSError`` where nothing takes it."""

    out: IO[bytes]
    _zip: gzip.GzipFile = field(init=False)
    _tar: tarfile.TarFile = field(init=False)
    _sums: _Sums = field(default_factory=_Sums)

    def __post_init__(self) -> None:
        self._zip = gzip.GzipFile("", "wb", _LEVEL, self.out, mtime=0)
        self._tar = tarfile.TarFile.open(fileobj=self._zip, mode="w|", format=tarfile.GNU_FORMAT)

    def text(self, name: str, value: object, mode: int = 0o600) -> None:
        """A small document."""
        data = json.dumps(value, indent=1).encode() + b"\n"
        self._add(name, io.BytesIO(data), len(data), mode, 0)

    def file(self, name: str, place: Path) -> bool:
        """A regular file as long as it is now; False: there is none (any more), and it is left out;
        ``Refused`` where it cannot be read.
        """
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(place, error) from error
        with os.fdopen(descriptor, "rb") as source:
            seen = os.fstat(source.fileno())
            if not stat.S_ISREG(seen.st_mode):
                return False
            mode = stat.S_IMODE(seen.st_mode) & 0o777
            mtime = min(max(0, int(seen.st_mtime)), LATEST)
            self._add(name, source, seen.st_size, mode, mtime)
        return True

    def _add(self, name: str, source: IO[bytes], size: int, mode: int, mtime: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size, mode, mtime
        reader = _Exactly(source, size, name)
        self._tar.addfile(entry, reader)
        self._tar.members = []  # type: ignore[attr-defined]  # which it keeps, otherwise
        self._sums.add(name, size, reader.digest.hexdigest())

    def end(self) -> None:
        """Nothing follows."""
        self.text(END, self._sums.told)
        self._tar.close()
        self._zip.close()


@dataclass(slots=True)
class _Exactly:
    """So many bytes of a file that may be cut meanwhile: what is lacking is zeros, as of a hole."""

    source: IO[bytes]
    left: int
    name: str
    digest: Any = field(default_factory=hashlib.sha256)

    def read(self, size: int = PIECE) -> bytes:
        wanted = min(size, self.left)
        try:
            data = self.source.read(wanted) if wanted else b""
        except OSError as error:
            raise _unreadable(self.name, error) from error
        data += b"\0" * (wanted - len(data))
        self.left -= len(data)
        self.digest.update(data)
        return data


def _unreadable(place: object, error: OSError) -> Refused:
    """Not the backup is in the way, but what belongs into it."""
    return Refused(f"{place} cannot be read: {error.strerror}; there is no backup")


@dataclass(slots=True)
class Reader:
    """Reads one; ``Refused`` where it is damaged, cut off, or no backup. ``what``: as a person knows it."""

    source: BinaryIO
    what: str
    manifest: Mapping[str, Any] = field(init=False)
    _zip: gzip.GzipFile = field(init=False)
    _tar: tarfile.TarFile = field(init=False)
    _sums: _Sums = field(default_factory=_Sums)

    def __post_init__(self) -> None:
        try:
            self._zip = gzip.GzipFile(fileobj=self.source, mode="rb")
            self._tar = tarfile.TarFile.open(fileobj=self._zip, mode="r|")
            first = self._tar.next()
            if first is None or first.name != MANIFEST:
                raise Refused(f"{self.what} is no backup that `mayfly backup` has written")
            self.manifest = self._document(first)
        except gzip.BadGzipFile as error:
            raise Refused(f"{self.what} is no backup that `mayfly backup` has written") from error
        except tarfile.ReadError as error:
            if str(error) == "empty file":
                raise Refused(
                    f"{self.what} is empty: what was to write it has failed, and said why. Nothing "
                    "was changed"
                ) from error
            raise self._damaged(error) from error
        except (
            OSError,
            EOFError,
            zlib.error,
            tarfile.TarError,
            ValueError,
            RecursionError,
        ) as error:
            raise self._damaged(error) from error

    def unpack(self, folder: Path, is_written: Callable[[str], bool]) -> Iterator[str]:
        """Put each entry beneath the folder, and name it; all of them are there, and as they were written,
        once it has ended. ``is_written``: which names there may be. ``OSError`` where the disk does not take
        them.
        """
        while True:
            entry = self._next()
            if entry is None:
                raise Refused(
                    f"{self.what} is cut off or damaged: its end is missing; copy it again. Nothing was "
                    "changed"
                )
            if entry.name == END:
                expected = self._sums.told
                if self._told(entry) != expected:
                    raise Refused(
                        f"{self.what} is damaged: what is in it is not what was written; copy it again. "
                        "Nothing was changed"
                    )
                self._see_the_end()
                return
            self._place(entry, folder, is_written)
            yield entry.name

    def _see_the_end(self) -> None:
        """What follows has the checksum of all of it, and whoever writes into a pipe is not cut short."""
        try:
            while self._zip.read(PIECE):
                pass
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(error) from error

    def _next(self) -> tarfile.TarInfo | None:
        try:
            entry = self._tar.next()
            self._tar.members = []  # type: ignore[attr-defined]
        except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
            raise self._damaged(error) from error
        return entry

    def _place(
        self, entry: tarfile.TarInfo, folder: Path, is_written: Callable[[str], bool]
    ) -> None:
        if (
            not _is_whole_file(entry)
            or not is_plain(entry.name)
            or not is_written(entry.name)
            or not _is_free(folder, entry.name)
        ):
            raise Refused(
                f"{self.what} has an entry that Mayfly never writes ({entry.name!r}): nothing was changed"
            )
        _see_room(folder, entry.size)
        place = folder / entry.name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(place, flags, 0o600), "wb") as file:
            digest = hashlib.sha256()
            for piece in self._pieces(entry):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fchmod(file.fileno(), entry.mode & 0o777)
            os.utime(file.fileno(), (entry.mtime, entry.mtime))
            os.fsync(file.fileno())
        self._sums.add(entry.name, entry.size, digest.hexdigest())

    def _pieces(self, entry: tarfile.TarInfo) -> Iterator[bytes]:
        source = self._tar.extractfile(entry)
        assert source is not None
        while True:
            try:
                piece = source.read(PIECE)
            except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
                raise self._damaged(error) from error
            if not piece:
                return
            yield piece

    def _document(self, entry: tarfile.TarInfo) -> dict[str, Any]:
        if not entry.isreg() or entry.size > SMALL:
            raise ValueError(f"{entry.name} is none")
        data = b"".join(self._pieces(entry))
        found = json.loads(data)
        if not isinstance(found, dict):
            raise ValueError(f"{entry.name} is none")
        if entry.name == MANIFEST:
            self._sums.add(MANIFEST, entry.size, hashlib.sha256(data).hexdigest())
        return found

    def _told(self, entry: tarfile.TarInfo) -> dict[str, Any]:
        try:
            return self._document(entry)
        except (ValueError, RecursionError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: BaseException) -> Refused:
        if isinstance(error, EOFError):
            return Refused(
                f"{self.what} is cut off or damaged: its end is missing; copy it again. Nothing was changed"
            )
        return Refused(
            f"{self.what} is damaged ({error}): copy it again, or take an older one. Nothing was changed"
        )


def _is_whole_file(entry: tarfile.TarInfo) -> bool:
    """Whether it is a file as ``Writer`` writes them: of a sparse one a few bytes would fill the disk."""
    return (
        entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        and not entry.issparse()
        and entry.size >= 0
        and 0 <= entry.mtime <= LATEST
    )


def _see_room(folder: Path, size: int) -> None:
    """``OSError`` where the disk would be full with that: jobs that still run need it, and a small file may
    unpack to any size.
    """
    disk = os.statvfs(folder)
    left = disk.f_bavail * disk.f_frsize - size
    if left < min(disk.f_blocks * disk.f_frsize // 50, RESERVE):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def _is_free(folder: Path, name: str) -> bool:
    """Whether nothing has that name yet, and no file one of the folders above it."""
    place = folder / name
    above = [one for one in place.parents if folder in one.parents]
    return not os.path.lexists(place) and all(one.is_dir() or not one.exists() for one in above)


def is_plain(name: str) -> bool:
    """Whether a name stands for one place beneath a folder, whatever the folder."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and not name.startswith("/")
        and "/".join(parts) == name
        and not any(part in ("..", ".") or "\0" in part for part in parts)
    )
