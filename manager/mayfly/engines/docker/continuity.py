"""Whether what was followed of an agent's log is all of it.

The Engine's log of a container is two files. A reader that follows it goes from the end of one to whatever
file is the newest then: where a job writes faster than the Engine reads, whole files are passed over, and no
answer says so (seen in 20.10, read in the source of 25). What is proved here is that this has not happened.
While a frame that was received is still in the log, at most one file was begun after it, so all that was
written from it on until the log was asked is read without a gap. Most outputs need no proof: they fit into
the first file, or came without a pause in which a file could have been filled.

Pure: it says which frame to ask for. It must never take silence for a loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mayfly.edge.output_kept import STAMP, frames, stamp

_FASTEST = 1e9  # bytes a second; no Engine fills a file of its log faster
_FIRST_FILE = 0.8  # of it, as frames count it: they are a little longer than what is on disk
_WINDOW = 0.5  # of a file: how much is received between two proofs
_SECOND = 20  # characters of a time as text that come before the fraction of its second
TURNED = "output may be missing before here: the Engine's log turned faster than it was read (log_max_size)"


@dataclass(slots=True)
class Continuity:
    """What was received of one log since the last proof. Its sizes are bytes of frames."""

    log_size: int  # of one file
    received: int = 0
    # the time of the frame up to which nothing is missing, as the Engine has it
    anchor: bytes = b""
    window: int = 0  # received since
    paused: bool = False  # there was a pause since, long enough to fill a file
    asked: bool = False  # the log is being asked for a frame
    _newest: bytes = b""

    def resumed(self, newest: bytes | None) -> None:
        """Reading goes on from a frame that was received before; how full the first file is, is not known."""
        if newest is not None and not self.received:
            self.received = self.log_size
            self.anchor = self._newest = newest

    def lost(self) -> None:
        """What comes does not go on from what was received, which is known: what follows is proved alone."""
        self.anchor, self._newest, self.window, self.paused = b"", b"", 0, False
        self.received = max(self.received, self.log_size)

    def take(self, data: bytes) -> bytes | None:
        """Whole frames, each once; the time of a frame that is to be looked for, if one is."""
        self.received += len(data)
        self.window += len(data)
        if not self.anchor:
            self.anchor = self._newest = data[8:STAMP]
        if self.received < _WINDOW * self.log_size:
            return None
        pause = self.log_size / _FASTEST * 1e9
        same = _SECOND + max(
            0, round(9 - math.log10(max(1.0, pause)))
        )  # characters that tell no pause apart
        first = self.received < _FIRST_FILE * self.log_size
        for at, _ in () if first else frames(data):
            text = data[at + 8 : at + STAMP]
            if text[:same] != self._newest[:same]:
                self.paused |= stamp(text + b" ")[0] - stamp(self._newest + b" ")[0] > pause
            self._newest = text
        if first:
            self._newest = self._last(data)
        if first or (self.window >= _WINDOW * self.log_size and not self.paused):
            self._proved()
        return self.ask() if self.window >= _WINDOW * self.log_size else None

    def ask(self) -> bytes | None:
        """The time of the frame that proves the last stretch, where it wants one; the next begins here."""
        if self.asked or not self.paused:
            return None
        wanted, self.asked = self.anchor, True
        self._proved()
        return wanted

    def answered(self) -> None:
        """The log has been asked, whatever it said."""
        self.asked = False

    def _proved(self) -> None:
        self.anchor, self.window, self.paused = self._newest, 0, False

    @staticmethod
    def _last(data: bytes) -> bytes:
        at = max(at for at, _ in frames(data))
        return data[at + 8 : at + STAMP]
