"""Results put on the user's disk: a tar of what a job has made, so every name in it is a stranger's.

Nothing is written outside the places that the user named, through no link, over nothing but files, and not
beneath ``.git``, from where git runs programs.
Links come only where they lead to something beside them; devices and the like do not come; set-user-id and
its like are left off. What is not written is told.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mayfly.cli.plain import clean
from mayfly.core.tree_manifest import is_name_in_tree
from mayfly.edge.pieces import Pieces

ENTRIES_MAX = 200_000
PIECE = 256 * 1024
NEW = ".mayfly-new"
GIT = ".git"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Odd(Exception):
    """Why one entry is not written, in a few words."""


@dataclass(slots=True)
class Unpacked:
    """What came of it."""

    files: int = 0
    left_out: list[str] = field(default_factory=list)  # sentences


def unpack(pieces: Iterator[bytes], places: Mapping[str, Path], most: int) -> Unpacked:
    """Write what is in the tar: an entry ``N/REST`` beneath the place that ``N`` has, ``N`` itself there.

    ``most``: bytes of all files. ``tarfile.TarError`` where it is no tar, or ends early.
    """
    found, left, of_git = Unpacked(), most, 0
    with tarfile.open(
        fileobj=Pieces(pieces), mode="r|", encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for number, entry in enumerate(archive):
            archive.members = []  # type: ignore[attr-defined]  # which it keeps, otherwise
            left -= entry.size
            if number >= ENTRIES_MAX or left < 0:
                found.left_out.append("the rest: it is more than was told")
                break
            if _is_of_git(entry.name, places):
                of_git += 1
                continue
            try:
                _place(archive, entry, places)
            except _Odd as odd:
                found.left_out.append(f"{_told(entry.name, places)}: {odd}")
            except OSError as error:
                why = error.strerror or error
                found.left_out.append(f"{_told(entry.name, places)}: {why}")
            else:
                found.files += not entry.isdir()
    if of_git:
        found.left_out.append(f"{of_git} of them beneath {GIT}: git runs what is there")
    return found


def _is_of_git(name: str, places: Mapping[str, Path]) -> bool:
    number, _, rest = name.partition("/")
    place = places[number].parts if number in places else ()
    return any(part.casefold() == GIT for part in (*place, *rest.split("/")))


def _told(name: str, places: Mapping[str, Path]) -> str:
    """An entry by where it would be."""
    number, _, rest = name.partition("/")
    place = os.fspath(places[number] / rest) if number in places else name
    return clean(place.encode("utf-8", "surrogateescape").decode(errors="replace"))


def _place(archive: tarfile.TarFile, entry: tarfile.TarInfo, places: Mapping[str, Path]) -> None:
    number, _, rest = entry.name.partition("/")
    if number not in places or (rest and not is_name_in_tree(rest)):
        raise _Odd("its name leads elsewhere")
    top = places[number]
    if not rest:
        _place_itself(archive, entry, top)
        return
    *parents, name = rest.split("/")
    with _entered(top, parents) as folder:
        if entry.isdir():
            _make_directory(folder, name)
        elif entry.issym():
            _make_link(folder, name, entry.linkname, len(parents))
        elif entry.isreg():
            _write(archive.extractfile(entry), folder, name, entry.mode)
        elif entry.islnk():
            with _linked(entry, number, top) as source:
                _write(source, folder, name, entry.mode)
        else:
            raise _Odd("no file, link or directory")


def _place_itself(archive: tarfile.TarFile, entry: tarfile.TarInfo, top: Path) -> None:
    """What was asked for is one file, or the directory that the rest is in."""
    if entry.isdir():
        top.mkdir(parents=True, exist_ok=True)
        return
    if not entry.isreg():
        raise _Odd("no file or directory")
    top.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(top.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _write(archive.extractfile(entry), folder, top.name, entry.mode)
    finally:
        os.close(folder)


@contextmanager
def _entered(top: Path, parents: list[str]) -> Iterator[int]:
    """The directory beneath the user's own place, made where it is not there; no link is followed."""
    top.mkdir(parents=True, exist_ok=True)
    folder = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in parents:
            _make_directory(folder, name)
            inner = os.open(name, _DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _make_directory(folder: int, name: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o777, dir_fd=folder)
    try:
        os.close(os.open(name, _DIRECTORY, dir_fd=folder))
    except OSError as error:
        raise _Odd("something else than a directory is there") from error


def _make_link(folder: int, name: str, target: str, depth: int) -> None:
    """A link that leads to something beside it, beneath what was asked for: up first, and then down."""
    parts = target.split("/")
    up = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    down = [part for part in parts[up:] if part not in ("", ".")]
    if target.startswith("/") or up > depth or ".." in down or "\0" in target:
        raise _Odd("it is a link that leads elsewhere")
    new = f"{name[:200]}{NEW}"
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    os.symlink(target, new, dir_fd=folder)
    _put(folder, new, name)


def _write(source: IO[bytes] | None, folder: int, name: str, mode: int) -> None:
    """A file, whole or not at all; what is there under its name is replaced, not written through."""
    assert source is not None
    new = f"{name[:200]}{NEW}"
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(new, flags, 0o777 if mode & 0o100 else 0o666, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as writing:
            while piece := source.read(PIECE):
                writing.write(piece)
        _put(folder, new, name)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise


def _put(folder: int, new: str, name: str) -> None:
    try:
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise _Odd("a directory is there") from error


@contextmanager
def _linked(entry: tarfile.TarInfo, number: str, top: Path) -> Iterator[IO[bytes]]:
    """The file that it is the same as, which came before."""
    same, _, rest = entry.linkname.partition("/")
    if same != number or not is_name_in_tree(rest):
        raise _Odd("it is the same as something elsewhere")
    *parents, name = rest.split("/")
    with _entered(top, parents) as folder:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
            yield file
