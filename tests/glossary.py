"""The words of the glossary, where a page uses them first: each is a link.

``python -m tests.glossary`` makes those that lack.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.pages import ROOT

GLOSSARY = ROOT / "docs/glossary.md"
# Of the first table: those that are as common in other senses, where a link at the first would mislead.
ALSO_COMMON = frozenset(
    (
        *(
            "box",
            "builder",
            "class",
            "condition",
            "dispatch",
            "engine",
            "event",
            "generation",
            "group",
        ),
        *("held", "phase", "run", "share", "turn", "veto", "verdict"),
    )
)
# What is no prose, or no program's but ours: generated parts, fences, comments, headings, code, links and
# pictures, HTML, the heads of tables.
_HIDDEN = re.compile(
    r"<!-- begin: ([\w. -]+) -->.*?<!-- end: \1 -->|^```.*?^[ ]*```|^ +```.*?^ +```|<!--.*?-->|^#[^\n]*"
    r"|``[^\n]+?``|`[^`\n]+`|!?\[[^\]]*\]\([^)]*\)|<[^>\n]+>|^\|[^\n]*\n\|[-| :]+\|$",
    re.MULTILINE | re.DOTALL,
)
_WORD = re.compile(r"^\| ((?:<a id=\"[\w-]+\"></a>)+)([^|]+) \|", re.MULTILINE)


def words() -> dict[str, str]:
    """What is linked -> its anchor."""
    met = GLOSSARY.read_text(encoding="utf-8").partition("## Words of the code")[0]
    found = {
        word.strip(): anchor
        for anchors, names in _WORD.findall(met)
        for anchor, word in zip(
            re.findall(r'id="([\w-]+)"', anchors), names.split(","), strict=True
        )
    }
    return {word: anchor for word, anchor in found.items() if word not in ALSO_COMMON}


def pages() -> Iterator[Path]:
    """The pages whose words are linked: README and docs/, without the decisions."""
    yield ROOT / "README.md"
    for page in sorted(ROOT.glob("docs/**/*.md")):
        if page != GLOSSARY and "adr" not in page.parts:
            yield page


def linked(text: str, page: Path) -> str:
    """The page with each word's first use a link, as it is already where the word is linked before."""
    place = os.path.relpath(GLOSSARY, page.parent)
    for word, anchor in words().items():
        found = first(text, word)
        if found is not None and f"glossary.md#{anchor})" not in text[: found.end()]:
            text = f"{text[: found.start()]}[{found[0]}]({place}#{anchor}){text[found.end() :]}"
    return text


def first(text: str, word: str) -> re.Match[str] | None:
    """Where the page's prose uses the word first."""
    ending = {"cordoned": "cordon(?:s|ed|ing)?", "drained": "drain(?:s|ed|ing)?"}.get(
        word, f"{word}s?"
    )
    hidden = [found.span() for found in _HIDDEN.finditer(text)]
    for found in re.finditer(rf"(?<![\w'./=\[-])(?<!namespace )(?i:{ending})(?![\w'/=\]-])", text):
        if not any(begin <= found.start() < end for begin, end in hidden):
            return found
    return None


if __name__ == "__main__":
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(linked(text, page), encoding="utf-8")
