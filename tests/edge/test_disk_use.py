"""How much room a job's directories take, whatever it has made of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mayfly.edge.disk_use import disk_use
from mayfly.edge.faults import Passing

MIB = 1024 * 1024
LONG = 60.0


def filled(place: Path, size: int = MIB) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(os.urandom(size))
    return place


def test_each_file_counts_once_however_many_names_it_has_and_where(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "-b"
    file = filled(first / "deep/er/file")
    filled(second / "own")
    before = disk_use((first, second), LONG)
    assert before is not None
    assert 2 * MIB <= before < 3 * MIB
    for number in range(20):
        os.link(file, second / f"name{number}")
        os.link(file, first / f"name{number}")
    after = disk_use((first, second), LONG)
    assert after is not None
    assert before <= after < 3 * MIB


def test_what_a_link_leads_to_and_a_file_without_content_hold_nothing(tmp_path: Path) -> None:
    outside = filled(tmp_path / "outside/file", 8 * MIB)
    place = tmp_path / "place"
    place.mkdir()
    (place / "link").symlink_to(outside.parent)
    with (place / "sparse").open("wb") as file:
        file.truncate(1024 * MIB)
    (place / "a\nname\t7").mkdir()
    assert (disk_use((place,), LONG) or MIB) < MIB


def test_what_is_not_there_is_empty_and_what_takes_too_long_is_unknown(tmp_path: Path) -> None:
    assert disk_use((tmp_path / "none",), LONG) == 0
    assert disk_use((tmp_path,), 1e-9) is None


def test_what_is_no_directory_any_more_is_told(tmp_path: Path) -> None:
    place = filled(tmp_path / "file") / "below"
    with pytest.raises(Passing, match="below holds: Not a directory"):
        disk_use((place,), LONG)
