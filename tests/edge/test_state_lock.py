"""Whether a manager works on a state directory."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from mayfly.edge.state_lock import NAME, is_managed

if TYPE_CHECKING:
    from pathlib import Path


def test_a_manager_is_there_for_as_long_as_it_has_the_lock(tmp_path: Path) -> None:
    assert not is_managed(tmp_path)
    with (tmp_path / NAME).open("w") as held:
        assert not is_managed(tmp_path)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert is_managed(tmp_path)
        assert is_managed(tmp_path), "who looks takes nothing"
    assert not is_managed(tmp_path)
