"""Every row of what the 2019 prototype did names a test that is there, and says where Mayfly differs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "from-the-prototype.md"
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| the prototype ")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_what_shows_it_is_there(row: list[str]) -> None:
    _, does, shown = row
    assert does
    found = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)`", shown)
    assert found, shown
    assert re.search(rf"^def {found[2]}\(", (ROOT / found[1]).read_text(), re.MULTILINE), shown


def test_the_table_is_whole() -> None:
    """As many rows as the prototype had behaviours, and some that it had two of."""
    assert len({row[0] for row in ROWS}) == len(ROWS) >= 23
