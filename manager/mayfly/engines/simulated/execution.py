"""A process that is none: it says back what it is told, and has ended once nothing more is said.

Its container's end is its own. It must never start anything.
"""

from __future__ import annotations

import socket
from contextlib import suppress

ENDED, KILLED = 0, 137


class SimulatedExecution:
    """As ``engines.protocol.Execution``, over a pair of sockets of this process."""

    def __init__(
        self, argv: tuple[str, ...], user: str, marks: frozenset[str], ahead: bytes = b""
    ) -> None:
        self.argv = argv
        self.user = user
        self.marks = marks  # the values of its variables
        self._ahead = ahead  # said with the way to it: its socket does not show that
        self.has_begun: bool | None = True
        self.looked_at = 0  # how often it was asked whether it has begun
        self.sizes: list[tuple[int, int]] = []
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._code: int | None = None

    def fileno(self) -> int:
        """Readable when it has said something back."""
        return self._ours.fileno()

    def receive(self) -> tuple[tuple[int, bytes], ...] | None:
        """What it has said."""
        if self._ahead:
            said, self._ahead = self._ahead, b""
            return ((1, said),)
        try:
            data = self._ours.recv(65536)
        except BlockingIOError:
            return ()
        except OSError:
            return None
        return ((1, data),) if data else None

    def has_more(self) -> bool:
        """Whether it has said something with the way to it."""
        return bool(self._ahead)

    def send(self, data: bytes) -> int:
        """It says so many of them back."""
        try:
            return self._theirs.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def end_input(self) -> None:
        """It ends."""
        self._over(ENDED)

    def killed(self) -> None:
        """Somebody ends it."""
        self._over(KILLED)

    def _over(self, code: int) -> None:
        if self._code is None:
            self._code = code
            with suppress(OSError):
                self._theirs.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        """It has been told."""
        self.sizes.append((rows, columns))

    def begun(self) -> bool | None:
        """Unless a test says otherwise."""
        self.looked_at += 1
        return self.has_begun

    def exit_code(self) -> int | None:
        """Of one that has ended."""
        return self._code

    def close(self) -> None:
        """Let go of it."""
        self._ours.close()
        self._theirs.close()
