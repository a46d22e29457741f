"""A pseudo-terminal with a command in it, as a person would sit before it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from pathlib import Path

from tests import copies

ROOT = Path(__file__).parents[1]


def environment(**more: str) -> dict[str, str]:
    """Ours, less what would change what the command does."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MAYFLY_")}
    kept |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", "TZ": "UTC", **more}
    for name in ("NO_COLOR", "PYTHONUNBUFFERED"):  # the second hides what a buffer does
        kept.pop(name, None)
    return kept | {k: v for k, v in more.items() if k == "NO_COLOR"}


def unmeasured() -> dict[str, str]:
    """The same without coverage, for a process whose imports or time are looked at."""
    return environment(COVERAGE_PROCESS_CONFIG="", COVERAGE_PROCESS_START="")


class Terminal:
    """A pseudo-terminal of 80 columns with a command in it."""

    def __init__(self, command: list[str], columns: int = 80, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        files = (theirs, theirs, theirs)
        self.process = copies.start(command, environment(**env), files, terminal=True)
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._ours, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """What a person does with the mouse."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def hang_up(self) -> int:
        """The terminal goes away: a window is closed, a connection lost. How the command exited."""
        os.close(self._ours)
        self._ours = -1
        return self.process.wait(60)

    def settings(self) -> list[object]:
        """How the terminal is set: echo, modes, special characters."""
        return list(termios.tcgetattr(self._ours))

    def until(self, text: str, after: int = 0) -> str:
        """Read on until this was shown; all that was, from that character on."""
        while text not in self.seen[after:]:
            self.seen += self._read()
        return self.seen[after:]

    def end(self) -> tuple[int, str]:
        """Read to the end; how it exited and all that was shown."""
        try:
            while True:
                self.seen += self._read()
        except EOFError:
            pass
        return self.process.wait(30), self.seen.replace("\r\n", "\n")

    def _read(self) -> str:
        try:
            data = os.read(self._ours, 65536)
        except OSError:
            data = b""
        if not data:
            raise EOFError(self.seen)
        return data.decode(errors="replace")

    def close(self) -> None:
        """End what still runs."""
        self.process.kill()
        self.process.wait()
        if self._ours >= 0:
            os.close(self._ours)
