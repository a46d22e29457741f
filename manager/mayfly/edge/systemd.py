"""Reports to systemd how the daemon is: ready, alive, reloading, and its one sentence.

Without ``NOTIFY_SOCKET`` nothing is said and nothing fails (sd_notify(3)).
By hand, since it is one datagram, and the libraries for it are unkept or want a compiler.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


def notify(*assignments: str) -> bool:
    """Send assignments such as ``READY=1``; False where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.sendall("\n".join(assignments).encode())
        return True
    return False


def _status(sentence: str) -> str:
    """A line of its own is an assignment of its own, so a sentence has one."""
    return f"STATUS={' '.join(sentence.split())}"


def ready(sentence: str) -> None:
    """The daemon has made its first pass."""
    notify("READY=1", _status(sentence))


def alive(sentence: str) -> None:
    """A pass has ended."""
    notify("WATCHDOG=1", _status(sentence))


def reloading() -> None:
    """The configuration is being read again; ``ready`` ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    """The daemon ends; its agents do not."""
    notify("STOPPING=1")
