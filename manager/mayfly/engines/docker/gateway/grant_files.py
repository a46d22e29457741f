"""The directory of one agent, by which the manager tells what it may ask, and the gateway what it did.

Every look is by path: once the manager has renamed ``live``, there is no grant, and nothing can be noted any
more. That is what ends an agent's right, also for a gateway that knows nothing of it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from mayfly.core.admission.grant import Grant, read_grant
from mayfly.edge.door_places import (
    GRANT,
    LIVE,
    MADE,
    MAKING,
    OVER,
    REFUSALS,
    REFUSALS_MOST,
)

GRANT_MOST = 1024 * 1024  # bytes
REFUSALS_LINES = 100
SENTENCE_MOST = 600  # characters of one refusal


class GrantFiles:
    """Those of one agent."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._over = os.fspath(place / OVER)
        self._live = place / LIVE
        # The file that was read last, and what is in it.
        self._known: tuple[tuple[int, int], Grant] | None = None
        self._noted = False  # whether ``made`` is there
        self._refusals: tuple[int, int] | None = None  # lines and bytes; None: not looked at yet

    def grant(self) -> Grant | None:
        """The grant; ``None`` where there is none (yet, or any more).

        ``ValueError`` where it cannot be read: it is written whole, so another version of Mayfly wrote it.
        """
        try:
            with (self._live / GRANT).open("rb") as opened:
                shown = os.fstat(opened.fileno())
                same = (shown.st_ino, shown.st_mtime_ns)
                if self._known is not None and self._known[0] == same:
                    return self._known[1]
                found = read_grant(opened.read(GRANT_MOST))
        except OSError:
            return None
        self._known = (same, found)
        return found

    def is_over(self) -> bool:
        """Whether its agent has ended, as the manager says, or is forgotten. Bare calls: it is asked each
        second of every agent.
        """
        return os.access(self._over, os.F_OK) or not os.access(self.place, os.F_OK)

    def note_made(self) -> bool:
        """See that ``made`` is on the disk, before anything is; False where the agent may ask no more."""
        if self._noted:
            return (self._live / GRANT).exists()
        try:
            made = os.open(self._live / MADE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.fsync(made)
            finally:
                os.close(made)
            live = os.open(self._live, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(live)
            finally:
                os.close(live)
        except OSError:
            return False
        self._noted = True
        return (self._live / GRANT).exists()

    def note_making(self, kind: str, name: str) -> str | None:
        """Note that a thing is asked for, by its name at the Engine, before it is; what the note is called.

        ``None`` where the agent may ask no more. What is left of a gateway that was killed is looked for
        when the agent's belongings are cleared: the Engine may have made it later.
        """
        note = secrets.token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with suppress(FileExistsError):
                (self._live / MAKING).mkdir(mode=0o700)
            written = os.open(self._live / MAKING / note, flags, 0o600)
            try:
                os.write(written, json.dumps({"kind": kind, "name": name}).encode())
            finally:
                os.close(written)
        except OSError:
            return None
        return note

    def note_answered(self, note: str) -> None:
        """The Engine has answered; its agent may be over by now."""
        for state in (LIVE, OVER):
            with suppress(OSError):
                (self.place / state / MAKING / note).unlink()
                return

    def note_refusal(self, sentence: str) -> None:
        """A line in ``refusals``; nothing where there are many already, or no room."""
        path = self._live / REFUSALS
        lines, size = self._refusals or _counted(path)
        line = json.dumps({"at": round(time.time(), 3), "text": sentence[:SENTENCE_MOST]}) + "\n"
        self._refusals = (lines + 1, size + len(line))
        if lines >= REFUSALS_LINES or size + len(line) > REFUSALS_MOST:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with suppress(OSError):
            written = os.open(path, flags, 0o600)
            try:
                os.write(written, line.encode())
            finally:
                os.close(written)


def _counted(path: Path) -> tuple[int, int]:
    """How many lines and bytes stand there."""
    try:
        text = path.read_bytes()
    except OSError:
        return 0, 0
    return text.count(b"\n"), len(text)
