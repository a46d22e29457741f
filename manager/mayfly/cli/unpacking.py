"""Results put on the user's disk: a tar of what a job has made, so every name in it is a stranger's.

Nothing is written outside the places that the user named, through no link, over nothing but files, and not
beneath ``.git``, from where git runs programs.
Links come only where they lead to something beside them; devices and the like do not come; set-user-id and
its like are left off. What is not written is told.
"""

from __future__ import annotations

import os
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from mayfly.core.plain_text import clean
from mayfly.core.tree_manifest import is_name_in_tree
from mayfly.edge.pieces import PIECE, Pieces

ENTRIES_MAX = 200_000
HEADER_MAX = 64 * 1024  # bytes of a name that is too long for an entry's own head
NEW = ".mayfly-new"  # what a file is called until all of it is there, behind a number by chance
GIT = ".git"
HEADS = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Odd(Exception):
    """Why one entry is not written, in a few words."""


class _Entry(tarfile.TarInfo):
    """An entry whose head is no longer than a name may be: a library would read it all into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The entry that begins with this block."""
        found = super().frombuf(buf, encoding, errors)
        if found.type == tarfile.GNUTYPE_SPARSE or found.size < 0:
            raise tarfile.ReadError("it has an entry of a kind that no results have")
        if found.type in HEADS and found.size > HEADER_MAX:
            raise tarfile.ReadError("it has an entry whose head has no end")
        return found


@dataclass(slots=True)
class Unpacked:
    """What came of it."""

    files: int = 0
    left_out: list[str] = field(default_factory=list)  # sentences


def unpack(
    pieces: Iterator[bytes], places: Mapping[str, Path], most: int, told: str = "was told"
) -> Unpacked:
    """Write what is in the tar: an entry ``N/REST`` beneath the place that ``N`` has, ``N`` itself there.

    ``most``: bytes of all files, which is what ``told`` says. ``tarfile.TarError`` where it is no tar, or
    ends early: what came before that stays written.
    """
    found, left, of_git = Unpacked(), most, 0
    written: set[str] = set()  # names of files, which others may be the same as
    with tarfile.open(
        fileobj=Pieces(pieces),
        mode="r|",
        tarinfo=_Entry,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        for number, entry in enumerate(archive):
            archive.members = []  # type: ignore[attr-defined]  # which it keeps, otherwise
            left -= entry.size
            if number >= ENTRIES_MAX or left < 0:
                found.left_out.append(f"the rest: it is more than {told}")
                break
            if _is_of_git(entry.name, places):
                of_git += 1
                continue
            try:
                _place(archive, entry, places, written)
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


def _place(
    archive: tarfile.TarFile,
    entry: tarfile.TarInfo,
    places: Mapping[str, Path],
    written: set[str],
) -> None:
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
            written.discard(entry.name)
        elif entry.isreg():
            _write(archive.extractfile(entry), folder, name, entry.mode)
            written.add(entry.name)
        elif entry.islnk():
            if entry.linkname not in written or not entry.linkname.startswith(f"{number}/"):
                raise _Odd("it is the same as something elsewhere")
            _make_same(entry.linkname.split("/")[1:], top, folder, name)
            written.add(entry.name)
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
    new = _new()
    os.symlink(target, new, dir_fd=folder)
    _put(folder, new, name)


def _write(source: IO[bytes] | None, folder: int, name: str, mode: int) -> None:
    """A file, whole or not at all; what is there under its name is replaced, not written through."""
    assert source is not None
    new = _new()
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


def _make_same(source: list[str], top: Path, folder: int, name: str) -> None:
    """One more name of a file that was written before it: no further bytes, however many names it has."""
    *parents, old = source
    new = _new()
    with _entered(top, parents) as other:
        os.link(old, new, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)
    _put(folder, new, name)
    with suppress(FileNotFoundError):  # a rename from one name of a file to another leaves both
        os.unlink(new, dir_fd=folder)


def _new() -> str:
    return f".{secrets.token_hex(8)}{NEW}"


def _put(folder: int, new: str, name: str) -> None:
    try:
        os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        with suppress(OSError):
            os.unlink(new, dir_fd=folder)
        raise _Odd("a directory is there") from error
