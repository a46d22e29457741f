"""The picture of `mayfly status` in a terminal, from a manager at work; kept where ``PICTURES`` says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests import terminal_picture
from tests.real.metrics.conftest import MetricsLab
from tests.terminal import Terminal

pytestmark = [pytest.mark.real, pytest.mark.engine, pytest.mark.timeout(600)]
COLUMNS = 112
MOST = 50_000  # bytes


def test_the_picture_is_what_a_terminal_shows(lab: MetricsLab, tmp_path: Path) -> None:
    """Where it says the same as before it is left as it is."""
    lab.manager.in_phase("held", "torch-0")
    command = [sys.executable, "-m", "mayfly.cli.app", "status"]
    terminal = Terminal(command, columns=COLUMNS, MAYFLY_CONFIG=str(lab.manager.config))
    _, printed = terminal.end()
    terminal.close()
    # A manager whose configuration stands where it belongs says nothing of where that is.
    printed = printed.replace(f" --config {lab.manager.config}", "")
    shown = terminal_picture.terminal(printed, "mayfly status", COLUMNS)
    for word in ("2 jobs queued", "busy", "new disk on Friday", "slot.held", "fix:"):
        assert word in terminal_picture.words(shown), word
    assert str(lab.manager.home) not in shown
    file = Path(os.environ.get("PICTURES", tmp_path)) / "status.svg"
    terminal_picture.keep(file, shown)
    assert 3_000 < file.stat().st_size < MOST
    assert not terminal_picture.keep(file, shown)
