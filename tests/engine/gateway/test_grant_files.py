"""What manager and gateway tell each other in an agent's directory, and what the renaming of one ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mayfly.core.admission.grant import grant_text
from mayfly.engines.docker.gateway.grant_files import REFUSALS_LINES, GrantFiles
from mayfly.engines.docker.gateway.rate import Rate
from tests.engine.gateway.agent import given, granted


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "door").mkdir()
    (tmp_path / "live").mkdir()
    return tmp_path


def test_a_grant_is_read_when_it_comes_and_again_when_it_is_another(place: Path) -> None:
    files = GrantFiles(place)
    assert files.grant() is None
    given(place, granted(pool="one"))
    found = files.grant()
    assert found is not None
    assert (found.pool, files.grant()) == ("one", found)
    given(place, granted(pool="two"))
    again = files.grant()
    assert again is not None
    assert again.pool == "two"


def test_a_grant_that_cannot_be_read_is_an_error_and_not_the_one_before(place: Path) -> None:
    files = GrantFiles(place)
    given(place, granted(pool="one"))
    assert files.grant() is not None
    (place / "live/grant.json").write_text(grant_text(granted(pool="two")).replace("pool", "pond"))
    with pytest.raises(ValueError, match="pond"):
        files.grant()


def test_nothing_can_be_made_before_the_grant_or_after_the_end(place: Path) -> None:
    files = GrantFiles(place)
    assert not files.note_made()
    given(place, granted(pool="one"))
    assert files.note_made()
    assert (place / "live/made").exists()
    assert files.note_made()
    (place / "live").rename(place / "over")
    assert not files.note_made(), "also where it was noted before"
    assert not GrantFiles(place).note_made()
    assert files.grant() is None
    assert files.is_over()


def test_an_agent_that_made_nothing_has_no_mark(place: Path) -> None:
    given(place, granted(pool="one"))
    (place / "live").rename(place / "over")
    assert not GrantFiles(place).note_made()
    assert not (place / "over/made").exists()


def test_refusals_are_bounded_and_a_gateway_that_starts_again_goes_on_counting(place: Path) -> None:
    files = GrantFiles(place)
    for number in range(REFUSALS_LINES - 1):
        files.note_refusal(f"no {number}")
    again = GrantFiles(place)
    again.note_refusal("é" * 10_000)
    again.note_refusal("one too many")
    lines = [json.loads(line) for line in (place / "live/refusals").read_text().splitlines()]
    assert len(lines) == REFUSALS_LINES
    assert lines[0]["text"] == "no 0"
    assert len(lines[-1]["text"]) == 600


def test_refusals_after_the_end_cost_nothing(place: Path) -> None:
    files = GrantFiles(place)
    (place / "live").rename(place / "over")
    files.note_refusal("late")
    assert not (place / "over/refusals").exists()


def test_who_asks_faster_than_allowed_waits_and_who_rested_does_not() -> None:
    now = [100.0]
    rate = Rate(10, lambda: now[0])
    assert [rate.wait() for _ in range(10)] == [0.0] * 10
    assert rate.wait() == pytest.approx(0.1)
    assert rate.wait() == pytest.approx(0.2)
    now[0] += 0.25
    assert rate.wait() == pytest.approx(0.05)
    now[0] += 60
    assert [rate.wait() for _ in range(11)] == [*[0.0] * 10, pytest.approx(0.1)]
