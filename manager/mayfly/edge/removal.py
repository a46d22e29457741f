"""The removal of a tree that somebody hostile has left: whatever its depth, number, owners and modes.

Everything is named beneath a held directory, never by path, so that nothing above or beside the tree is
touched; no link is followed. The work of one call is bounded, and done with a few descriptors however deep
the tree is: the directories in a directory are moved to the top before it goes. What cannot be moved (its
owner may have given a directory another quota, or a key) is emptied where it is.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mayfly.edge.faults import Passing, Refused

ENTRIES = 20_000  # looked at by one call; well under a second's work
AGAIN = 1.0  # seconds until the next call
IN_PLACE = 64  # directories in one another that are emptied where they are, each with a descriptor

# Of linux/fs.h: a directory that hands its quota (project) on takes none that was made under another.
_FSGETXATTR, _FSSETXATTR = 0x801C581F, 0x401C5820
_ATTRIBUTES = struct.Struct("=IIIII8x")
_HANDED_ON = 0x200

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NAME = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path, entries: int = ENTRIES) -> None:
    """Remove the directory and all in it; gone already is success.

    ``Passing`` where it holds more than so many entries: the next call goes on. ``Refused`` where something
    in it cannot be removed, once all else is gone.
    """
    try:
        parent = os.open(path.parent, _DIRECTORY)
        try:
            _Removal(parent, path, entries).run()
        finally:
            os.close(parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"cannot remove {path}: {error.strerror}") from error


class _Removal:
    def __init__(self, parent: int, path: Path, entries: int) -> None:
        self._parent = parent
        self._path = path
        self._left = entries
        self._stuck: OSError | None = None
        self._moved = secrets.token_hex(8)  # begins a name that nothing in the tree has
        self._moves = 0

    def run(self) -> None:
        try:
            top = _entered(self._parent, self._path.name)
        except NotADirectoryError:
            os.unlink(self._path.name, dir_fd=self._parent)
            return
        try:
            _take_from_any_quota(top)
            while self._cleared(top):
                pass
        finally:
            os.close(top)
        if self._stuck is not None:
            raise Refused(f"cannot remove what is in {self._path}: {self._stuck.strerror}")
        os.rmdir(self._path.name, dir_fd=self._parent)

    def _cleared(self, top: int) -> bool:
        """Remove what is in the top directory, once; whether anything came up from below meanwhile."""
        came = False
        with os.scandir(top) as entries:
            for entry in entries:
                self._spend()
                if not entry.is_dir(follow_symlinks=False):
                    self._try(os.unlink, entry.name, top)
                elif self._emptied(top, entry.name):
                    came = True
        return came

    def _emptied(self, top: int, name: str, place: int | None = None, depth: int = 0) -> bool:
        """Remove a directory of that place (``None``: the top); whether it had others in it, which are in the
        top now.
        """
        came = False
        place = top if place is None else place
        try:
            below = _entered(place, name)
        except OSError as error:
            self._stuck = error
            return False
        try:
            with os.scandir(below) as entries:
                for entry in entries:
                    self._spend()
                    if not entry.is_dir(follow_symlinks=False):
                        self._try(os.unlink, entry.name, below)
                    elif self._raised(below, entry.name, top):
                        came = True
                    elif depth < IN_PLACE:
                        came |= self._emptied(top, entry.name, below, depth + 1)
        finally:
            os.close(below)
        self._try(os.rmdir, name, place)
        return came

    def _raised(self, below: int, name: str, top: int) -> bool:
        """Move a directory from below into the top; it has to be ours to write in for that."""
        self._moves += 1
        up = f"{self._moved}.{self._moves}"
        try:
            os.close(_entered(below, name))
            os.rename(name, up, src_dir_fd=below, dst_dir_fd=top)
        except OSError:
            return False
        return True

    def _try(self, remove: Callable[..., None], name: str, place: int) -> None:
        try:
            remove(name, dir_fd=place)
        except FileNotFoundError:
            return
        except OSError as error:
            self._stuck = error

    def _spend(self) -> None:
        if self._left == 0:
            raise Passing(f"{self._path} holds more than is removed at once; it goes on", AGAIN)
        self._left -= 1


def _take_from_any_quota(top: int) -> None:
    """Let directories be moved there whatever quota they were made under."""
    with suppress(OSError):  # most disks know of none
        told = fcntl.ioctl(top, _FSGETXATTR, bytes(_ATTRIBUTES.size))
        flags, *rest = _ATTRIBUTES.unpack(told)
        if flags & _HANDED_ON:
            fcntl.ioctl(top, _FSSETXATTR, _ATTRIBUTES.pack(flags & ~_HANDED_ON, *rest))


def _entered(place: int, name: str) -> int:
    """A descriptor of that directory, which may be read, searched and written in from now on.

    Somebody else's is opened to everybody, since Mayfly may be no more there than they; what is above keeps
    all others out. Its access list goes, which may name us.
    """
    there = os.open(name, _NAME, dir_fd=place)
    try:
        within = f"/proc/self/fd/{there}"
        mode = 0o700 if os.fstat(there).st_uid == os.geteuid() else 0o777
        with suppress(OSError):  # most have none, and some disks know of none
            os.removexattr(within, "system.posix_acl_access")
        with suppress(PermissionError):  # it may be somebody's whose modes are not ours to set
            Path(within).chmod(mode)
        return os.open(within, _DIRECTORY)
    finally:
        os.close(there)
