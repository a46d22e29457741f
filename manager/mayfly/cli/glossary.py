"""What a word means, for a terminal: `mayfly help standby`.

The page is the one source, docs/glossary.md; a wheel has it as data. Only its first table is read: the words
of the code are for those who have the code. A verb, a topic and a code of the same name go before.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from mayfly.cli.paragraph import paragraph

_ROW = re.compile(r'^\| ((?:<a id="[\w-]+"></a>)+)([^|]+?) \| (.+) \|$', re.MULTILINE)
_LINK = re.compile(r"\[([^\]\[]+)\]\([^)\s]+\)")
_SEE = re.compile(r"\.? See \[[^\]\[]+\]\([^)\s]+\)$")  # a page
_CODE = "## Words of the code"


@cache
def meanings() -> dict[str, str]:
    """What the page says, by word; two words of one row have the same."""
    text = (files("mayfly") / "data/glossary.md").read_text(encoding="utf-8")
    return {
        word: _LINK.sub(r"\1", _SEE.sub("", means))
        for _, words, means in _ROW.findall(text.partition(_CODE)[0])
        for word in words.split(", ")
    }


def lines_of(word: str, width: int = 78) -> list[str]:
    """A word with what it means."""
    return [word, "", *paragraph(meanings()[word], width)]
