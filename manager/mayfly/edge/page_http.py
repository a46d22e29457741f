"""HTTP for the lab's page, on an address or a unix socket: who connects, and how many are served.

A browser keeps a connection for what it follows, and all of a proxy's are one user's; who has most makes room
for others (``edge/connections.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mayfly.edge.http_connection import OnFailure, Respond
from mayfly.edge.places import Bounds
from mayfly.edge.tcp_http import TcpServer
from mayfly.edge.unix_http import Door, UnixServer

PLACES = Bounds(all=96, of_one=80, of_root=80, kept_for_root=2)
UNSENT = 256 * 1024  # bytes that the kernel keeps for a client that does not read
DOOR = Door("mayfly-web", operators=False, bounds=PLACES)


def serve(
    where: str, respond: Respond, on_failure: OnFailure, trusts: Callable[[int], bool]
) -> Callable[[], None]:
    """Serve at ``HOST:PORT`` or on a socket at an absolute path; returns how to stop that.

    ``trusts``: the uids of proxies, who may say whom they speak for.
    ``OSError`` or ``Refused`` where that cannot be.
    """
    if where.startswith("/"):
        unix = UnixServer(Path(where), respond, on_failure, DOOR)
        unix.start()
        return unix.close
    host, _, port = where.rpartition(":")
    at = (host.strip("[]"), int(port))
    served = TcpServer(
        *at, respond, on_failure, PLACES, unsent=UNSENT, trusts=trusts, thread="page"
    )
    return served.close
