"""One TOML text by statements and by lines: where each key stands, and what does not parse.

``tomllib`` says what a text means and not where; this says where and repeats no grammar: a statement is as
many lines as ``tomllib`` needs to read it. Nothing here knows what a key means.
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
_AT = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)\s*$")
_ASSIGNMENT = re.compile(r"""\s*([A-Za-z0-9_.\- "']+?)\s*=\s*(.*)""")
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
    for end in range(start + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
    raise NotToml(start + 1)


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
    lines = text.split("\n")
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
    spread = [statement.start] * count
    done = 0
    for end in range(statement.start + 1, statement.end):
        try:
            said: object = tomllib.loads("\n".join([*lines[statement.start : end], "]"]))
        except tomllib.TOMLDecodeError:
            continue
        while isinstance(said, dict) and len(said) == 1:
            (said,) = said.values()
        if isinstance(said, list):
            for index in range(done, min(len(said), count)):
                spread[index] = end - 1
            done = max(done, len(said))
    alone = lines[statement.end - 1].strip().startswith("]")  # the bracket that closes it
    for index in range(done, count):
        spread[index] = max(statement.start, statement.end - (2 if alone else 1))
    return spread


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


def _parses(lines: list[str]) -> bool:
    try:
        tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _mistake(message: str, lines: list[str]) -> tuple[int, str]:
    """The line at which a mistake begins, and what it is."""
    at = _AT.search(message)
    words = _AT.sub("", message)
    written = [number for number, line in enumerate(lines, start=1) if line.strip()]
    line = int(at[1]) if at is not None and at[1] else max(written, default=1)
    opener = next((n for n in range(line, 0, -1) if _OPENS.search(lines[n - 1])), line)
    if opener < line and not _parses(lines[opener - 1 : line - 1]):
        return opener, f"is not TOML: {_UNCLOSED}"
    if words in ("Illegal character '\\n'", "Unterminated string"):
        words = "a quote is not closed"
    elif "Unclosed" in words:
        words = _UNCLOSED
    return min(line, len(lines)), f"is not TOML: {words[:1].lower()}{words[1:]}"
