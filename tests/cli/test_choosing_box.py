"""Which box a job goes to is decided by numbers, whatever a box says in place of one."""

from __future__ import annotations

import json

import pytest

from mayfly.cli.choosing_box import rank

NOW = {"starts_in": 0.0, "ahead": 0, "slots": 2, "busy": 0}
CANNOT_SAY = rank({**NOW, "starts_in": None})


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-Infinity", "1e999", "true", '"0"', "[]"])
def test_what_is_no_time_is_none(odd: str) -> None:
    assert rank({**NOW, "starts_in": json.loads(odd)}) == CANNOT_SAY


def test_no_box_is_sooner_than_now_or_has_fewer_than_none_before_it() -> None:
    assert rank({"starts_in": -1e9, "ahead": -5, "slots": 2, "busy": -1}) == rank(NOW)
    assert rank({**NOW, "slots": 10**400}) > rank({**NOW, "starts_in": 3600.0})
