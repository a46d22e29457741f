"""A process that the Engine started beside a container's own, and the connection that its streams come by.

The connection is the Engine's, taken over after its HTTP (``POST /exec/ID/start``). Where the process has no
terminal, what comes is in frames of the Engine's: stream, three zero bytes, length.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from mayfly.edge.faults import Fault
from mayfly.engines.docker import wire

_READ = 64 * 1024
_HEAD = 8
_ASKING = 5.0  # seconds for the Engine to answer about it
# With a terminal the Engine lets go of whoever types these, ctrl-p ctrl-q where nothing is said, and holds
# back what might become them. These nobody types.
DETACH_KEYS = "ctrl-@,ctrl-^,ctrl-@,ctrl-_,ctrl-@,ctrl-^"


class DockerExecution:
    """One process, as ``engines.protocol.Execution``; used by one thread."""

    def __init__(
        self, base_url: str, identity: str, opened: wire.Opened, *, terminal: bool
    ) -> None:
        self._base_url = base_url
        self._identity = identity
        self._socket = opened.socket
        self._socket.setblocking(False)
        self._held = bytearray(opened.first)
        self._terminal = terminal

    def fileno(self) -> int:
        """Of the connection."""
        return self._socket.fileno()

    def receive(self) -> tuple[tuple[int, bytes], ...] | None:
        """What has come; see ``engines.protocol``."""
        over = False
        try:
            data = self._socket.recv(_READ)
            over = not data
        except BlockingIOError:
            data = b""
        except OSError:
            data, over = b"", True
        self._held += data
        found = self._taken()
        return None if over and not found else found

    def has_more(self) -> bool:
        """Whether a whole frame came with the answer's head, or was left."""
        if self._terminal or len(self._held) < _HEAD:
            return self._terminal and bool(self._held)
        return len(self._held) >= _HEAD + int.from_bytes(self._held[4:_HEAD], "big")

    def _taken(self) -> tuple[tuple[int, bytes], ...]:
        if self._terminal:
            data = bytes(self._held)
            self._held.clear()
            return ((1, data),) if data else ()
        found = []
        while len(self._held) >= _HEAD:
            end = _HEAD + int.from_bytes(self._held[4:_HEAD], "big")
            if len(self._held) < end:
                break
            found.append((2 if self._held[0] == 2 else 1, bytes(self._held[_HEAD:end])))
            del self._held[:end]
        return tuple(found)

    def send(self, data: bytes) -> int:
        """How many of the bytes were taken."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # it reads no more; what it still prints is to be had
            return len(data)

    def end_input(self) -> None:
        """No more will be sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""
        target = f"/exec/{quote(self._identity)}/resize?h={rows}&w={columns}"
        with suppress(Fault):
            wire.open_stream(
                *(self._base_url, "POST", target, "resizing a terminal"), timeout=_ASKING
            ).socket.close()

    def begun(self) -> bool | None:
        """Whether it has a number. The Engine looks up its user in the container's files first, and waits for
        a pipe in place of one for ever (seen in 20.10), while it says already that it runs.
        """
        seen = self._seen()
        return bool(seen.get("Pid")) if seen else None

    def exit_code(self) -> int | None:
        """Of one that has ended."""
        seen = self._seen()
        code = seen.get("ExitCode")
        return code if isinstance(code, int) and not seen.get("Running") else None

    def _seen(self) -> dict[str, Any]:
        """What the Engine says of it; nothing where it does not answer."""
        target = f"/exec/{quote(self._identity)}/json"
        try:
            seen = wire.get_json(self._base_url, target, "looking at a process", timeout=_ASKING)
        except Fault:
            return {}
        return seen if isinstance(seen, dict) else {}

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()


def start_body(*, terminal: bool) -> bytes:
    """What the Engine is asked when the process is to begin."""
    return json.dumps({"Detach": False, "Tty": terminal}).encode()
