"""The manager's unix sockets: who may connect by which, and how many of them are served.

There is one for those who may do everything and one for those who may not; the kernel says who is at the
other end. What a request is and how it is bounded is ``edge/http_connection.py``'s.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from mayfly.core.commands import Caller
from mayfly.edge.faults import Refused
from mayfly.edge.http_connection import OnFailure, Respond, Server, TakesPieces
from mayfly.edge.places import Bounds

# Of one user, so that others are served; whatever root waits for, one other user has all its places.
# More of all than wait, send and sit at terminals at once, so that whoever asks something small is let in.
CONNECTIONS = Bounds(all=80, of_one=24, of_root=40, kept_for_root=8)
MODE = 0o660


@dataclass(frozen=True, slots=True)
class Door:
    """A socket: whose it is, what they may do, and how many of them are served."""

    group: str
    operators: bool  # who comes in by it may do everything
    bounds: Bounds


OPERATORS = Door("mayfly", operators=True, bounds=CONNECTIONS)
USERS = Door(
    "mayfly-users", operators=False, bounds=Bounds(all=60, of_one=12, of_root=12, kept_for_root=2)
)


class _Server(Server):
    address_family = socket.AF_UNIX

    def __init__(
        self,
        path: Path,
        respond: Respond,
        on_failure: OnFailure,
        door: Door,
        pieces: TakesPieces | None,
    ) -> None:
        self.door = door
        self._pieces = pieces
        super().__init__(str(path), respond, on_failure, door.bounds)

    def server_bind(self) -> None:
        self.socket.bind(str(self.server_address))

    def caller(self, connection: socket.socket) -> Caller:
        return peer(connection, operator=self.door.operators)

    def user(self, connection: socket.socket) -> int:
        _, uid, _ = _peer(connection)
        return uid

    def takes_pieces(self, method: str, path: str) -> int | None:
        return self._pieces(method, path) if self._pieces is not None else None


class UnixServer:
    """A bound socket and the thread that accepts on it."""

    def __init__(
        self,
        path: Path,
        respond: Respond,
        on_failure: OnFailure,
        door: Door = OPERATORS,
        pieces: TakesPieces | None = None,
    ) -> None:
        """Bind ``path``; ``Refused`` where another one answers there or it cannot be made.

        ``on_failure`` hears of bugs: on which path, and what was raised. ``pieces`` says which paths take
        their bodies in pieces.
        """
        self.path = path
        make_way(path)
        new = path.with_name(path.name + ".new")
        self._server = _Server(new, respond, on_failure, door, pieces)
        try:
            self._bind()
        except OSError as error:
            self._server.server_close()
            raise Refused(
                f"the control socket {path} cannot be made: {error.strerror or error}"
            ) from error
        self._thread = threading.Thread(target=self._server.accept, name="control", daemon=True)

    def _bind(self) -> None:
        """Bound under another name, given its mode, and only then put where clients look."""
        new = Path(str(self._server.server_address))
        new.unlink(missing_ok=True)
        self._server.server_bind()
        _give_to_group(new, self._server.door.group)
        new.chmod(MODE)
        self._server.server_activate()
        new.rename(self.path)
        self._inode = self.path.stat().st_ino

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering, and remove the socket unless another manager has put its own there."""
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        if self._thread.is_alive():
            self._thread.join()
        self._server.server_close()


def users_socket(socket_path: str | Path) -> Path:
    """Where those find the manager who may not do everything."""
    return Path(socket_path).with_name("users.sock")


def there_is(door: Door) -> bool:
    """Whether this host has the group that a door is for."""
    try:
        grp.getgrnam(door.group)
    except KeyError:
        return False
    return True


def _give_to_group(path: Path, group: str) -> None:
    # no such group, not root, or a file system without lists of access: the owner alone may use it
    with contextlib.suppress(KeyError, OSError):
        gid = grp.getgrnam(group).gr_gid
        try:
            os.chown(path, -1, gid)
        except PermissionError:  # as in the unit, which is not of that group
            admit(path, gid)


def admit(path: Path, gid: int) -> None:
    """Let a group read and write, by the file's access control list; who owns it may say so (acl(5))."""
    entries = (
        *((_OWNER, _NO_ID), (_OWNING_GROUP, _NO_ID)),
        *((_GROUP, gid), (_MASK, _NO_ID)),
    )
    listed = [struct.pack("<HHI", tag, 6, whose) for tag, whose in entries]
    others = struct.pack("<HHI", _OTHERS, 0, _NO_ID)
    data = struct.pack("<I", 2) + b"".join(listed) + others
    os.setxattr(path, "system.posix_acl_access", data)


# linux/posix_acl_xattr.h
_OWNER, _OWNING_GROUP, _GROUP, _MASK, _OTHERS = 0x01, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF


def make_way(path: Path) -> None:
    """See that a socket can be put here: the directory is made, and nobody answers there.

    What a dead manager left is replaced; anything that is no socket is ``Refused``.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refused(f"the control socket {path} cannot be made: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise Refused(f"{path} is not a socket; move it away, or set [host] socket")
    probe = socket.socket(socket.AF_UNIX)
    probe.settimeout(2.0)
    try:
        probe.connect(str(path))
    except OSError as error:
        if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
            return
    finally:
        probe.close()
    raise Refused(f"another manager answers on {path}; stop it first, or set [host] socket")


def peer(connection: socket.socket, *, operator: bool) -> Caller:
    """Who is at the other end, as the kernel says."""
    pid, uid, gid = _peer(connection)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return Caller(pid, uid, gid, name, operator)


def _peer(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of the other end."""
    size = struct.calcsize("3i")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, gid = struct.unpack("3i", found)
    return pid, uid, gid
