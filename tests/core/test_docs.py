"""The documentation of phases says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from mayfly.core.model import Phase
from mayfly.core.slots import BACKOFF_FIRST, BACKOFF_MOST, DEADLINES

PAGE = (Path(__file__).parents[2] / "docs/reference/phases.md").read_text(encoding="utf-8")
DURATIONS = {"120 s": 120.0, "24 h": 86400.0, "180 s": 180.0, "60 s": 60.0}


def test_the_diagram_names_every_phase_and_no_other() -> None:
    edges = re.findall(r"^    (\w+) --> (\w+)", PAGE, re.MULTILINE)
    assert {phase for edge in edges for phase in edge} == {str(phase) for phase in Phase}


def test_every_phase_can_be_reached_and_left() -> None:
    edges = re.findall(r"^    (\w+) --> (\w+)", PAGE, re.MULTILINE)
    assert {left for left, _ in edges} == {reached for _, reached in edges}


def test_the_table_gives_the_deadlines_of_the_code() -> None:
    rows = dict(re.findall(r"^\| \[?(\w+)(?:\]\([^)]*\))? \| ([^|]+) \|", PAGE, re.MULTILINE))
    rows.pop("phase")
    assert set(rows) == {str(phase) for phase in Phase}
    for phase, deadline in DEADLINES.items():
        if deadline.seconds is not None:
            told = re.search(r"\d+ [sh]", rows[phase])
            assert told is not None
            assert DURATIONS[told.group()] == deadline.seconds


def test_the_table_gives_the_backoff_of_the_code() -> None:
    assert f"{BACKOFF_FIRST:.0f} s, doubled" in PAGE
    assert f"at most {BACKOFF_MOST:.0f} s" in PAGE
