"""The directory that a backup is made in, and how the file gets its name."""

from __future__ import annotations

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mayfly.core.backup import part_of
from mayfly.edge import backup_state
from mayfly.edge.backup_state import is_safe, place, working

SOURCE = Path(backup_state.__file__).parents[1]


def test_two_backups_that_begin_at_once_sweep_no_directory_of_each_other(tmp_path: Path) -> None:
    def one(number: int) -> None:
        for turn in range(40):
            with working(tmp_path) as folder:
                (folder / "new").write_text(f"{number} {turn}")
                assert (folder / "new").read_text() == f"{number} {turn}"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [None] * 4
    assert list(tmp_path.iterdir()) == []


def test_no_database_is_copied_where_somebody_else_may_put_a_link(tmp_path: Path) -> None:
    beside = tmp_path / "here"
    beside.mkdir()
    for mode, found in ((0o755, True), (0o1777, True), (0o777, False), (0o775, False)):
        beside.chmod(mode)
        assert is_safe(beside) == found, oct(mode)
    beside.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(beside, 1000, 1000)
        assert not is_safe(beside)


def _has_no_links(_new: Path, _target: Path) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_disk_without_links_takes_a_backup_too_and_none_is_overwritten(tmp_path: Path) -> None:
    for name, link in (("a", os.link), ("b", _has_no_links)):
        new, target = tmp_path / "new", tmp_path / name
        new.unlink(missing_ok=True)
        new.write_text("whole")
        place(new, target, link)
        assert target.read_text() == "whole"
        new.unlink(missing_ok=True)
        new.write_text("another")
        with pytest.raises(FileExistsError):
            place(new, target, link)
        assert target.read_text() == "whole"


def test_each_name_below_the_state_directory_is_something_to_a_backup() -> None:
    named = {
        name
        for file in SOURCE.rglob("*.py")
        for name in re.findall(r'state_dir\)? / "([^"]+)"', file.read_text())
    }
    assert {"output", "results", "pools", "notices", "lease-holder"} <= named
    unknown = {name for name in named if part_of(name, {"gitlab"}) is None}
    assert not unknown, f"say in PARTS of core/backup.py what they are: {unknown}"


def test_whether_there_is_a_state_is_asked_where_one_may_not_look_too() -> None:
    """`Path.exists` raises there, and whoever is no root would see a traceback."""
    asked = "(state_dir / FILE_NAME).exists()"
    assert [file.name for file in SOURCE.rglob("*.py") if asked in file.read_text()] == []
