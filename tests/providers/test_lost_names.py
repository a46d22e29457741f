"""Names that were lost at a service are known until there are too many."""

from __future__ import annotations

from mayfly.providers.lost_names import MOST, LostNames


def test_a_service_that_never_answers_fills_nothing_and_the_last_names_are_known() -> None:
    lost = LostNames()
    for number in range(3 * MOST):
        lost.add(f"box-gpu-0-{number}")
    assert len(lost) == MOST
    assert f"box-gpu-0-{3 * MOST - 1}" in lost
    assert "box-gpu-0-0" not in lost
    lost.discard(f"box-gpu-0-{3 * MOST - 1}")
    lost.discard("never there")
    assert len(lost) == MOST - 1
