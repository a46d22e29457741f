"""The pattern language of paths: ``stages/{stage}/**``.

========== =============================================================================================
``*``      any characters of one segment (what stands between two slashes), also none
``{name}`` the same, at least one, and what they were is captured
``**``     a whole segment of a pattern: any number of segments of a path, at the end at least one
``\\``      takes the meaning of what follows
========== =============================================================================================

Each takes as little as it can, from left to right. No pattern is slow on any path: nothing is tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# What was captured, in the order of the pattern.
Captures = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ANY = "**"


class PatternError(ValueError):
    """The text is no pattern; the end of a sentence says why."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """What one segment of a path looks like: literals, and a wildcard between each two."""

    literals: tuple[str, ...]
    wild: tuple[str | None, ...]  # the name of a capture; None: it is not kept

    @property
    def literal(self) -> str | None:
        """The text, where it is nothing but that."""
        return None if self.wild else self.literals[0]

    def match(self, text: str) -> Captures | None:
        """Literals are taken at the earliest place where they are: if any place will do, that one does."""
        if not self.wild:
            return () if text == self.literals[0] else None
        at, end = len(self.literals[0]), len(text) - len(self.literals[-1])
        if (
            at > end
            or not text.startswith(self.literals[0])
            or not text.endswith(self.literals[-1])
        ):
            return None
        found: list[tuple[str, str]] = []
        for name, literal in zip(self.wild[:-1], self.literals[1:-1], strict=True):
            stop = text.find(literal, at if name is None else at + 1, end)
            if stop < 0:
                return None
            if name is not None:
                found.append((name, text[at:stop]))
            at = stop + len(literal)
        last = self.wild[-1]
        if last is None:
            return tuple(found)
        return (*found, (last, text[at:end])) if at < end else None


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern; ``parse`` makes it."""

    text: str
    # what stands between each two ``**``
    blocks: tuple[tuple[_Segment, ...], ...]
    names: tuple[str, ...]

    @property
    def beginning(self) -> str:
        """The segments that every path it matches begins with, joined; empty: there are none."""
        parts: list[str] = []
        for segment in self.blocks[0]:
            if segment.literal is None:
                break
            parts.append(segment.literal)
        return "/".join(parts)

    @property
    def ending(self) -> str:
        """What every path it matches ends with."""
        return self.blocks[-1][-1].literals[-1] if self.blocks[-1] else ""

    def match(self, path: str) -> Captures | None:
        """What the path says for each capture; ``None``: it does not match."""
        return self.match_segments(path.split("/"))

    def match_segments(self, segments: Sequence[str]) -> Captures | None:
        """The same of a path that is split already."""
        first, *middle = self.blocks
        if not middle:
            return _all(first, segments, 0) if len(first) == len(segments) else None
        last = middle.pop()
        at, end = len(first), len(segments) - len(last)
        behind = 0 if last else 1  # a folder's pattern is not for the folder's own name
        if at + behind > end:
            return None
        ends = _all(last, segments, end)
        found = None if ends is None else _all(first, segments, 0)
        if found is None or ends is None:
            return None
        for block in middle:
            for start in range(at, end - behind - len(block) + 1):
                more = _all(block, segments, start)
                if more is not None:
                    break
            else:
                return None
            found, at = found + more, start + len(block)
        return found + ends


def _all(block: Sequence[_Segment], segments: Sequence[str], start: int) -> Captures | None:
    found: Captures = ()
    for number, segment in enumerate(block, start):
        more = segment.match(segments[number])
        if more is None:
            return None
        found += more
    return found


def parse(text: str) -> Pattern:
    """A pattern from its text; ``PatternError`` says what is wrong with it."""
    if not text or "\0" in text:
        raise PatternError("must be a path's pattern")
    if text.startswith("/"):
        raise PatternError("begins with /: a path begins at the repository's top")
    if text.endswith("/"):
        raise PatternError(f"ends with /: what is in a folder is {text}**")
    blocks: list[list[_Segment]] = [[]]
    names: list[str] = []
    before = ""
    for part in text.split("/"):
        if part in ("", ".", ".."):
            raise PatternError(f"has the segment {part!r}, and no path of a repository has one")
        if part == _ANY == before:
            raise PatternError("has ** twice in a row: once means the same")
        if part == _ANY:
            blocks.append([])
        else:
            blocks[-1].append(_segment(part))
            names += [name for name in blocks[-1][-1].wild if name is not None]
        before = part
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PatternError(f"captures {twice[0]} twice: give one of them another name")
    return Pattern(text, tuple(map(tuple, blocks)), tuple(names))


def _segment(text: str) -> _Segment:
    literals, wild = [""], list[str | None]()
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            if at + 1 == len(text):
                raise PatternError("has a \\ with nothing behind it")
            literals[-1] += text[at + 1]
            at += 2
            continue
        if sign not in "*{}":
            literals[-1] += sign
            at += 1
            continue
        if text.startswith(_ANY, at):
            raise PatternError("has ** beside something else: it is a whole segment, as in a/**/b")
        if wild and not literals[-1]:
            raise PatternError("has two wildcards side by side: nobody can tell what each takes")
        name: str | None = None
        if sign != "*":
            close = text.find("}", at)
            name = text[at + 1 : close]
            if sign == "}" or close < 0:
                raise PatternError("has a brace without its other half; a brace itself is \\{")
            if not _NAME.fullmatch(name):
                raise PatternError(
                    f"captures {name!r}: a name is lower-case letters, digits and _, a letter first"
                )
            at = close
        wild.append(name)
        literals.append("")
        at += 1
    return _Segment(tuple(literals), tuple(wild))


class Patterns:
    """Many patterns, of which a path meets only those that begin as it does."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._beginnings: dict[str, list[tuple[int, Pattern, str]]] = {}
        for number, pattern in enumerate(patterns):
            entry = (number, pattern, pattern.ending)
            self._beginnings.setdefault(pattern.beginning, []).append(entry)

    def matches(self, path: str) -> Iterator[tuple[int, Captures]]:
        """The number of each pattern that matches, and what it captures."""
        segments = path.split("/")
        beginning = ""
        for depth in range(len(segments) + 1):
            for number, pattern, ending in self._beginnings.get(beginning, ()):
                if path.endswith(ending):
                    found = pattern.match_segments(segments)
                    if found is not None:
                        yield number, found
            if depth < len(segments):
                beginning = f"{beginning}/{segments[depth]}" if depth else segments[depth]

    def any(self, path: str) -> bool:
        """Whether one of them matches."""
        return next(self.matches(path), None) is not None
