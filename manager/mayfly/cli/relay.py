"""The far half of `mayfly --context`: beside a manager in a cluster, from its own streams to the socket.

    python3 -m mayfly.cli.relay

One connection: it greets once the manager has taken it, carries bytes both ways, and ends with either side.
It adds nothing and reads nothing of what it carries. Who may run it is the cluster's to say (`pods/exec`).
"""

from __future__ import annotations

import os
import select
import socket
import sys

from mayfly.cli.client import find_socket
from mayfly.cli.trouble import Down, Trouble

GREETING = b"MAYFLY-RELAY/1\n"
PIECE = 64 * 1024
IN, OUT = 0, 1


def main() -> int:
    """Carry; the exit code."""
    try:
        path = find_socket(None, None)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
    except OSError as error:
        print(f"nobody answers on {path} there ({error.strerror})", file=sys.stderr)
        return Down.code
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return trouble.code
    _written(GREETING)
    looked = select.poll()
    looked.register(IN, select.POLLIN)
    looked.register(connection, select.POLLIN)
    while True:
        for ready, _ in looked.poll():
            if ready == IN:
                data = os.read(IN, PIECE)
                if not data:
                    return 0
                connection.sendall(data)
            else:
                data = connection.recv(PIECE)
                if not data:
                    return 0
                _written(data)


def _written(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(OUT, left) :]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)
