"""What nobody used for a week goes, whether or not anybody sends."""

from __future__ import annotations

import os
from pathlib import Path

from mayfly.edge.workspaces import WEEK, Bounds, Workspaces
from mayfly.service.old_content import OldContent
from tests.harness import until

UID = os.getuid()


def test_what_is_old_goes_at_the_start_and_again_while_nobody_sends(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    kept = Workspaces(tmp_path, Bounds(1 << 20, 1 << 24, 1 << 25), list, lambda: now[0])
    first = kept.keep(UID, (b"first",), 5)
    now[0] += WEEK + 1
    second = kept.keep(UID, (b"second",), 6)
    errors: list[BaseException] = []
    old = OldContent((kept.throw_old_away,), lambda _, error: errors.append(error), every=0.01)
    old.start()
    try:
        until(lambda: not list(tmp_path.rglob(first)), "the first has gone")
        assert list(tmp_path.rglob(second))
        now[0] += WEEK + 1
        until(lambda: not list(tmp_path.rglob(second)), "the second has gone")
    finally:
        old.stop()
    assert errors == []


def test_what_goes_wrong_is_told_and_tried_again() -> None:
    calls: list[int] = []
    errors: list[BaseException] = []

    def fails_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError

    old = OldContent((fails_once,), lambda _, error: errors.append(error), every=0.01)
    old.start()
    try:
        until(lambda: len(calls) > 1, "it is tried again")
    finally:
        old.stop()
    assert [type(error) for error in errors] == [ValueError]
