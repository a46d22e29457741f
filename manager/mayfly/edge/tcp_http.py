"""HTTP on a loopback address, where any user of the host may knock: places by user, short waits, own names.

Whoever asks is not known to be anybody: only what everybody may read belongs here. A browser that was led to
this address under another name is turned away (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

from mayfly.core.commands import Caller
from mayfly.edge.http_connection import OnFailure, Respond, Server
from mayfly.edge.places import Bounds, Places

PLACES = Bounds(all=24, of_one=6, of_root=12, kept_for_root=2)
HEAD_SECONDS = 5.0
UNKNOWN = -1  # a user whom the kernel does not name
ANYBODY = Caller(0, UNKNOWN, UNKNOWN, "somebody", operator=False)
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class TcpServer:
    """A bound socket and the thread that accepts on it."""

    def __init__(self, host: str, port: int, respond: Respond, on_failure: OnFailure) -> None:
        """Bind it; ``OSError`` where the port is taken."""
        self._server = _Server(host, port, respond, on_failure)
        try:
            self._server.server_bind()
            self._server.server_activate()
        except OSError:
            self._server.server_close()
            raise
        self._thread = threading.Thread(target=self._server.accept, name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port."""
        host, port, *_ = self._server.server_address
        return str(host), int(port)

    def close(self) -> None:
        """Stop answering."""
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._thread.join()
        self._server.server_close()


class _Server(Server):
    allow_reuse_address = True
    head_seconds = HEAD_SECONDS

    def __init__(self, host: str, port: int, respond: Respond, on_failure: OnFailure) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = host
        super().__init__((host, port), respond, on_failure, Places(PLACES))

    def caller(self, connection: socket.socket) -> Caller:
        del connection
        return ANYBODY

    def user(self, connection: socket.socket) -> int:
        return user_of(connection)

    def is_meant(self, hosts: Sequence[str]) -> bool:
        return all(is_own_name(host, self._host) for host in hosts)


def is_own_name(named: str, own: str) -> bool:
    """Whether a Host header names this host: by loopback, or as it is configured."""
    host, _, port = named.rpartition(":") if not named.endswith("]") else (named, "", "")
    host = (host if port.isdigit() and host else named).strip("[]").lower()
    try:
        return host in ("localhost", own.lower()) or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def user_of(connection: socket.socket, tables: Sequence[Path] = TABLES) -> int:
    """The uid of a client on this host, as the kernel's table of connections has it (proc(5))."""
    theirs, ours = _as_listed(connection.getpeername()), _as_listed(connection.getsockname())
    wanted = f" {theirs} {ours} ".encode()
    for table in tables:
        try:
            # Whole, and searched as bytes: a flood makes it long, and no other thread waits for that.
            listed = table.read_bytes()
        except OSError:
            continue
        at = listed.find(wanted)
        if at >= 0:
            return int(listed[at + len(wanted) :].split(None, 5)[4])
    return UNKNOWN


def _as_listed(address: tuple[object, ...]) -> str:
    """An address as the kernel writes it: words of four bytes in its own order, in hexadecimal."""
    packed = ipaddress.ip_address(str(address[0])).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{int(str(address[1])):04X}"
