"""The sections of the page on what may be wrong, for a terminal: `mayfly help CODE`.

The page is the one source, docs/how-to/troubleshooting.md; a wheel has it as data. It is there without a
network, and without the page's pictures of links: what a link leads to is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from mayfly.cli.paragraph import INDENT, paragraph

_SECTION = re.compile(
    r'^<a id="([\w.-]+)"></a>\n\n### \1\n(.*?)(?=^<a id=|^## |\Z)', re.MULTILINE | re.DOTALL
)
_ITEM = re.compile(r"^- \*\*(.+?)\*\*: (.*?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[([^\]\[]+)\]\(([^)\s]+)\)")
TYPED = "Type"  # the item whose lines are to be pasted


@cache
def sections() -> dict[str, dict[str, str]]:
    """What the page says, by code: each item of a section, such as ``Why``, in Markdown."""
    text = (files("mayfly") / "data/troubleshooting.md").read_text(encoding="utf-8")
    return {
        code: {name: re.sub(r"\s*\n\s*", " ", said).strip() for name, said in _ITEM.findall(body)}
        for code, body in _SECTION.findall(text)
    }


def codes_of(said: str) -> list[str]:
    """What stands between backquotes."""
    return [code.strip() for _, code in _CODE.findall(said)]


def lines_of(code: str, width: int = 78) -> list[str]:
    """A section as text: what is to be typed stands on lines of its own, which are never wrapped."""
    lines = [code]
    for name, said in sections()[code].items():
        lines += ["", f"{name}:"]
        if name == TYPED:
            lines += _typed(said)
        else:
            told = _CODE.sub(lambda found: found[0].replace("``", ""), _unlinked(said))
            lines += paragraph(told, width)
    return lines


def _typed(said: str) -> Iterator[str]:
    """The lines to paste, and between them what is said of them."""
    at = 0
    for found in _CODE.finditer(said):
        between = said[at : found.start()].strip(" ,.;:")
        if between and between != "or":
            yield f"{INDENT}{_unlinked(between)}:"
        yield f"{INDENT}{INDENT}{found[2].strip()}"
        at = found.end()
    rest = said[at:].strip(" ,.;:")
    if rest:
        yield f"{INDENT}{_unlinked(rest)}"


def _unlinked(said: str) -> str:
    """Links as words: of a section its line, of a page its file."""

    def named(link: re.Match[str]) -> str:
        place, _, anchor = link[2].partition("#")
        if place.endswith("glossary.md"):
            return link[1]  # a word that stands for itself
        if not place:
            return link[1] if link[1] == anchor else f"{link[1]} (mayfly help {anchor})"
        folder = "docs/" if place.startswith("../") else "docs/how-to/"
        return f"{link[1]} ({folder}{place.removeprefix('../')})"

    return _LINK.sub(named, said)
