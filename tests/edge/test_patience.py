"""What is soon to be so is looked for a few times, not all the time."""

from __future__ import annotations

import pytest

from mayfly.edge.patience import comes_true


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_it_ends_with_the_look_that_is_true(looks: int) -> None:
    answers = [False] * (looks - 1) + [True, False]
    assert comes_true(lambda: answers.pop(0), within=600.0, first=0.001)
    assert answers == [False]


def test_what_never_comes_is_looked_for_ever_more_seldom() -> None:
    looks: list[None] = []

    def look() -> bool:
        looks.append(None)
        return False

    assert not comes_true(look, within=0.5, first=0.005)
    assert 2 <= len(looks) <= 9  # after 0, 5, 15, 35, 75, 155, 315 ms and then once or twice more


def test_what_is_so_at_once_is_not_waited_for() -> None:
    assert comes_true(lambda: True, within=0.0, first=600.0)
