"""One TOML text by statements and by lines: where each key stands, and what does not parse.

``tomllib`` says what a text means and not where; this says where. A statement ends where its brackets and
quotes are closed; what it says is ``tomllib``'s answer. Nothing here knows what a key means.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]
Where = tuple[str | int, ...]

MISTAKES_MAX = 50  # of one text's grammar

_UNCLOSED = "what is opened here is not closed"
_TRUTH = re.compile(r"true|false|yes|no|on|off", re.IGNORECASE)
_AT = re.compile(r"\s*\(at (?:line ([0-9]+), column [0-9]+|end of document)\)\s*$")
_ASSIGNMENT = re.compile(r"""\s*([A-Za-z0-9_.\- "']+?)\s*=\s*(.*)""")
_STRAY = re.compile(r"""\s*[^\[\]{}"'=#]+(?:#.*)?""")  # a line that opens nothing and says nothing
_TOKEN = re.compile(
    r"""\"{3}|'{3}|"(?:[^"\\]|\\.)*"?|'[^']*'?|\#.*|[\[\]{},]|\s+|[^\s\[\]{},"'\#]+""", re.DOTALL
)
_ENDS = {
    '"""': re.compile(r'(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL),
    "'''": re.compile(r"(?:[^']|'(?!''))*'{3,5}", re.DOTALL),
}
_OPENS = re.compile(r"""=\s*(\[|\{|\"\"\"|''')""")


class NotToml(Exception):
    """A statement that does not parse; ``line`` counts from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is not TOML")
        self.line = line


@dataclass(frozen=True, slots=True)
class Statement:
    """A key with its value, or a table's heading, with the comment right above it."""

    first: int  # the line at which its comment or it begins, from 0
    start: int
    end: int  # the line after it
    heading: tuple[str, ...] | None  # None: a key
    listed: bool  # a heading in double brackets
    key: str  # the first part of the key; "": a heading
    said: Tree  # what it says by itself


def statements(lines: list[str]) -> Iterator[Statement]:
    """All of them in order; ``NotToml`` at one that does not parse."""
    number = first = 0
    while number < len(lines):
        bare = lines[number].strip()
        if not bare:
            number = first = number + 1
            continue
        if bare.startswith("#"):
            number += 1
            continue
        end, said = _whole(lines, number)
        heading: tuple[str, ...] | None = None
        key = ""
        if bare.startswith("["):
            heading = tuple(_path(said))
        else:
            (key,) = said
        yield Statement(first, number, end, heading, bare.startswith("[["), key, said)
        number = first = end


def _whole(lines: list[str], start: int) -> tuple[int, Tree]:
    """Where the statement that begins there ends, and what it says."""
    opened = _Opened()
    for end in range(start + 1, len(lines) + 1):
        opened.read(lines[end - 1])
        if opened.closed:
            break
    else:
        raise NotToml(start + 1)
    try:
        return end, tomllib.loads("\n".join(lines[start:end]))
    except tomllib.TOMLDecodeError as error:
        raise NotToml(start + 1) from error


class _Opened:
    """What a statement has opened and not closed yet, read line by line."""

    def __init__(self) -> None:
        self._brackets = ""
        self._quotes = ""  # of a text over several lines
        self._after = ""  # the last token
        self._line = -1
        # of the outermost bracket, a list: at which line after the first each entry begins
        self.entries: list[int] = []

    @property
    def closed(self) -> bool:
        return not self._brackets and not self._quotes

    def read(self, line: str) -> None:
        """One more line."""
        self._line += 1
        at = 0
        while at < len(line):
            if self._quotes:
                ends = _ENDS[self._quotes].match(line, at)
                if ends is None:
                    return
                at, self._quotes = ends.end(), ""
                continue
            token = _TOKEN.match(line, at)
            assert token is not None  # every character is one at least
            at = token.end()
            if not token[0].isspace():
                self._take(token[0])

    def _take(self, part: str) -> None:
        if part.startswith("#"):
            return
        if self._brackets == "[" and part not in ",]" and self._after in ("[", ","):
            self.entries.append(self._line)
        if part in "[{":
            self._brackets += part
        elif part in "]}":
            self._brackets = self._brackets[:-1]
        elif part in _ENDS:
            self._quotes = part
        self._after = part


def _path(said: Tree) -> Iterator[str]:
    """The parts of a heading, from what it reads as."""
    here: object = said
    while isinstance(here, (dict, list)) and here:
        if isinstance(here, list):
            here = here[0]
        else:
            ((part, here),) = here.items()
            yield part


# -- where each key stands ------------------------------------------------------------------------


def key_lines(text: str) -> dict[Where, int]:
    """The line, from 1, of each key, table and entry of a text that parses."""
    lines = text.replace("\r\n", "\n").split("\n")
    found: dict[Where, int] = {}
    entries: dict[Where, int] = {}  # a list of tables, and how many entries it has so far
    here: Where = ()
    for statement in statements(lines):
        if statement.heading is None:
            for where, line in _inside(here, statement.said, lines, statement):
                found.setdefault(where, line + 1)
            continue
        here = ()
        for part in statement.heading[:-1]:
            here = (*here, part)
            if here in entries:
                here = (*here, entries[here] - 1)
        here = (*here, statement.heading[-1])
        if statement.listed:
            found.setdefault(here, statement.start + 1)
            entries[here] = entries.get(here, 0) + 1
            here = (*here, entries[here] - 1)
        elif here in entries:
            here = (*here, entries[here] - 1)
        found.setdefault(here, statement.start + 1)
    return found


def _inside(
    above: Where, said: object, lines: list[str], statement: Statement
) -> Iterator[tuple[Where, int]]:
    """Every place in one statement's value; an entry of a list is looked for on its own line."""
    if isinstance(said, dict):
        for key, value in said.items():
            yield (*above, key), statement.start
            yield from _inside((*above, key), value, lines, statement)
    elif isinstance(said, list):
        spread = _entry_lines(lines, statement, len(said))
        for index, entry in enumerate(said):
            inner = Statement(0, spread[index], statement.end, None, False, "", {})
            yield (*above, index), spread[index]
            yield from _inside((*above, index), entry, lines, inner)


def _entry_lines(lines: list[str], statement: Statement, count: int) -> list[int]:
    """The line of each entry of the outermost list of a statement that is written over several lines."""
    opened = _Opened()
    for line in lines[statement.start : statement.end]:
        opened.read(line)
    if len(opened.entries) != count:  # a list inside another value
        return [statement.start] * count
    return [statement.start + line for line in opened.entries]


# -- what does not parse --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says, and the lines that do not parse, each with the end of a sentence."""

    tree: Tree
    # as it was read, line for line; empty where nothing was
    text: str
    wrong: tuple[tuple[int, str], ...] = ()


def read(text: str) -> Reading:
    """A text with every mistake of its grammar; a key whose value does not parse is read as a string.

    Where it cannot be known what a mistake takes with it, nothing of the text is read.
    """
    try:
        return Reading(tomllib.loads(text), text)
    except tomllib.TOMLDecodeError:
        return _read_in_part(text)


def _read_in_part(text: str) -> Reading:
    from mayfly.edge.toml_value import toml_value  # noqa: PLC0415  only for a mistake: costs 7 ms

    lines = text.split("\n")
    wrong: list[tuple[int, str]] = []
    tried: set[int] = set()
    while len(wrong) < MISTAKES_MAX:
        try:
            text = "\n".join(lines)
            return Reading(tomllib.loads(text), text, tuple(wrong))
        except tomllib.TOMLDecodeError as error:
            line, sentence = _mistake(str(error), lines)
        assignment = _ASSIGNMENT.fullmatch(lines[line - 1])
        if line in tried:
            break
        if _STRAY.fullmatch(lines[line - 1]):
            wrong.append((line, sentence))
            tried.add(line)
            lines[line - 1] = ""
            continue
        if assignment is None or sentence.endswith(_UNCLOSED):
            wrong.append((line, sentence))
            break
        key, value = assignment.groups()
        bare = value.partition("#")[0].strip()
        if _TRUTH.fullmatch(bare):
            sentence += f"; write {key} = true or {key} = false"
        elif re.fullmatch(r"[\w./][\w./:@ -]*", bare):
            # What stands there is not repeated: it may be a secret.
            sentence += f'; text stands in quotes: {key} = "…"'
        wrong.append((line, sentence))
        tried.add(line)
        as_text = f"{key} = {toml_value(value)}"
        lines[line - 1] = "" if "overwrite" in sentence else as_text
    return Reading({}, "", tuple(wrong))


def _closed(lines: list[str]) -> bool:
    """Whether all that these lines open they close; what else is wrong with them does not count."""
    opened = _Opened()
    for line in lines:
        opened.read(line)
    return opened.closed


def _mistake(message: str, lines: list[str]) -> tuple[int, str]:
    """The line at which a mistake begins, and what it is."""
    at = _AT.search(message)
    words = _AT.sub("", message)
    written = [number for number, line in enumerate(lines, start=1) if line.strip()]
    line = int(at[1]) if at is not None and at[1] else max(written, default=1)
    opener = next((n for n in range(line, 0, -1) if _OPENS.search(lines[n - 1])), line)
    if opener < line and not _closed(lines[opener - 1 : line - 1]):
        return opener, f"is not TOML: {_UNCLOSED}"
    if words in ("Illegal character '\\n'", "Unterminated string"):
        words = "a quote is not closed"
    elif "Unclosed" in words:
        words = _UNCLOSED
    return min(line, len(lines)), f"is not TOML: {words[:1].lower()}{words[1:]}"
