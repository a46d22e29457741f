"""What two looks come to: a row is a world, and how much an agent has begun in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.activity import BUSY, CROWDED, OF_ONE, Traffic, advanced, is_busy, opened

LIMIT = 32768


@pytest.mark.parametrize(
    ("before", "now", "crowd", "expected"),
    [
        # A scan of ports; the same where the namespace tracks nothing by itself.
        (Traffic(5000, 10_000, 10_000), Traffic(9000, 14_000, 14_000), 9000, 4000),
        (Traffic(0, 10_000, 10_000), Traffic(0, 14_000, 14_000), 9000, 4000),
        # It speaks with itself; it loads much from few; it sends datagrams to few.
        (Traffic(5000, 100, 0), Traffic(9000, 103, 4000), 9000, 3),
        (Traffic(9000, 0, 40), Traffic(9000, 50_000, 45), 9000, 5),
        (Traffic(3, 0, 0), Traffic(3, 50_000, 50_000), 9000, 0),
        # There is room for it; it is another who fills the table.
        (Traffic(1500, 0, 0), Traffic(3000, 4000, 4000), CROWDED - 1, 0),
        (Traffic(OF_ONE - 1, 0, 0), Traffic(OF_ONE - 1, 4000, 4000), 100_000, 0),
        # A count that began anew.
        (Traffic(5000, 10_000, 10_000), Traffic(5000, 3, 3), 9000, 0),
    ],
)
def test_connections_count_where_they_crowd_the_engine_s_table(
    before: Traffic, now: Traffic, crowd: int, expected: int
) -> None:
    assert opened([(before, now)], crowd) == expected


def test_of_all_networks_of_an_agent_together_it_has_many_connections_or_few() -> None:
    few = Traffic(OF_ONE // 2, 0, 0), Traffic(OF_ONE // 2, 4000, 3000)
    assert opened([few], CROWDED) == 0
    assert opened([few, few], CROWDED) == 6000
    # Of one whose kernel tracks nothing there it is not known how many it has.
    assert opened([few, (Traffic(0, 0, 0), Traffic(0, 70, 80))], CROWDED) == 70


@pytest.mark.parametrize(
    ("cursor", "numbers", "most", "expected"),
    [
        (100, [150, 140], 60, 50),
        (100, [], 60, None),
        (100, [100], 60, 0),
        (LIMIT - 10, [320, LIMIT - 5], 400, 330),  # begun anew
        (100, [7, 150], 60, 50),  # an old one that moved in
        (100, [7], 60, None),
        (100, [30_000], 60, None),
    ],
)
def test_how_far_the_numbers_of_processes_have_come(
    cursor: int, numbers: list[int], most: int, expected: int | None
) -> None:
    assert advanced(cursor, numbers, most, LIMIT) == expected


@given(st.integers(0, LIMIT - 1), st.lists(st.integers(0, LIMIT - 1)), st.integers(0, LIMIT - 1))
def test_nobody_has_begun_more_than_the_whole_host(
    cursor: int, numbers: list[int], most: int
) -> None:
    found = advanced(cursor, numbers, most, LIMIT)
    assert found is None or 0 <= found <= most


def test_a_host_is_busy_by_what_its_processors_are_always_at() -> None:
    assert is_busy(int(BUSY * 2 * 2) + 1, 2.0, 2)
    assert not is_busy(int(BUSY * 2 * 2) + 1, 2.0, 4)
