"""Text of jobs and people made safe for whoever reads it, on a terminal or a page.

A job can print anything, and what it prints may be shown to whoever may use the Docker socket:
escape sequences, other control characters and marks that reorder a line are taken out. Whether something goes
to a terminal at all is ``cli/clean_terminal.py``'s to know.
"""

from __future__ import annotations

import codecs
import re

_ESCAPE = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|[ -/]+[0-~]"  # charset and the like
    r"|[0-OQ-WYZ\\`-~]"  # the rest, less those that begin something longer
    r")"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c]*\x1b?|[ -/]*)?\Z")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)
_HELD_MAX = 4096  # of an escape sequence that does not end


def clean(text: str) -> str:
    """A text on one line, for a cell of a table or a sentence."""
    return _CONTROL.sub("", _ESCAPE.sub("", text)).translate({9: " ", 10: " ", 13: " "})


def one_line(text: str) -> str:
    """A text on one line, what cannot be printed and each run of spaces as one space."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters; of a longer one the beginning, and a mark."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


_OWN = re.compile(r"(\x1b\[(?:0|2|31|32|33|36)m)")  # the colours that Mayfly has


def safe(text: str) -> str:
    """A text of several lines that keeps Mayfly's colours."""
    if text.isascii() and text.isprintable():
        return text
    parts = _OWN.split(text)
    parts[::2] = [
        _CONTROL.sub("", _ESCAPE.sub("", part).replace("\r\n", "\n").replace("\r", "\n"))
        for part in parts[::2]
    ]
    return "".join(parts)


class Cleaner:
    """The same for a stream of bytes: lines stay lines, sequences cut between pieces are found."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes, final: bool = False) -> str:
        """What of the bytes so far is safe to print now."""
        text = self._held + self._decode.decode(data, final)
        self._held = ""
        text = _ESCAPE.sub("", text)
        if not final:
            unfinished = _UNFINISHED.search(text)
            if unfinished and len(unfinished[0]) < _HELD_MAX:
                text, self._held = text[: unfinished.start()], unfinished[0]
            elif text.endswith("\r"):
                text, self._held = text[:-1], "\r"
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        return _CONTROL.sub("", text)
