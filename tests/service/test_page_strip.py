"""Seven days of a GPU, from the stints of its agents."""

from __future__ import annotations

import pytest

from mayfly.service.page.strip import (
    AGAIN,
    DAY,
    MOST,
    PIECE,
    PIECES,
    Stint,
    Stints,
    first_piece,
    week,
)

NOW = 1_795_000_123.0
BEGINS = first_piece(NOW)


def stint(begin: float, end: float, *gpus: str) -> Stint:
    """In pieces from the strip's beginning."""
    return Stint(BEGINS + begin * PIECE, BEGINS + end * PIECE, gpus or ("GPU-1",))


def test_the_strip_ends_with_the_piece_that_runs_now() -> None:
    assert BEGINS % PIECE == 0
    assert BEGINS + (PIECES - 1) * PIECE <= NOW < BEGINS + PIECES * PIECE
    assert PIECES * PIECE == 7 * DAY


@pytest.mark.parametrize(
    ("stints", "expected"),
    [
        ([stint(0, 1)], {0: 1.0}),
        ([stint(-5, 0.5)], {0: 0.5}),
        ([stint(1.5, 3.25)], {1: 0.5, 2: 1.0, 3: 0.25}),
        ([stint(4, 4.5), stint(4, 4.25), stint(4.25, 4.75)], {4: 0.75}),  # shared: no more than one
        ([stint(PIECES - 0.5, PIECES + 9)], {PIECES - 1: 0.5}),
        ([stint(-9, -1)], {}),
        ([stint(7, 7)], {}),
        ([stint(8, 6)], {}),  # a clock that was set back
    ],
)
def test_each_piece_has_the_share_of_it_that_was_used(
    stints: list[Stint], expected: dict[int, float]
) -> None:
    found = week(stints, NOW).strips["GPU-1"].pieces
    assert {at: round(share, 6) for at, share in enumerate(found) if share} == expected


def test_each_gpu_has_its_own() -> None:
    found = week([stint(0, PIECES, "A", "B"), stint(0, 1, "C")], NOW).strips
    assert [round(found[one].share, 4) for one in "ABC"] == [1.0, 1.0, round(1 / PIECES, 4)]


def test_of_more_than_are_read_it_is_said_from_when_on_it_is_known() -> None:
    stints = [stint(50, 60), stint(30, 40)]
    assert week(stints, NOW).known == BEGINS
    assert week(stints, NOW, whole=False).known == stints[-1].exited


def test_the_history_is_asked_once_a_minute_for_a_bounded_number() -> None:
    asked: list[tuple[float, int]] = []

    class History:
        def gpu_stints(
            self, since: float, limit: int
        ) -> list[tuple[float, float, tuple[str, ...]]]:
            asked.append((since, limit))
            return [(NOW - 60, NOW, ("A",))]

    stints = Stints(History())
    for steady in (0.0, 1.0, AGAIN - 1, AGAIN):
        assert stints.last(NOW, steady) == ((Stint(NOW - 60, NOW, ("A",)),), True)
    assert asked == [(BEGINS, MOST)] * 2
