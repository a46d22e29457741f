"""What people have sent for their jobs, on disk: content by its digest, for each user apart.

It is root's alone, and nothing here is ever handed out again but into a job of whoever sent it: naming
somebody else's digest finds nothing, since each user has a store of their own. What a job that has not ended
needs stays; of the rest goes what was used longest ago, where room is needed and after a week.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mayfly.core.quantities import whole_number
from mayfly.core.tree_manifest import DIGEST, BadManifest, TreeEntry, read_manifest
from mayfly.edge.faults import Passing, Refused
from mayfly.edge.room import room

PIECE = 256 * 1024
# What a file counts for at the least, in bytes: beside its room on the disk it is looked at to make room.
BLOCK = 16 * 1024
GRACE = 3600.0  # seconds in which what was just sent or used is not thrown away
DAY = 24 * 3600.0
WEEK = 7 * DAY
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
            f"{_told(size)} of {_told(self.most)} ({self.key}): wait for jobs to end"
        )


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
        self._swept = 0.0  # when it was last looked for what is old

    # -- what is sent ----------------------------------------------------------------------------

    def lacking(self, uid: int, digests: Iterable[str]) -> list[str]:
        """Those of them that are not here, each once; what is here counts as used now."""
        now = self._clock()
        return [one for one in dict.fromkeys(digests) if not self._used(self._blob(uid, one), now)]

    def keep(self, uid: int, content: Iterable[bytes], size: int) -> str:
        """Keep some content of so many bytes; its digest. ``TooMuch`` where there is no room."""
        if size > self.bounds.tree:
            raise TooMuch(
                f"that is {_told(size)}, and a job brings at most {_told(self.bounds.tree)} "
                "(host.workspace_max)"
            )
        taken = max(size, BLOCK)
        self._take_room(uid, taken)
        try:
            return self._kept(uid, content, size, taken)
        except BaseException:
            self._give_back(uid, taken)
            raise

    def _kept(self, uid: int, content: Iterable[bytes], size: int, taken: int) -> str:
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
            if place.exists():
                self._give_back(uid, taken)
            Path(name).rename(place)
        except OSError as error:
            raise _unwritable(home, error) from error
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()
        return found.hexdigest()

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
                        f"the tree has more than {_told(self.bounds.tree)} (host.workspace_max)"
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
        """What is in a tree; ``Refused`` where it is not here or damaged."""
        try:
            yield from self._entries(uid, digest)
        except (BadManifest, Lacking, OSError) as error:
            raise Refused(f"the tree {digest[:12]} is not here any more: send it again") from error

    def content(self, uid: int, digest: str, size: int | None = None) -> Iterator[bytes]:
        """Some content in pieces; ``Refused`` where it is not here, or not what its digest says."""
        found, read = hashlib.sha256(), 0
        try:
            with self._blob(uid, digest).open("rb") as file:
                while piece := file.read(PIECE):
                    read += len(piece)
                    if size is not None and read > size:
                        break
                    found.update(piece)
                    yield piece
        except OSError as error:
            raise Refused(f"{digest[:12]} is not here any more: send it again") from error
        if found.hexdigest() != digest or (size is not None and read != size):
            with suppress(OSError):
                self._blob(uid, digest).unlink()
            raise Refused(f"{digest[:12]} is damaged on this disk: send it again")

    def size(self, uid: int, digest: str) -> int:
        """How many bytes some content has; ``Refused`` where it is not here."""
        try:
            return self._blob(uid, digest).stat().st_size
        except OSError as error:
            raise Refused(f"{digest[:12]} is not here any more: send it again") from error

    # -- room ------------------------------------------------------------------------------------

    def _take_room(self, uid: int, size: int) -> None:
        self._throw_old_away()
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
                if again.whose == short.whose:
                    self._throw_away(short.whose, again.over)

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
                raise TooMuch(f"the disk of the manager has no room for {_told(size)}: {seen.text}")
            sizes[uid] = sizes.get(uid, 0) + size
            return None

    @contextmanager
    def _alone(self, whose: int | None) -> Iterator[None]:
        """Make room among one user's, or everybody's, while nobody else does: nobody else waits for it."""
        with self._making_ended:
            self._making_ended.wait_for(lambda: whose not in self._making)
            self._making.add(whose)
        try:
            yield
        finally:
            with self._making_ended:
                self._making.discard(whose)
                self._making_ended.notify_all()

    def _throw_old_away(self) -> None:
        with self._lock:
            now = self._clock()
            due = now - self._swept > DAY
            self._swept = now if due else self._swept
        if due:
            self._throw_away(None, 0, older=now - WEEK)

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
                self._sizes[uid] = sum(taken for _, taken, _ in self._blobs(uid))
        return self._sizes

    def _throw_away(self, whose: int | None, wanted: int, older: float | None = None) -> None:
        """Throw away so many bytes (of everybody's, or one user's), what was used longest ago first, or all
        that is ``older``. A tree of which something has gone is none any more.
        """
        bound = self._clock() - GRACE if older is None else older
        users = [whose] if whose is not None else self._users()
        needed = self._needed(users)
        found = sorted(
            (used, taken, place, one)
            for one, theirs in needed.items()
            for used, taken, place in self._blobs(one)
            if used < bound and place.name not in theirs
        )
        gone, last = 0, {}
        for used, taken, place, one in found:
            if older is None and gone >= wanted:
                break
            with suppress(FileNotFoundError):
                if place.stat().st_mtime != used:  # somebody has just asked for it
                    continue
                place.unlink()
                gone += taken
                self._give_back(one, taken)
                last[one] = used
        for one, used in last.items():
            for mark in (self._home(one) / "trees").glob("*"):
                with suppress(FileNotFoundError):
                    if mark.name not in needed[one] and mark.stat().st_mtime <= used:
                        mark.unlink()

    def _needed(self, users: Iterable[int]) -> dict[int, set[str]]:
        """What open jobs of these users need: their trees, and all that is in them. Whose trees have more in
        them than is read is left out: nothing of theirs may be thrown away.
        """
        found: dict[int, set[str]] = {uid: set() for uid in users}
        left = dict.fromkeys(found, self.bounds.entries)
        for uid, digest in dict.fromkeys(self._held()):
            if uid not in found:
                continue
            found[uid].add(digest)
            if not self._mark(uid, digest).exists():
                continue
            with suppress(BadManifest, Refused, OSError):
                for entry in self._entries(uid, digest):
                    left[uid] -= 1
                    if left[uid] < 0:
                        del found[uid]
                        break
                    found[uid].add(entry.digest)
        return found

    # -- places ----------------------------------------------------------------------------------

    def _users(self) -> list[int]:
        with suppress(FileNotFoundError):
            named = (whole_number(one.name) for one in os.scandir(self._directory))
            return [uid for uid in named if uid is not None]
        return []

    def _blobs(self, uid: int) -> Iterator[tuple[float, int, Path]]:
        """When each was last used, the bytes that it takes, and where it is."""
        for place in self._home(uid).glob("[0-9a-f][0-9a-f]/*"):
            with suppress(FileNotFoundError):
                seen = place.stat()
                yield seen.st_mtime, max(seen.st_size, BLOCK), place

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


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(64 * 1024):
        yield line


def _is_digest(text: str) -> bool:
    return DIGEST.fullmatch(text) is not None


def _told(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}".replace(".0 ", " ")
    return f"{size} bytes"


def _unwritable(place: Path, error: OSError) -> Passing:
    return Passing(f"{place} cannot be written: {error.strerror or error}")
