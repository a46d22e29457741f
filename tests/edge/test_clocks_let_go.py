"""That a person gave back the clocks of a job that ran is there for the manager that records the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mayfly.core.model import Generation
from mayfly.edge.clocks_let_go import BY_HAND, NAME, note, why_unheld

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = Generation("a"), Generation("b"), Generation("c")


def test_it_is_known_of_the_agent_until_others_have_the_clocks(tmp_path: Path) -> None:
    assert why_unheld(tmp_path, A) == ""
    note(tmp_path, A, {A, B})
    note(tmp_path, B, {A, B})
    assert [why_unheld(tmp_path, one) for one in (A, B, C)] == [BY_HAND, BY_HAND, ""]
    note(tmp_path, C, {B, C})
    assert [why_unheld(tmp_path, one) for one in (A, B, C)] == ["", BY_HAND, BY_HAND]


def test_of_a_note_that_is_damaged_nobody_says_that_the_clocks_were_held(tmp_path: Path) -> None:
    for text in ("", "[", "{}", "[1]"):
        (tmp_path / NAME).write_text(text)
        assert "is damaged, so whether a person unlocked them is not known" in why_unheld(
            tmp_path, A
        )
