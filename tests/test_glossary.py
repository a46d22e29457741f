"""The glossary: each page links a word of it where it uses it first, and each link finds its word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.glossary import GLOSSARY, linked, pages, words
from tests.pages import ROOT

PAGES = tuple(pages())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_word_s_first_use_on_a_page_is_a_link(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert linked(text, page) == text, "python -m tests.glossary makes the links"


def test_each_link_finds_its_word() -> None:
    anchors = set(re.findall(r'<a id="([\w-]+)">', GLOSSARY.read_text(encoding="utf-8")))
    assert set(words().values()) <= anchors
    found = {
        anchor
        for page in PAGES
        for anchor in re.findall(r"glossary\.md#([\w-]+)\)", page.read_text(encoding="utf-8"))
    }
    assert found - anchors == set()
    assert len(found) > 15


def test_code_headings_comments_and_links_are_left_as_they_are() -> None:
    text = "# A slot\n\n`slot` <!-- slot --> [a slot](x.md)\n\n```sh\nslot\n```\n\nThe slots of a pool.\n"
    told = linked(text, ROOT / "docs/how-to/some.md")
    assert told.endswith("\nThe [slots](../glossary.md#slot) of a [pool](../glossary.md#pool).\n")
    assert told.startswith(text.partition("The slots")[0])
    assert linked(told, ROOT / "docs/how-to/some.md") == told
