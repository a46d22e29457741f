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
import socket
import sys
from contextlib import suppress

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
    _greet()
    _carry(connection)
    return 0


def _greet() -> None:
    left = memoryview(GREETING)
    while left:
        left = left[os.write(OUT, left) :]


def _carry(connection: socket.socket) -> None:
    """Carry until either side has ended. Neither way waits for the other: a job that prints while much is
    sent to it would wait for ever.
    """
    for descriptor in (IN, OUT, connection.fileno()):
        os.set_blocking(descriptor, False)
    there, here = b"", b""  # on its way to the manager, and from it
    takes = True  # the manager has not turned away what is sent
    while True:
        ready = _ready(connection, there, here, listens=takes and not there)
        if IN in ready and takes and not there:
            with suppress(BlockingIOError):
                there = os.read(IN, PIECE)
                if not there:
                    return
        if there:
            try:
                there = there[connection.send(there) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                there, takes = b"", False  # why stands in its answer, which is still to be read
        if connection.fileno() in ready and not here:
            with suppress(BlockingIOError):
                here = connection.recv(PIECE)
                if not here:
                    return
        if here:
            with suppress(BlockingIOError):
                here = here[os.write(OUT, here) :]


def _ready(connection: socket.socket, there: bytes, here: bytes, *, listens: bool) -> set[int]:
    """Which of the three can go on, once one can."""
    looked = select.poll()
    of_manager = (0 if here else select.POLLIN) | (select.POLLOUT if there else 0)
    if of_manager:  # (without any it would be told for ever that it has hung up)
        looked.register(connection, of_manager)
    if listens:
        looked.register(IN, select.POLLIN)
    if here:
        looked.register(OUT, select.POLLOUT)
    return {descriptor for descriptor, _ in looked.poll()}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)
