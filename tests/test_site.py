"""The site of `make docs`, as far as it can be seen without what builds it: its pages, and its versions."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.pages import ROOT

DOCS = ROOT / "docs"


def test_every_page_is_named_by_the_index_or_the_list_of_decisions() -> None:
    named = {DOCS / "README.md"}
    for index in (DOCS / "README.md", DOCS / "adr/README.md"):
        for place in re.findall(r"^\| \[.+?\]\(([\w./-]+\.md)\)", index.read_text(), re.MULTILINE):
            named.add(Path(os.path.normpath(index.parent / place)))
    assert {*DOCS.rglob("*.md")} <= named
    assert all(path.is_file() for path in named)


def test_what_builds_it_is_named_to_the_last_version() -> None:
    wanted = (ROOT / "docs-site/requirements.txt").read_text().splitlines()
    lines = [line for line in wanted if not line.startswith("#")]
    assert len(lines) > 20
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in lines)
