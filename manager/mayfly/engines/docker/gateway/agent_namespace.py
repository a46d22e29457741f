"""Listening sockets in the network namespace of an agent, for the ports that its containers publish.

A namespace belongs to the thread that enters it, and a thread that has entered one is never used for anything
else. That the namespace is that agent's is seen after it is held: a process's number is another's once the
first is gone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

CLONE_NEWNET = 0x40000000  # linux/sched.h
BACKLOG = 128
TRIES = 20  # for a port that is free on both addresses
PROC = Path("/proc")
LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
LACKING = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class NotThere(Exception):
    """The process is no such container's, or is gone."""


def namespace_of(process: int, container: str, proc: Path = PROC) -> int:
    """A descriptor of the network namespace of that container's process; ``NotThere`` where it is none.

    ``PermissionError`` where this process may not (it takes CAP_SYS_PTRACE).
    """
    place = proc / str(process)
    try:
        held = os.open(place / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotThere from error
    if _is_of(place, container):
        return held
    os.close(held)
    raise NotThere


def _is_of(place: Path, container: str) -> bool:
    """To be asked last: what was opened before is that container's if its process is still there."""
    with suppress(OSError):
        return container in (place / "cgroup").read_text(encoding="utf-8", errors="replace")
    return False


def listening(namespace: int, port: int) -> tuple[int, list[socket.socket]]:
    """Sockets that listen on that port of both loopback addresses there; 0: a free one. The port, and they.

    ``OSError`` (EADDRINUSE) where it is taken; ``namespace`` stays open.
    """
    done: list[tuple[int, list[socket.socket]] | OSError] = []

    def enter() -> None:
        try:
            _join(namespace)
            done.append(_bound(port))
        except OSError as error:
            done.append(error)

    thread = threading.Thread(target=enter, name="namespace", daemon=True)
    thread.start()
    thread.join()
    [outcome] = done
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


def _join(namespace: int) -> None:
    """This thread is in that namespace from now on (setns(2))."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _bound(port: int) -> tuple[int, list[socket.socket]]:
    for left in reversed(range(TRIES)):
        made: list[socket.socket] = []
        try:
            taken = port
            for family, address in LOOPBACKS:
                bound = _one(family, address, taken)
                if bound is not None:
                    made.append(bound)
                    taken = bound.getsockname()[1]
        except OSError as error:
            for one in made:
                one.close()
            if port or error.errno != errno.EADDRINUSE or not left:
                raise
        else:
            if made:
                return taken, made
    raise OSError(errno.EADDRNOTAVAIL, "there is no loopback address")


def _one(family: int, address: str, port: int) -> socket.socket | None:
    """``None`` where there is no such address there."""
    try:
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        if error.errno in LACKING:
            return None
        raise
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        with suppress(OSError):
            made.close()
        if error.errno in LACKING:
            return None
        raise
    return made
