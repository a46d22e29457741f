"""Tables in the documentation whose rows each name the test that shows what they say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of every row of the page's tables but those that begin with the heading."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in lines
        if line.startswith("| ") and not line.startswith(f"| {heading} ")
    ]


def assert_is_there(shown: str) -> None:
    """The cell names a test, and there is one of that name in that file."""
    found = re.fullmatch(r"`(tests/\S+\.py)::(test_\w+)`", shown)
    assert found, shown
    source = (ROOT / found[1]).read_text()
    assert re.search(rf"^def {found[2]}\(", source, re.MULTILINE), shown
