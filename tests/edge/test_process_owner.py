"""Whose a process is, by the kernel."""

from __future__ import annotations

import os
import pwd
import time
from pathlib import Path

from mayfly.edge.process_owner import owner_of


def test_a_process_has_its_user_and_when_it_began() -> None:
    found = owner_of(os.getpid())
    assert found is not None
    assert found.user == pwd.getpwuid(os.getuid()).pw_name
    assert found.since <= time.time() + 2


def test_one_that_has_gone_or_says_nonsense_is_nobodys(tmp_path: Path) -> None:
    assert owner_of(2**22 + 1) is None
    (tmp_path / "stat").write_text("btime 1000\n")
    own = tmp_path / "7"
    own.mkdir()
    (own / "stat").write_text("7 (a) b) S" + " 0" * 18 + " 200 0\n")
    found = owner_of(7, tmp_path)
    assert found is not None
    assert found.since == 1000 + 200 / os.sysconf("SC_CLK_TCK")
    (own / "stat").write_text("7 (x) S 1\n")
    assert owner_of(7, tmp_path) is None
