"""Text as the macros of man(7) want it. By hand, since what makes man pages makes them of other texts."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPECIAL = str.maketrans(
    {"\\": "\\e", "-": "\\-", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", "'": "\\(aq"}
)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def plain(text: str) -> str:
    """The text as it stands; what is no ASCII by its number."""
    marked = text.translate(_SPECIAL)
    return "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in marked)


def bold(text: str) -> str:
    """The text in bold."""
    return f"\\fB{plain(text)}\\fR"


def italic(text: str) -> str:
    """The text in italics: what stands for something else."""
    return f"\\fI{plain(text)}\\fR"


def prose(text: str) -> str:
    """A sentence in which what is typed stands in backquotes, and links have an address."""
    parts = _CODE.split(_LINK.sub(r"\1", " ".join(text.split())))
    return "".join(bold(one) if at % 2 else plain(one) for at, one in enumerate(parts))


def line(text: str) -> str:
    """A line of text that is none of macros, whatever it begins with."""
    return f"\\&{text}" if text.startswith((".", "'", "\\(aq")) else text


def title(name: str, section: int, source: str, manual: str) -> str:
    """The first line of a page; it has no date, so that a page is the same wherever it is made."""
    return f'.TH "{plain(name.upper())}" "{section}" "" "{plain(source)}" "{plain(manual)}"'


def heading(text: str) -> str:
    """The heading of a section."""
    return f".SH {plain(text.upper())}"


def subheading(text: str) -> str:
    """The heading of a part of a section."""
    return f'.SS "{plain(text)}"'


def paragraph(text: str) -> list[str]:
    """A paragraph of prose."""
    return [".PP", line(prose(text))]


def terms(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Terms, marked already, each with a sentence below it."""
    return [part for term, does in rows for part in (".TP", line(term), line(prose(does)))]


def typed(lines: Iterable[str]) -> list[str]:
    """What is typed, as it stands."""
    return [".PP", ".RS 4", ".nf", *(line(plain(one)) for one in lines), ".fi", ".RE"]
