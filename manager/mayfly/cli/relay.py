"""The far half of `mayfly --host` and `--context`: beside a manager, from its own streams to the socket.

    mayfly relay                       by ssh, as whoever logged in
    python3 -m mayfly.cli.relay        in a manager's pod

One connection: it greets once the manager has taken it, carries bytes both ways, and ends with either side.
It adds nothing and reads nothing of what it carries. Who may run it is ssh's to say, or the cluster's
(`pods/exec`); what they may do with it is said by the socket that opens to them.
"""

from __future__ import annotations

import os
import select
import sys

from mayfly.cli.client import connected, find_socket, not_let_in
from mayfly.cli.trouble import Denied, Down, Trouble, Usage

GREETING = b"MAYFLY-RELAY/1\n"
PIECE = 64 * 1024
IN, OUT = 0, 1


def main() -> int:
    """Carry, from the socket that is usual here; the exit code."""
    try:
        return carry(find_socket(None, None))
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return trouble.code


def carry(path: str) -> int:
    """Carry; the exit code."""
    if os.isatty(IN):
        raise Usage("relay is run by `mayfly --host` over ssh: there is nothing to type to it")
    try:
        connection = connected(path, None)
    except PermissionError:
        print(not_let_in(path), file=sys.stderr)
        return Denied.code
    except OSError as error:
        print(f"nobody answers on {path} there ({error.strerror})", file=sys.stderr)
        return Down.code
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
