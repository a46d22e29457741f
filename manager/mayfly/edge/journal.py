"""The systemd journal's own protocol: an event's fields are fields there (`journalctl MAYFLY_SLOT=azure-0`).

One datagram an event (systemd.io/JOURNAL_NATIVE_PROTOCOL). It never blocks for long and never raises: what
the journal does not take, the caller writes elsewhere.
By hand, since the library for it wants a compiler and systemd's headers.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import TextIO

from mayfly.core.events import EVENTS
from mayfly.core.model import Severity

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "mayfly"
VALUE_MAX = 16 * 1024  # characters of one value; a datagram has to fit into the socket's buffer
PRIORITIES = {Severity.ERROR: 3, Severity.WARNING: 4, Severity.INFO: 6}  # syslog(3)


class Journal:
    """The journal of this host."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(1.0)

    def send(self, event: str, message: str, fields: Mapping[str, object]) -> bool:
        """Tell one event; False where the journal did not take it."""
        datagram = b"".join(entry(key, value) for key, value in _told(event, message, fields))
        try:
            self._socket.sendto(datagram, self._path)
        except OSError:
            return False
        return True


def journal_of(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Journal | None:
    """The journal where it reads the stream, ``None`` where another does (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    if environ.get("JOURNAL_STREAM") != f"{status.st_dev}:{status.st_ino}":
        return None
    return Journal()


def entry(key: str, value: str) -> bytes:
    """One field of a datagram; a value of several lines carries its length."""
    data = value[:VALUE_MAX].encode(errors="replace")
    if b"\n" not in data:
        return key.encode() + b"=" + data + b"\n"
    return key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"


def priority(event: str) -> int:
    """How much the event matters, as syslog has it."""
    return PRIORITIES[EVENTS[event]]


def sentence(event: str, message: str, fields: Mapping[str, object]) -> str:
    """The event on one line for people."""
    slot = f"{fields['slot']}: " if fields.get("slot") else ""
    told = " ".join(f"{key}={value}" for key, value in fields.items() if key != "slot")
    return " ".join(part for part in (f"{slot}{event}", message, told) if part)


def _told(event: str, message: str, fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", sentence(event, message, fields)
    yield "PRIORITY", str(priority(event))
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    yield "MAYFLY_EVENT", event
    for key, value in fields.items():
        yield f"MAYFLY_{re.sub('[^A-Z0-9_]', '_', key.upper())}", str(value)
