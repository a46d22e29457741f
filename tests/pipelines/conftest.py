"""``mayfly pipeline render`` in this process, in a repository."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from mayfly.cli.app import main
from tests.pipelines.example import ENVIRONMENT


@dataclass(frozen=True)
class Ran:
    """How it ended and what it printed."""

    code: int
    out: str
    err: str


class Render(Protocol):
    def __call__(self, folder: Path, *options: str) -> Ran: ...


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Render:
    """``render(folder, *options)``: what ``mayfly pipeline render`` prints there, and how it exits."""

    def run(folder: Path, *options: str) -> Ran:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        words = ["mayfly", "pipeline", "render", "--repository", str(folder), *options]
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        said = capfd.readouterr()
        return Ran(code or 0, said.out, said.err)

    return run
