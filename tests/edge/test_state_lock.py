"""Whether a manager works on a state directory."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from mayfly.edge.faults import Refused
from mayfly.edge.state_lock import NAME, is_managed, managing
from tests.harness import disk

if TYPE_CHECKING:
    from pathlib import Path


def test_a_manager_is_there_for_as_long_as_it_has_the_lock(tmp_path: Path) -> None:
    assert not is_managed(tmp_path)
    (tmp_path / NAME).touch()
    assert not is_managed(tmp_path)
    with managing(tmp_path):
        assert is_managed(tmp_path)
        assert is_managed(tmp_path), "who looks takes nothing"
    assert not is_managed(tmp_path)


def test_a_second_manager_is_told_who_is_there(tmp_path: Path) -> None:
    with (
        managing(tmp_path),
        pytest.raises(Refused, match=rf"another manager \(pid {os.getpid()}\)"),
        managing(tmp_path),
    ):
        pass
    assert not is_managed(tmp_path)


def test_a_full_disk_keeps_no_manager_from_the_lock(tmp_path: Path) -> None:
    with disk(tmp_path, "64k"):
        with suppress(OSError), (tmp_path / "full").open("wb", buffering=0) as full:
            while True:
                full.write(b"x" * 4096)
        with managing(tmp_path):
            assert is_managed(tmp_path)
            with pytest.raises(Refused, match=r"another manager \(pid unknown\)"):
                managing(tmp_path).__enter__()
