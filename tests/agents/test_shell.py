"""Everything that is shell reads well to shellcheck, and what runs in an agent is POSIX sh."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path
    for folder in ("agents", "scripts", ".ci")
    for path in (ROOT / folder).iterdir()
    if path.is_file() and path.suffix in ("", ".sh")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_finds_nothing(path: Path) -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "--external-sources", path],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "agents").iterdir()), ids=lambda path: path.name)
def test_what_runs_in_an_agent_is_posix_shell_that_stops_at_errors(path: Path) -> None:
    if path.suffix not in ("", ".sh"):
        pytest.skip("no shell")
    text = path.read_text()
    assert text.startswith(("#!/bin/sh\n", "# shellcheck shell=sh\n"))
    assert "\nset -eu\n" in text
