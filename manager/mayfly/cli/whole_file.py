"""Reading files of the configuration, and writing them whole or not at all: no manager reads half of one.

Every new file is on the disk before the first one is put in its place; where one cannot be put there, those
before it are put back.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mayfly.cli.trouble import Trouble

NO_MODES: Mapping[Path, int] = {}
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file that waits beside the place that it is for."""

    path: Path  # as it is called
    place: Path  # where it is
    new: Path
    # what stands there now, once more; None: nothing does
    old: Path | None


def text_of(path: Path) -> str | None:
    """What a file says; ``None`` where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}; try sudo") from error


def replace_file(path: Path, text: str) -> None:
    """Put the text in the file's place; it keeps the mode and the owner that it has."""
    replace_files({path: text})


def replace_files(texts: Mapping[Path, str], modes: Mapping[Path, int] = NO_MODES) -> None:
    """Put each text in its file's place, all of them or none; a link stays one, and its target is written.

    ``modes``: those that are not to be what the file has, or what is usual; one that is its owner's alone
    comes into a directory that is, where there is none yet. An interruption changes nothing either.
    """
    prepared: list[_Prepared] = []
    done: list[_Prepared] = []
    path = Path()
    try:
        for path, text in texts.items():
            prepared.append(_prepare(path, text.encode(), modes.get(path)))
        for one in prepared:
            path = one.path
            one.new.replace(one.place)
            done.append(one)
        for directory in {one.place.parent for one in prepared}:
            _sync(directory)
    except OSError as error:
        for one in reversed(done):
            _put_back(one)
        raise Trouble(f"{path} cannot be written: {error.strerror}{_hint(error)}") from error
    except BaseException:
        for one in reversed(done):
            _put_back(one)
        raise
    finally:
        for one in prepared:
            for left in (one.new, one.old):
                if left is not None:
                    with contextlib.suppress(OSError):
                        left.unlink()


def _hint(error: OSError) -> str:
    return "; try sudo" if isinstance(error, PermissionError) else "; nothing is changed"


def _prepare(path: Path, data: bytes, mode: int | None) -> _Prepared:
    place = Path(os.path.realpath(path))
    alone = mode is not None and not mode & 0o077
    place.parent.mkdir(mode=0o700 if alone else 0o755, parents=True, exist_ok=True)
    try:
        before = place.stat()
    except FileNotFoundError:
        return _Prepared(path, place, _written(place, data, None, mode), None)
    old = _written(place, place.read_bytes(), before, None)
    try:
        return _Prepared(path, place, _written(place, data, before, mode), old)
    except OSError:
        old.unlink()
        raise


def _written(place: Path, data: bytes, like: os.stat_result | None, mode: int | None) -> Path:
    """A new file beside that place, on the disk; never one that is there, or a link."""
    beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(beside, _NEW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if like is not None:
                os.fchown(descriptor, like.st_uid, like.st_gid)
                for name in os.listxattr(place):
                    with contextlib.suppress(OSError):  # not every one may be set
                        os.setxattr(descriptor, name, os.getxattr(place, name))
            usual = stat.S_IMODE(like.st_mode) if like is not None else 0o644
            os.fchmod(descriptor, usual if mode is None else mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        beside.unlink()
        raise
    return beside


def _put_back(one: _Prepared) -> None:
    with contextlib.suppress(OSError):  # the first error is the one that is told
        if one.old is None:
            one.place.unlink()
        else:
            one.old.replace(one.place)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
