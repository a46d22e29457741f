"""What changed between two commits, as git and people write it down.

A path may be any bytes but NUL; what is not UTF-8 in it is kept as Python's ``surrogateescape`` has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LETTER = re.compile(r"[ACDMRTUXB][0-9]{0,3}")


class ChangesError(ValueError):
    """The text is no list of changes; the end of a sentence says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that is not what it was."""

    path: str
    gone: bool = False  # it is no longer there


def text(path: bytes) -> str:
    """A path's bytes as text."""
    return path.decode("utf-8", "surrogateescape")


def name_status(output: bytes) -> tuple[Change, ...]:
    """What ``git diff --name-status -z`` printed. Both paths of a rename count: one is gone, one is new."""
    return tuple(_changes(iter(output.split(b"\0")), "git's list of changes"))


def _changes(fields: Iterator[bytes], where: str) -> Iterator[Change]:
    for field in fields:
        if not field:
            continue
        letter = field.decode("ascii", "replace")
        if not _LETTER.fullmatch(letter):
            raise ChangesError(f"{where} has {letter!r} where a letter belongs")
        paths = [next(fields, b"") for _ in range(2 if letter[0] in "RC" else 1)]
        if not all(paths):
            raise ChangesError(f"{where} ends in the middle of a change")
        if letter[0] in "RC":
            if letter[0] == "R":
                yield Change(text(paths[0]), gone=True)
            yield Change(text(paths[1]))
        else:
            yield Change(text(paths[0]), gone=letter[0] == "D")


def listed(output: bytes, there: frozenset[str]) -> tuple[Change, ...]:
    """A list of paths, one a line or one a NUL; what is not ``there`` is gone.

    The lines of ``git diff --name-status``, with their letters, are read too.
    """
    found: dict[str, Change] = {}
    for line in output.split(b"\0" if b"\0" in output else b"\n"):
        bare = line.removesuffix(b"\r").removeprefix(b"./")
        if not bare:
            continue
        if bare.rpartition(b"\t")[2].startswith(b'"') and b"\0" not in output:
            raise ChangesError(
                "the list of changes has a path in git's quotes: `git diff -z` writes none"
            )
        letter, *paths = bare.split(b"\t")
        if paths and _LETTER.fullmatch(letter.decode("ascii", "replace")):
            changes = tuple(_changes(iter((letter, *paths)), "the list of changes"))
        else:
            changes = (Change(text(bare), gone=text(bare) not in there),)
        for change in changes:
            if change.path.startswith("/"):
                raise ChangesError(
                    f"the list of changes has {change.path!r}: a path begins at the repository's top"
                )
            found[change.path] = change
    return tuple(found.values())
