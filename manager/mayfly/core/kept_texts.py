"""What is kept of texts that others write once they are of the past: their beginning, and how long they were.

Pure. Who may write them may fill no disk: a record of the past has a few KiB, whatever it is a record of.
What still has to be run is never cut here.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

# bytes of JSON: with it the row of an ended job has room in one page of the state file
COMMAND_KEPT = 2048
TEXT_KEPT = 2000  # characters
SHOWN = 160  # characters of a command in a list
_MARK = 64  # of the bytes of a command: more than its mark ever has


def kept_text(text: str) -> str:
    """The text, or its beginning and a mark with the bytes that it had."""
    if len(text) <= TEXT_KEPT:
        return text
    return text[:TEXT_KEPT] + _mark(_bytes(text))


def kept_command(argv: Sequence[str]) -> tuple[str, ...]:
    """The command, or its beginning; the last word ends then in a mark with the bytes of all words."""
    if len(json.dumps(argv)) <= COMMAND_KEPT:
        return tuple(argv)
    room = COMMAND_KEPT - _MARK
    words = []
    for word in argv:
        size = len(json.dumps(word)) + 2
        if size > room:
            words.append(_beginning(word, room) + _mark(sum(_bytes(one) for one in argv)))
            break
        words.append(word)
        room -= size
    return tuple(words)


def shown_command(argv: Sequence[str]) -> str:
    """The command as a list has room for it: on one line, as a shell would read it."""
    words, room = [], SHOWN
    for word in argv:
        words.append(shlex.quote(word[:SHOWN]))
        room -= len(words[-1]) + 1
        if room < 0:
            break
    text = " ".join(" ".join(words).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def kept_command_json(text: str) -> str:
    """The same of a command as JSON, and as JSON."""
    if len(text) <= COMMAND_KEPT:
        return text
    try:
        return json.dumps(kept_command(json.loads(text)))
    except (ValueError, TypeError):  # a record that nobody can read keeps no manager from starting
        return json.dumps([_mark(_bytes(text))])


def _beginning(word: str, room: int) -> str:
    """As much of a word as has ``room`` bytes as JSON, its quotes and comma among them."""
    room -= 4
    for at, character in enumerate(word):
        room -= len(json.dumps(character)) - 2
        if room < 0:
            return word[:at]
    return word


def _mark(size: int) -> str:
    return f"… ({size} bytes)"


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))
