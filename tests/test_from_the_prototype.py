"""Every row of what the 2019 prototype did names a test that is there, and says where Mayfly differs."""

from __future__ import annotations

import pytest

from tests.pages import assert_is_there, rows

ROWS = rows("how-to/from-the-prototype.md", "the prototype")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_what_shows_it_is_there(row: list[str]) -> None:
    _, does, shown = row
    assert does
    assert_is_there(shown)


def test_the_table_is_whole() -> None:
    """As many rows as the prototype had behaviours, and some that it had two of."""
    assert len({row[0] for row in ROWS}) == len(ROWS) >= 23
