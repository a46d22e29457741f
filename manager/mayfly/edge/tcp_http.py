"""HTTP on a loopback address, where any user of the host may knock: places by user, short waits, own names.
A manager that is a pod listens on that pod's address: there places go by the address of who comes, and who
is slow makes room for who comes, since a cluster ends a manager whose probes are not answered.

Whoever asks is not known to be anybody: only what everybody may read belongs here. A browser that was led to
this address under another name is turned away (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

from mayfly.core.commands import Caller
from mayfly.core.quantities import whole_number
from mayfly.edge.http_connection import OnFailure, Respond, Server
from mayfly.edge.places import Bounds

PLACES = Bounds(all=24, of_one=6, of_root=12, kept_for_root=2)
HEAD_SECONDS = 5.0
UNKNOWN = -1  # a user whom the kernel does not name
ANYBODY = Caller(0, UNKNOWN, UNKNOWN, "somebody", operator=False)
RESOLVER = Path("/etc/resolv.conf")
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
FRESH = 0.5  # seconds for which what was read of a table is believed
ESTABLISHED = b"01"


class TcpServer:
    """A bound socket and the thread that accepts on it."""

    def __init__(
        self,
        host: str,
        port: int,
        respond: Respond,
        on_failure: OnFailure,
        bounds: Bounds = PLACES,
        *,
        unsent: int | None = None,
        trusts: Callable[[int], bool] = lambda _: False,
        thread: str = "metrics",
    ) -> None:
        """Bind it; ``OSError`` where the port is taken. ``unsent``: the most bytes that the kernel keeps
        for a client that does not read; ``None``: as many as it likes. ``trusts``: the uids whose word is
        believed, which the kernel is asked for again.
        """
        self._server = _Server(host, port, respond, on_failure, bounds, unsent, trusts)
        try:
            self._server.server_bind()
            self._server.server_activate()
        except OSError:
            self._server.server_close()
            raise
        self._thread = threading.Thread(target=self._server.accept, name=thread, daemon=True)
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
    request_queue_size = 4096  # who finds no room comes again after a second at the earliest

    def __init__(
        self,
        host: str,
        port: int,
        respond: Respond,
        on_failure: OnFailure,
        bounds: Bounds,
        unsent: int | None,
        trusts: Callable[[int], bool],
    ) -> None:
        self._unsent = unsent
        self._trusts = trusts
        self._uids: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = host
        self._users = Users()
        self._domains = cluster_domains(RESOLVER)
        # Many may be behind one address there: pods of a node's network, and the kubelet that probes.
        others = not _is_loopback(host)
        super().__init__((host, port), respond, on_failure, bounds, longest_yields=others)

    def caller(self, connection: socket.socket) -> Caller:
        uid = self._uids.get(connection, UNKNOWN)
        if self._trusts(uid) and sure_user(connection) != uid:
            uid = UNKNOWN
        theirs, ours = str(connection.getpeername()[0]), str(connection.getsockname()[0])
        if uid == UNKNOWN and theirs == ours:  # a user of this host is no machine
            return ANYBODY
        return replace(ANYBODY, uid=uid, name=theirs)

    def user(self, connection: socket.socket) -> int:
        if self._unsent is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._unsent)
        uid = self._users.of(connection)
        self._uids[connection] = uid
        return uid if uid != UNKNOWN else whose_place(str(connection.getpeername()[0]))

    def is_meant(self, hosts: Sequence[str]) -> bool:
        return all(is_own_name(host, self._host, self._domains) for host in hosts)


def whose_place(address: str) -> int:
    """Whose place somebody takes whom the kernel does not name: of another machine or pod its address's,
    which no uid is; of this host nobody's in particular.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return UNKNOWN if found.is_loopback else UNKNOWN - 1 - int(found)


def cluster_domains(file: Path) -> tuple[str, ...]:
    """Where a pod's resolver looks for services, ``NAMESPACE.svc.DOMAIN``; elsewhere there are none."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    searched = next((found[1:] for found in reversed(words) if found[:1] == ["search"]), [])
    return tuple(one.rstrip(".") for one in searched if one.split(".")[1:2] == ["svc"])


def is_own_name(named: str, own: str, domains: Sequence[str] = ()) -> bool:
    """Whether a Host header names this host: by loopback, or as it is configured. Who listens on all
    addresses is known by each of them, and by a service's name in a cluster, where no page leads a browser:
    ``SERVICE``, ``SERVICE.NAMESPACE`` and so on, as ``domains`` complete it.
    """
    host, _, port = named.rpartition(":") if not named.endswith("]") else (named, "", "")
    host = host if whole_number(port) is not None and host else named
    host = host.strip("[]").lower().removesuffix(".")
    if host in ("localhost", own.lower()):
        return True
    everywhere = _is_everywhere(own)
    try:
        return ipaddress.ip_address(host).is_loopback or everywhere
    except ValueError:
        return everywhere and _is_service(host, domains)


def _is_service(host: str, domains: Sequence[str]) -> bool:
    """Whether it is a name that nobody outside of the cluster gives away."""
    service, _, rest = host.partition(".")
    if not service:
        return False
    # (No top-level domain is called svc, and none has ``local``.)
    return host.endswith((".svc", ".svc.cluster.local")) or any(
        rest in ("", domain, domain.partition(".")[0]) for domain in domains
    )


def _is_everywhere(own: str) -> bool:
    try:
        return ipaddress.ip_address(own).is_unspecified
    except ValueError:  # a name
        return False


def _is_loopback(own: str) -> bool:
    try:
        return ipaddress.ip_address(own).is_loopback
    except ValueError:
        return own == "localhost"


def sure_user(connection: socket.socket) -> int:
    """The uid of a client of this host, as the kernel has it now; ``UNKNOWN`` where it does not say.

    What was read a moment ago may be of somebody who had the same port before.
    """
    return Users().of(connection, established=True)


class Users:
    """Who is at the other end of connections on this host, as the kernel's tables have them (proc(5)).

    A flood makes a table long, and reading it slow. So it is read only for a connection that the last reading
    has not: whoever waited to be accepted meanwhile is in it. For one thread.
    """

    def __init__(
        self, tables: Sequence[Path] = TABLES, read: Callable[[Path], bytes] = Path.read_bytes
    ) -> None:
        self._tables, self._read = tables, read
        self._known: dict[tuple[bytes, bytes], int] = {}  # uids, by their address and ours
        self._at = -FRESH

    def of(self, connection: socket.socket, *, established: bool = False) -> int:
        """The uid of a client; ``UNKNOWN`` where the kernel does not say. ``established``: and it has not
        hung up, nor is somebody else about to connect from where it was.
        """
        theirs, ours = _as_listed(connection.getpeername()), _as_listed(connection.getsockname())
        known = self._known.get((theirs, ours))
        if known is not None and time.monotonic() - self._at < FRESH:
            return known
        self._known = {}
        for table in self._tables:
            self._take(table, ours, established=established)
        self._at = time.monotonic()
        return self._known.get((theirs, ours), UNKNOWN)

    def _take(self, table: Path, ours: bytes, *, established: bool) -> None:
        """All that are connected to that address of ours, by whichever kind of socket they came."""
        try:
            listed = self._read(table)
        except OSError:  # a kernel without IPv6
            return
        rows = rb": (?:%b)?(\S+) (?:%b)?%b (..) \S+ \S+ \S+ +(\d+)" % (MAPPED, MAPPED, ours)
        for theirs, state, uid in re.findall(rows, listed):
            # What nobody holds any more is listed as root's.
            believed = state == ESTABLISHED or (int(uid) and not established)
            self._known[theirs, ours] = int(uid) if believed else UNKNOWN


def _as_listed(address: tuple[object, ...]) -> bytes:
    """An address as the kernel writes it: words of four bytes in its own order, in hexadecimal."""
    packed = ipaddress.ip_address(str(address[0])).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words).encode() + b":%04X" % int(str(address[1]))


# What an address of IPv4 begins with where the socket is one of IPv6.
MAPPED = _as_listed(("::ffff:0.0.0.0", 0))[:24]
