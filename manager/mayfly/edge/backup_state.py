"""The state directory as a backup takes it and a restore puts it: each entry by what it is to a backup.

The databases of it are ``history_backup``'s. Nothing here decides what is wanted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.backup import KEPT_ASIDE, PARTS, Part, part_of
from mayfly.edge.faults import Refused
from mayfly.edge.history_file import FILE_NAME

MACHINE = Path("/etc/machine-id")
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
UNFINISHED = ".restore-unfinished"  # there while a restore changes the directory
WORKING = ".mayfly-backup-"  # what the directory begins with in which one is made


def machine() -> str:
    """Which machine this is, told to nobody who does not know it; "": it has no id (machine-id(5))."""
    try:
        text = MACHINE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(f"mayfly backup {text}".encode()).hexdigest()[:32] if text else ""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of the state directory."""

    name: str  # beneath it
    place: Path
    part: Part


def files(state_dir: Path, users: Collection[int], providers: Collection[str]) -> Iterator[Found]:
    """All that is to be copied as it stands, and what no Mayfly of this version makes: as ``OF_THE_BOX``.

    ``users``: whose content is needed; ``providers``: names of those that may keep what services gave. An
    entry of it that is a link was put on another disk by an operator, and is followed; no other is.
    """
    for link in sorted(state_dir.iterdir()):
        part, entry = part_of(link.name, providers), link.resolve() if link.is_symlink() else link
        if part is None:
            yield Found(link.name, link, Part.OF_THE_BOX)
        elif part is Part.NEEDED:
            for uid in sorted(users):
                yield from _beneath(entry / str(uid), f"{link.name}/{uid}", part)
        elif part in (Part.FILES, Part.BULK, Part.TOKENS):
            yield from _beneath(entry, link.name, part)


def _beneath(place: Path, name: str, part: Part) -> Iterator[Found]:
    if place.is_symlink():
        return
    if place.is_dir():
        with suppress(FileNotFoundError):
            for inner in sorted(place.iterdir()):
                yield from _beneath(inner, f"{name}/{inner.name}", part)
    elif place.is_file() and not place.name.endswith((".new", ".lock")):
        yield Found(name, place, part)


def databases(state_dir: Path) -> list[str]:
    """Those beside the history."""
    return [
        name
        for name, part in PARTS.items()
        if part is Part.DATABASE and name != FILE_NAME and (state_dir / name).exists()
    ]


@contextmanager
def working(beside: Path) -> Iterator[Path]:
    """A directory of root's for what a backup is made in, gone afterwards; what one that was killed has left
    there goes too. ``OSError`` where there can be none.
    """
    for left in beside.glob(f"{WORKING}*"):
        _sweep(left)
    folder, held = _made(beside)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _made(beside: Path) -> tuple[Path, int]:
    """A new directory that is held: one that begins at the same time may sweep it away before it is."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=WORKING, dir=beside))
        with suppress(FileNotFoundError):
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():
                return folder, held
            os.close(held)


def is_safe(beside: Path) -> bool:
    """Whether databases may be copied to a directory there: nobody else may put a link in its place, which
    SQLite would follow.
    """
    found = beside.stat()
    is_ours = found.st_uid in (0, os.geteuid())
    is_open = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    return is_ours and not is_open


def place(new: Path, target: Path, link: Callable[[Path, Path], None] = os.link) -> None:
    """Give a whole file its name, which must be free: ``FileExistsError`` otherwise."""
    try:
        link(new, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # A disk without hard links, such as a stick with FAT.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        new.replace(target)


def _sweep(left: Path) -> None:
    try:
        if left.is_symlink() or left.stat().st_uid != os.geteuid():
            return
        held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # somebody works in it
    else:
        shutil.rmtree(left, ignore_errors=True)
    finally:
        os.close(held)


def aside(state_dir: Path, names: list[str], to: str) -> Path:
    """Put entries of the state directory aside, the history first; the directory that has them."""
    folder = state_dir / to
    folder.mkdir(mode=0o700)
    for name in sorted(names, key=lambda one: (not one.startswith(FILE_NAME), one)):
        (state_dir / name).rename(folder / name)
    return folder


def begin_changing(state_dir: Path) -> None:
    """From now on no manager starts, which would begin an empty state, until what is restored is in place."""
    (state_dir / UNFINISHED).touch(mode=0o600)
    _sync(state_dir)


def refuse_unfinished(state_dir: Path) -> None:
    """``Refused`` where a restore was broken off while it changed the directory."""
    marker = state_dir / UNFINISHED
    if marker.exists():
        raise Refused(
            f"a restore of {state_dir} was broken off: restore again (mayfly restore FILE), or move what is "
            f"in the newest {state_dir}/{KEPT_ASIDE}… back and remove {marker}"
        )


def put_in_place(staged: Path, state_dir: Path) -> None:
    """Move what was unpacked into its place, the history last: until that is there nothing is restored."""
    for entry in sorted(staged.iterdir(), key=lambda one: (one.name == FILE_NAME, one.name)):
        entry.rename(state_dir / entry.name)
    _sync(state_dir)
    (state_dir / UNFINISHED).unlink()
    _sync(state_dir)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
