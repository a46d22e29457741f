"""That a token ends is told a month, a fortnight and three days ahead, and once it has ended."""

from __future__ import annotations

import pytest

from mayfly.core.model import PoolName, Severity
from mayfly.core.token_end import DAY, end_of, token_conditions

POOL = PoolName("gpu")
NOW = end_of("2027-11-28")  # as the 29th begins


@pytest.mark.parametrize(
    ("left", "severity", "words"),
    [
        (31.0, None, ""),
        (29.5, Severity.INFO, "ends in 29 days (2027-12-28 12:00 UTC)"),
        (13.5, Severity.WARNING, "ends in 13 days"),
        (1.5, Severity.ERROR, "ends in 1 day ("),
        (0.5, Severity.ERROR, "ends in less than a day"),
        (-0.5, Severity.ERROR, "has ended (2027-11-28 12:00 UTC)"),
    ],
)
def test_how_it_is_told(left: float, severity: Severity | None, words: str) -> None:
    told = token_conditions({POOL: NOW + left * DAY}, NOW)
    assert [one.severity for one in told] == ([] if severity is None else [severity])
    assert all(words in one.text and one.code == "token.ends" for one in told)


def test_a_day_is_over_as_the_next_begins() -> None:
    assert end_of("2027-11-28") == end_of("2027-11-27") + DAY
