"""What people have sent for their jobs, on disk: content by its digest, for each user apart.

It is root's alone, and nothing here is ever handed out again but into a job of whoever sent it: naming
somebody else's digest finds nothing, since each user has a store of their own. What a job that has not ended
needs stays; of the rest goes what was used longest ago, where room is needed, and what nobody has used for a
week, which ``throw_old_away`` looks for.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mayfly.core.quantities import spoken_size, whole_number
from mayfly.core.tree_manifest import DIGEST, BadManifest, TreeEntry, read_manifest
from mayfly.core.workspace import Unbrought
from mayfly.edge.faults import Fault, Passing, Refused, Unbringable
from mayfly.edge.pieces import PIECE
from mayfly.edge.room import room

# What a file counts for at the least, in bytes: beside its room on the disk it is looked at to make room.
BLOCK = 16 * 1024
GRACE = 3600.0  # seconds in which what was just sent or used is not thrown away
WEEK = 7 * 24 * 3600.0
SHARE = 10  # where room is made, at least this part of what may be kept
REST = 30.0  # seconds in which room is not looked for again where there was too little
PATIENCE = 10.0  # seconds that one waits while somebody else makes room
MANIFEST_MAX = 64 * 1024 * 1024

Held = Callable[[], Iterable[tuple[int, str]]]  # (uid, digest) of what open jobs need


@dataclass(frozen=True, slots=True)
class Bounds:
    """In bytes."""

    tree: int  # what one job brings
    user: int  # all that is kept of one user
    total: int  # all that is kept
    # how many names in the trees of one user's open jobs are read to see what they need
    entries: int = 500_000


@dataclass(frozen=True, slots=True)
class TreeFacts:
    """A tree that is whole here."""

    digest: str
    files: int
    size: int  # bytes of all files


class Lacking(Refused):
    """Something of a tree is not here: it is to be sent first."""


class TooMuch(Refused):
    """There is no room for it."""


class Busy(Passing):
    """Room is being made, which takes long."""


@dataclass(frozen=True, slots=True)
class _Short:
    """What there is no room for."""

    whose: int | None  # that user's; None: everybody's
    over: int  # bytes
    most: int
    key: str

    def told(self, size: int) -> TooMuch:
        who = "you" if self.whose is not None else "all users together"
        return TooMuch(
            f"what {who} sent and jobs need, or was used within the hour, leaves no room for "
            f"{spoken_size(size)} of {spoken_size(self.most)} ({self.key}): wait for jobs to end"
        )


class _Blob(NamedTuple):
    """Some content that is kept."""

    used: float  # when it was used last
    uid: int
    digest: str
    taken: int  # bytes that it counts for


class Workspaces:
    """To be used from any thread."""

    def __init__(
        self, directory: Path, bounds: Bounds, held: Held, clock: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self.bounds = bounds
        self._held = held
        self._clock = clock
        # docs/adr/0024: the count of what is kept, and among whose room is being made
        self._lock = threading.Lock()
        self._making_ended = threading.Condition(self._lock)
        self._making: set[int | None] = set()
        self._sizes: dict[int, int] | None = None  # by user; None: not counted yet
        self._in_vain: dict[int | None, float] = {}  # when too little room was found among whose

    # -- what is sent ----------------------------------------------------------------------------

    def lacking(self, uid: int, digests: Iterable[str]) -> list[str]:
        """Those of them that are not here, each once; what is here counts as used now."""
        now = self._clock()
        return [one for one in dict.fromkeys(digests) if not self._used(self._blob(uid, one), now)]

    def keep(self, uid: int, content: Iterable[bytes], size: int) -> str:
        """Keep some content of so many bytes; its digest. ``TooMuch`` where there is no room, ``Busy`` where
        it takes long to make some.
        """
        return self.keep_all(uid, ((size, content),), 0)[0]

    def keep_all(
        self, uid: int, contents: Iterable[tuple[int, Iterable[bytes]]], size: int
    ) -> list[str]:
        """Keep contents, each after its size in bytes; their digests. Room for ``size`` bytes is taken before
        the first, and for each what it takes beyond that. Errors as of ``keep``; what came before is kept.
        """
        self._take_room(uid, size)
        digests, spare = [], size
        try:
            for length, content in contents:
                self._see_bound(length)
                taken = max(length, BLOCK)
                if taken > spare:
                    self._take_room(uid, taken - spare)
                    spare = taken
                digest, before = self._kept(uid, content, length)
                digests.append(digest)
                spare += before - taken
        finally:
            self._give_back(uid, spare)
        return digests

    def _see_bound(self, size: int) -> None:
        if size > self.bounds.tree:
            raise TooMuch(
                f"that is {spoken_size(size)}, and a job brings at most {spoken_size(self.bounds.tree)} "
                "(host.workspace_max)"
            )

    def _kept(self, uid: int, content: Iterable[bytes], size: int) -> tuple[str, int]:
        """The digest, and for how much of it there was room taken before: it may be here already."""
        home = self._home(uid)
        found, written = hashlib.sha256(), 0
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            home.mkdir(mode=0o700, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=home, prefix="new-")
        except OSError as error:
            raise _unwritable(home, error) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                for piece in content:
                    written += len(piece)
                    found.update(piece)
                    file.write(piece)
            now = self._clock()
            os.utime(name, (now, now))
            if written != size:
                raise Refused("what was sent ended before it was whole")
            place = self._blob(uid, found.hexdigest())
            place.parent.mkdir(mode=0o700, exist_ok=True)
            with self._lock:
                before = max(place.stat().st_size, BLOCK) if place.exists() else 0
                Path(name).rename(place)
        except OSError as error:
            raise _unwritable(home, error) from error
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()
        return found.hexdigest(), before

    def register(self, uid: int, digest: str) -> TreeFacts:
        """See that the tree of that list is whole here, and keep it as one that jobs may bring.

        ``Lacking`` where something of it is not here, ``Refused`` where it is no such list or is too large.
        """
        now = self._clock()
        files = size = 0
        try:
            for entry in self._entries(uid, digest):
                if entry.kind != "file":
                    continue
                files, size = files + 1, size + entry.size
                if size > self.bounds.tree:
                    raise TooMuch(
                        f"the tree has more than {spoken_size(self.bounds.tree)} (host.workspace_max)"
                    )
                place = self._blob(uid, entry.digest)
                if not self._used(place, now) or place.stat().st_size != entry.size:
                    raise Lacking(f"{entry.digest} is not here")
        except BadManifest as error:
            raise Refused(f"{digest} is no list of a tree: {error}") from error
        except FileNotFoundError as error:
            raise Lacking("something of the tree is not here any more") from error
        self._used(self._blob(uid, digest), now)
        mark = self._mark(uid, digest)
        try:
            mark.parent.mkdir(mode=0o700, exist_ok=True)
            mark.touch(mode=0o600)
            os.utime(mark, (now, now))
        except OSError as error:
            raise _unwritable(mark, error) from error
        return TreeFacts(digest, files, size)

    # -- what jobs bring -------------------------------------------------------------------------

    def has_tree(self, uid: int, digest: str) -> bool:
        """Whether a tree of that user is whole here: its content was used when it was registered last."""
        return _is_digest(digest) and self._mark(uid, digest).exists()

    def has_content(self, uid: int, digest: str) -> bool:
        """Whether some content of that user is here; it counts as used now."""
        return _is_digest(digest) and self._used(self._blob(uid, digest), self._clock())

    def unsent(self, uid: int, tree: str | None, content: str | None) -> tuple[str, ...]:
        """Those of them that are not here."""
        found = [tree] if tree is not None and not self.has_tree(uid, tree) else []
        found += [content] if content is not None and not self.has_content(uid, content) else []
        return tuple(found)

    def entries(self, uid: int, digest: str) -> Iterator[TreeEntry]:
        """What is in a tree; ``Unbringable`` where it is not here or damaged, else ``Passing``."""
        try:
            yield from self._entries(uid, digest)
        except OSError as error:
            raise _unread(f"the tree {digest[:12]}", error) from error
        except Lacking as error:
            raise _not_kept(f"the tree {digest[:12]}") from error
        except BadManifest as error:
            raise _damaged(f"the tree {digest[:12]}") from error

    def content(self, uid: int, digest: str, size: int | None = None) -> Iterator[bytes]:
        """Some content in pieces; ``Unbringable`` where it is not here, or not what its digest says;
        ``Passing`` where it cannot be read.
        """
        found, read = hashlib.sha256(), 0
        try:
            with self._blob(uid, digest).open("rb") as file:
                opened = os.fstat(file.fileno())
                while piece := file.read(PIECE):
                    read += len(piece)
                    if size is not None and read > size:
                        break
                    found.update(piece)
                    yield piece
        except OSError as error:
            raise _unread(digest[:12], error) from error
        if found.hexdigest() != digest or (size is not None and read != size):
            self._drop(uid, digest, inode=opened.st_ino)
            raise _damaged(digest[:12])

    def size(self, uid: int, digest: str) -> int:
        """How many bytes some content has; ``Unbringable`` where it is not here, else ``Passing``."""
        try:
            return self._blob(uid, digest).stat().st_size
        except OSError as error:
            raise _unread(digest[:12], error) from error

    # -- room ------------------------------------------------------------------------------------

    def _take_room(self, uid: int, size: int) -> None:
        made: set[int | None] = set()
        while (short := self._taken(uid, size)) is not None:
            if short.whose in made:
                raise short.told(size)
            made.add(short.whose)
            with self._alone(short.whose):
                # Whoever did it before may have made room for both.
                again = self._taken(uid, size)
                if again is None:
                    return
                if again.whose == short.whose and not self._was_in_vain(short.whose):
                    self._make_room(again)

    def _taken(self, uid: int, size: int) -> _Short | None:
        """Take room where there is; what is short where there is not."""
        with self._lock:
            sizes = self._count()
            for whose, most, key in (
                (uid, self.bounds.user, "host.workspaces_per_user"),
                (None, self.bounds.total, "host.workspaces_total"),
            ):
                over = self._held_by(whose, sizes) + size - most
                if over > 0:
                    return _Short(whose, over, most, key)
            seen = room(self._directory)
            if seen is not None and seen.free - size < min(seen.total // 20, 1 << 30):
                raise TooMuch(
                    f"the disk of the manager has no room for {spoken_size(size)}: {seen.text}"
                )
            sizes[uid] = sizes.get(uid, 0) + size
            return None

    @contextmanager
    def _alone(self, whose: int | None) -> Iterator[None]:
        """Make room among one user's, or everybody's, while nobody else does: nobody else waits for it."""
        with self._making_ended:
            if not self._making_ended.wait_for(lambda: whose not in self._making, PATIENCE):
                raise Busy("room is being made for what others send: send it again")
            self._making.add(whose)
        try:
            yield
        finally:
            with self._making_ended:
                self._making.discard(whose)
                self._making_ended.notify_all()

    def _give_back(self, uid: int, size: int) -> None:
        with self._lock:
            sizes = self._count()
            sizes[uid] = max(0, sizes.get(uid, 0) - size)

    @staticmethod
    def _held_by(uid: int | None, sizes: dict[int, int]) -> int:
        return sum(sizes.values()) if uid is None else sizes.get(uid, 0)

    def _count(self) -> dict[int, int]:
        """The bytes of each user, counted once; what a manager that was killed had not finished goes."""
        if self._sizes is None:
            self._sizes = {}
            for uid in self._users():
                for left in self._home(uid).glob("new-*"):
                    with suppress(OSError):
                        left.unlink()
                self._sizes[uid] = sum(one.taken for one in self._blobs(uid))
        return self._sizes

    def throw_old_away(self) -> None:
        """Throw away what nobody has used for a week and no job needs. It may take minutes."""
        users = self._users()
        held = self._held_by_jobs()
        for uid in users:
            self._throw_away(self._unneeded(uid, held, self._clock() - WEEK), held)

    def _make_room(self, short: _Short) -> None:
        """Throw away what was used longest ago, a share of all that may be kept at once: it has all to be
        looked at for that. Where that is not to be had it is not looked at again for a moment.
        """
        oldest = _Oldest(max(short.over, short.most // SHARE))
        held = self._held_by_jobs()
        for uid in [short.whose] if short.whose is not None else self._users():
            for one in self._unneeded(uid, held, self._clock() - GRACE):
                oldest.add(one)
        if self._throw_away(oldest.in_order(), held) < oldest.wanted:
            with self._lock:
                self._in_vain[short.whose] = self._clock()

    def _was_in_vain(self, whose: int | None) -> bool:
        with self._lock:
            at = self._in_vain.get(whose)
        return at is not None and 0 <= self._clock() - at < REST

    def _throw_away(self, those: Iterable[_Blob], held: Mapping[int, Collection[str]]) -> int:
        """Throw them away, but what somebody has asked for meanwhile; how many bytes went. A tree of which
        something has gone is none any more.
        """
        gone, last = 0, dict[int, float]()
        for one in those:
            freed = self._drop(one.uid, one.digest, used=one.used)
            gone += freed
            if freed:
                last[one.uid] = max(one.used, last.get(one.uid, one.used))
        for uid, used in last.items():
            for mark in (self._home(uid) / "trees").glob("*"):
                with suppress(OSError):
                    if mark.name not in held.get(uid, ()) and mark.stat().st_mtime <= used:
                        mark.unlink()
        return gone

    def _drop(
        self, uid: int, digest: str, *, inode: int | None = None, used: float | None = None
    ) -> int:
        """Unlink some content, only while it is that file and was not used since; the bytes that it took."""
        place = self._blob(uid, digest)
        with self._lock:
            sizes = self._count()
            try:
                there = place.stat()
                if inode not in (None, there.st_ino) or used not in (None, there.st_mtime):
                    return 0
                place.unlink()
            except OSError:
                return 0
            taken = max(there.st_size, BLOCK)
            sizes[uid] = max(0, sizes.get(uid, 0) - taken)
            return taken

    def _held_by_jobs(self) -> dict[int, set[str]]:
        """The trees and contents that open jobs name, by user."""
        found: dict[int, set[str]] = {}
        for uid, digest in self._held():
            found.setdefault(uid, set()).add(digest)
        return found

    def _unneeded(
        self, uid: int, held: Mapping[int, Collection[str]], bound: float
    ) -> Iterator[_Blob]:
        """What of that user was used before ``bound`` and no open job needs; nothing where the trees of those
        jobs have more in them than is read.
        """
        needed = self._needed(uid, held.get(uid, ()))
        if needed is None:
            return
        for one in self._blobs(uid):
            if one.used < bound and bytes.fromhex(one.digest) not in needed:
                yield one

    def _needed(self, uid: int, held: Collection[str]) -> set[bytes] | None:
        """The digests of all that is in those trees, and of themselves; ``None``: more than is read."""
        found = {bytes.fromhex(digest) for digest in held}
        left = self.bounds.entries
        for digest in held:
            if not self._mark(uid, digest).exists():
                continue
            with suppress(BadManifest, Refused, OSError):
                for entry in self._entries(uid, digest):
                    left -= 1
                    if left < 0:
                        return None
                    found.add(bytes.fromhex(entry.digest))
        return found

    # -- places ----------------------------------------------------------------------------------

    def _users(self) -> list[int]:
        with suppress(FileNotFoundError):
            named = (whole_number(one.name) for one in os.scandir(self._directory))
            return [uid for uid in named if uid is not None]
        return []

    def _blobs(self, uid: int) -> Iterator[_Blob]:
        for shelf in self._home(uid).glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError), os.scandir(shelf) as there:
                for one in there:
                    with suppress(OSError):
                        if _is_digest(one.name):
                            seen = one.stat(follow_symlinks=False)
                            taken = max(seen.st_size, BLOCK)
                            yield _Blob(seen.st_mtime, uid, one.name, taken)

    def _home(self, uid: int) -> Path:
        return self._directory / str(uid)

    def _blob(self, uid: int, digest: str) -> Path:
        return self._home(uid) / digest[:2] / digest

    def _mark(self, uid: int, digest: str) -> Path:
        return self._home(uid) / "trees" / digest

    @staticmethod
    def _used(place: Path, now: float) -> bool:
        try:
            os.utime(place, (now, now))
        except OSError:
            return False
        return True

    def _entries(self, uid: int, digest: str) -> Iterator[TreeEntry]:
        try:
            file = self._blob(uid, digest).open("rb")
        except FileNotFoundError as error:
            raise Lacking(f"{digest} is not here") from error
        with file:
            if os.fstat(file.fileno()).st_size > MANIFEST_MAX:
                raise BadManifest("it is longer than 64 MiB")
            yield from read_manifest(_lines(file))


class _Oldest:
    """Of what is added, what was used longest ago, as much as is wanted; the rest is not held."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted  # bytes
        self._size = 0
        self._found: list[tuple[float, _Blob]] = []  # a heap, what was used last foremost

    def add(self, blob: _Blob) -> None:
        """One more."""
        heapq.heappush(self._found, (-blob.used, blob))
        self._size += blob.taken
        while self._size - self._found[0][1].taken >= self.wanted:
            self._size -= heapq.heappop(self._found)[1].taken

    def in_order(self) -> list[_Blob]:
        """What was used longest ago first."""
        return sorted(blob for _, blob in self._found)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(64 * 1024):
        yield line


def _is_digest(text: str) -> bool:
    return DIGEST.fullmatch(text) is not None


def _unread(what: str, error: OSError) -> Fault:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _not_kept(what)
    return Passing(f"{what} cannot be read on this disk: {error.strerror}; look at the disk")


def _not_kept(what: str) -> Unbringable:
    return Unbringable(f"{what} is not here any more: send it again", Unbrought.NOT_KEPT)


def _damaged(what: str) -> Unbringable:
    return Unbringable(f"{what} is damaged on this disk: send it again", Unbrought.DAMAGED)


def _unwritable(place: Path, error: OSError) -> Passing:
    return Passing(f"{place} cannot be written: {error.strerror or error}")
