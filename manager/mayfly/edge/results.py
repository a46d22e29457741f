"""What jobs' owners want of their ended containers, on disk: one tar an agent, bounded, root's alone.

An engine gives a tar of what a job has made; every byte of it is a job's. Nothing of it is unpacked here, or
ever in memory as a whole: it is read entry by entry and written anew, with names that begin with the number
of the path that was asked for, and with nothing in it but files, directories, links and permissions. An
engine reads as root: what the job's user may not read by owner, group and mode is left out.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from mayfly.core.model import Generation, Results
from mayfly.core.reserved_paths import within
from mayfly.core.workspace import HOME, WORKSPACE, Owner, place_of
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.pieces import PIECE, Pieces
from mayfly.edge.room import room

FILES_MAX = 100_000  # of one job
SEEN_MAX = 500_000  # that are looked at, with those that are left out
TOLD = 8  # sentences on what was left out
KEPT = 14 * 24 * 3600.0  # seconds that results are kept at most
UNFINISHED = 3600.0  # seconds since its last byte, after which nobody writes on
NAMES = 3
READS, ENTERS = 4, 1  # bits of a permission


@dataclass(frozen=True, slots=True)
class Taken:
    """What an engine gives of an ended container, while it is being read."""

    place: str  # the path, absolute and without links
    pieces: Iterator[bytes]  # of a tar whose names begin with the last part of it
    mounted: tuple[str, ...] = ()  # places beneath it that are no part of the container


# An absolute path of the container -> what is there; ``Refused`` where nothing is, or it is nothing of its.
Take = Callable[[str], AbstractContextManager[Taken]]


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept of one agent."""

    at: float  # since when; seconds since the epoch
    size: int  # bytes
    uid: int | None  # whose


class _Full(Exception):
    """It is more than may be kept."""


class ResultStore:
    """To be used from any thread; what is kept of one agent is written by one at a time."""

    def __init__(
        self,
        directory: Path,
        most: int,
        total: int,
        clock: Callable[[], float] = time.time,
        whose: Callable[[Generation], int | None] = lambda _: None,
    ) -> None:
        """``most`` and ``total``: bytes of one job, and of all; ``whose``: the uid of the job's owner."""
        self._directory = directory
        self._most = most
        self._total = total
        self._clock = clock
        self._whose = whose
        self._lock = threading.Lock()
        self._held: dict[Generation, _Held] | None = None  # None: nobody has looked

    def keep(self, generation: Generation, out: Sequence[str], take: Take) -> Results:
        """Keep those paths of an agent's container; ``Passing`` where the engine or the disk does not have it
        so.
        """
        seen_room = room(self._directory)
        if seen_room is not None and seen_room.low:
            raise Passing(f"there is no room for results: {seen_room.text}", 60.0)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._directory, prefix="new-") as file:
                writing = _Writing(file, self._most, _who_ran(take))
                for number, path in enumerate(out):
                    writing.add(number, path, take)
                writing.end()
                file.flush()
                now = self._clock()
                os.utime(file.fileno(), (now, now))
                os.fsync(file.fileno())
                place = self._place(generation)
                place.unlink(missing_ok=True)
                os.link(file.name, place)
                self._kept(generation, file.tell(), now)
        except OSError as error:
            why = error.strerror or error
            raise Passing(f"{self._directory} cannot be written: {why}", 15.0) from error
        return writing.results

    def open(self, generation: Generation) -> BinaryIO | None:
        """What is kept of that agent, as a tar; ``None`` where nothing is (any more)."""
        try:
            return self._place(generation).open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Passing(f"the results cannot be read: {error.strerror}") from error

    def _place(self, generation: Generation) -> Path:
        return self._directory / f"{generation}.tar"

    def throw_old_away(self) -> None:
        """Throw away what is older than two weeks, and what a manager that died was writing."""
        with self._lock:
            self._held = self._look()

    def _look(self) -> dict[Generation, _Held]:
        """What is there, without what is old."""
        found, known, now = {}, self._held or {}, self._clock()
        for entry in self._entries():
            with suppress(FileNotFoundError):
                seen = entry.stat(follow_symlinks=False)
                whole = entry.name.endswith(".tar")
                if now - seen.st_mtime > (KEPT if whole else UNFINISHED):
                    Path(entry.path).unlink()
                elif whole:
                    name = Generation(entry.name.removesuffix(".tar"))
                    uid = known[name].uid if name in known else self._whose(name)
                    found[name] = _Held(seen.st_mtime, seen.st_size, uid)
        return found

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._directory) as entries:
                return list(entries)
        except FileNotFoundError:
            return []

    def _kept(self, generation: Generation, size: int, now: float) -> None:
        """That much is kept of it now: of what is more than may be, the oldest of whoever has most goes."""
        with self._lock:
            self._held = held = self._look() if self._held is None else self._held
            held[generation] = _Held(now, size, self._whose(generation))
            sums: Counter[int | None] = Counter()
            for one in held.values():
                sums[one.uid] += one.size
            if (excess := sums.total() - self._total) <= 0:
                return
            queues: dict[int | None, deque[Generation]] = {}
            for name in sorted(held.keys() - {generation}, key=lambda name: held[name].at):
                queues.setdefault(held[name].uid, deque()).append(name)
            while excess > 0 and queues:
                most = max(queues, key=lambda uid: sums[uid])
                name = queues[most].popleft()
                if not queues[most]:
                    del queues[most]
                self._place(name).unlink(missing_ok=True)
                size = held.pop(name).size
                sums[most] -= size
                excess -= size


def _who_ran(take: Take) -> Owner | None:
    """Whose the directory is that the job started in: made for it, and not the job's to give away."""
    try:
        seen = _seen(WORKSPACE, take)
    except (Refused, tarfile.TarError):
        return None
    return Owner(seen.uid, seen.gid) if seen.isdir() else None


def _seen(place: str, take: Take) -> tarfile.TarInfo:
    """What is there, by itself."""
    with (
        take(place) as taken,
        tarfile.open(
            fileobj=Pieces(taken.pieces), mode="r|", encoding="utf-8", errors="surrogateescape"
        ) as archive,
    ):
        seen = archive.next()
    if seen is None:
        raise Refused(f"the Engine does not say what {place} is")
    return seen


def _is_within_any(place: str, trees: Sequence[str]) -> bool:
    return any(within(place, one) for one in trees)


def _may(owner: Owner | None, entry: tarfile.TarInfo, wanted: int) -> bool:
    """Whether the job's user may do that with it, as the kernel would say."""
    shift = 0
    if owner is not None:
        shift = 6 if entry.uid == owner.uid else 3 if entry.gid == owner.gid else 0
    return entry.mode >> shift & wanted == wanted


@dataclass(slots=True)
class _Writing:
    """A tar that is being written."""

    file: IO[bytes]
    left: int  # bytes that may still be written
    owner: Owner | None  # who the job ran as; None: nobody knows
    seen: int = 0
    entries: int = 0
    files: int = 0
    size: int = 0
    odd: dict[str, list[str]] = field(default_factory=dict)  # what was left out first, by why
    counts: Counter[str] = field(default_factory=Counter)  # how many there were
    missing: list[str] = field(default_factory=list)

    def add(self, number: int, path: str, take: Take) -> None:
        """What is at that path."""
        try:
            self._see_the_way(place_of(path), take)
            with take(place_of(path)) as taken:
                self._copy(str(number), path, taken)
        except _Full:
            self.missing.append(
                f"{path}: it is more than is brought back, what came first is there"
            )
        except (Refused, tarfile.TarError) as error:
            self.missing.append(f"{path}: {error}")

    def end(self) -> None:
        """Nothing follows."""
        self._write(b"\0" * 2 * tarfile.BLOCKSIZE)

    @property
    def results(self) -> Results:
        """What came of it."""
        told = [*self.missing]
        for why, names in self.odd.items():
            count = self.counts[why] - len(names)
            told.append(f"{', '.join(names)}{f' and {count} more' if count else ''}: {why}")
        if len(told) > TOLD:
            told[TOLD:] = [f"{len(told) - TOLD} further reasons are not told"]
        return Results(self.files, self.size, tuple(told))

    def _see_the_way(self, place: str, take: Take) -> None:
        """Private directories of a home, on the way to what is asked for, have to be the job's."""
        steps = [str(step) for step in reversed(PurePosixPath(place).parents)]
        for step in steps:
            private = step != HOME and within(step, HOME)
            if private and not _may(self.owner, _seen(step, take), ENTERS):
                raise Refused(f"{step} is not for the job to enter")

    def _copy(self, number: str, path: str, taken: Taken) -> None:
        stream = Pieces(taken.pieces)
        # (Errors=surrogateescape: a name is bytes.)
        with tarfile.open(
            fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape", bufsize=PIECE
        ) as archive:
            root: str | None = None
            shut: str | None = None  # a tar has a directory before what is in it
            for entry in archive:
                archive.members = []  # type: ignore[attr-defined]  # which it keeps, otherwise, for as long as it reads
                self.seen += 1
                if self.seen > SEEN_MAX:
                    raise _Full
                name = entry.name.strip("/")
                root = name.split("/")[0] if root is None else root
                rest = name.removeprefix(root).strip("/")
                if name != root and not name.startswith(f"{root}/"):
                    self._leave(entry, "it is not beneath what was asked for")
                elif _is_within_any(f"{taken.place}/{rest}".rstrip("/"), taken.mounted) or (
                    shut is not None and within(name, shut)
                ):
                    continue
                elif not entry.issym() and not _may(
                    self.owner, entry, READS | ENTERS if entry.isdir() else READS
                ):
                    shut = name
                    self._leave(entry, "it is not for the job to read")
                else:
                    self._entry(archive, entry, number, rest, root)
        for one in taken.mounted:
            self.missing.append(f"{path}: {one} is mounted there, and is no part of it")

    def _entry(
        self, archive: tarfile.TarFile, entry: tarfile.TarInfo, number: str, rest: str, root: str
    ) -> None:
        made = tarfile.TarInfo(f"{number}/{rest}" if rest else number)
        made.type, made.mode, made.mtime = entry.type, entry.mode & 0o777, int(entry.mtime)
        if entry.islnk():
            target = entry.linkname.strip("/")
            if target != root and not target.startswith(f"{root}/"):
                self._leave(
                    entry, "it is the same file as one that is not beneath what was asked for"
                )
                return
            inner = target.removeprefix(root).strip("/")
            made.linkname = f"{number}/{inner}" if inner else number
        elif entry.issym():
            made.linkname = entry.linkname
        elif entry.isreg():
            made.type, made.size = tarfile.REGTYPE, entry.size
        elif not entry.isdir():
            self._leave(entry, "no file, link or directory")
            return
        self.entries += 1
        if self.entries > FILES_MAX or made.size + 2 * tarfile.BLOCKSIZE > self.left:
            raise _Full
        self._write(made.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        if made.size:
            source = archive.extractfile(entry)
            assert source is not None
            while piece := source.read(PIECE):
                self._write(piece)
            self._write(b"\0" * (-made.size % tarfile.BLOCKSIZE))
        self.files += not entry.isdir()
        self.size += made.size

    def _write(self, data: bytes) -> None:
        self.left -= len(data)
        self.file.write(data)

    def _leave(self, entry: tarfile.TarInfo, why: str) -> None:
        names = self.odd.setdefault(why, [])
        self.counts[why] += 1
        if len(names) < NAMES:
            names.append(entry.name.encode("utf-8", "surrogateescape").decode(errors="replace"))
