"""Every row of the known failures names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "known-failures.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| what happens ")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_what_shows_it_is_there(row: list[str]) -> None:
    happens, does, shown = row
    assert happens
    assert does
    found = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)`\s*\|?", shown)
    assert found, shown
    source = (ROOT / found[1]).read_text()
    assert re.search(rf"^\s*def {found[2]}\(", source, re.MULTILINE), shown


def test_none_is_told_twice() -> None:
    assert len({row[0] for row in ROWS}) == len(ROWS) > 40
