"""Where Mayfly can be got: the table of docs/where.md, which the package carries. No other place says it.

Nothing here knows an address by itself: one that is to be named anywhere is put into that table first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

NOWHERE = "nowhere"
_ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")


@dataclass(frozen=True, slots=True)
class Obtainable:
    """One thing that Mayfly can be had as."""

    what: str
    published: str | None  # an address, or what an index calls it; None: it is nowhere
    made: str  # what makes it, in a folder with the source
    installed: str  # what installs it there, or the page that says so


@cache
def obtainable() -> tuple[Obtainable, ...]:
    """The rows of the table."""
    text = (files("mayfly") / "data/where.md").read_text(encoding="utf-8")
    rows = _ROW.findall(_LINK.sub(r"\1", text).replace("`", ""))[1:]
    return tuple(
        Obtainable(what, None if published == NOWHERE else published, made, installed)
        for what, published, made, installed in rows
        if not what.startswith("-")
    )
