"""Whether a manager works on a state directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mayfly.edge.faults import Refused
from mayfly.edge.state_lock import NAME, is_managed, managing

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
