"""Everything that is shell reads well to shellcheck, and what runs in an agent is POSIX sh."""

import re
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


def test_what_the_launchers_read_of_the_environment_is_documented_and_the_managers() -> None:
    """The page names each variable; what becomes of a job's is that none of them reaches who reads these."""
    page = (ROOT / "docs/reference/gate.md").read_text()
    table = page.partition("| variable of the container |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(MAYFLY_[A-Z_]+)`", table))
    read = {
        name
        for path in (ROOT / "agents").iterdir()
        for name in re.findall(r"\$\{?(MAYFLY_[A-Z_]+)", path.read_text())
        if not name.startswith("MAYFLY_ENV_")  # a pool's `env`, by any name
    }
    assert read <= named


def test_what_makes_a_step_the_job_user_reads_no_variable() -> None:
    """gitlab-runner can be asked to put a job's variables above its own, and it is root."""
    text = (ROOT / "agents/gitlab-bash").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    used = set(re.findall(r"\$\{?(\w+)", code))
    made = set(re.findall(r"read -r (\w+)", code))
    assert used == made == {"_as", "_path"}


# Read by the shell of a job's own script, whose options are the job's.
BY_A_JOB = frozenset({"gitlab-lines", "gitea-step"})


@pytest.mark.parametrize("path", sorted((ROOT / "agents").iterdir()), ids=lambda path: path.name)
def test_what_runs_in_an_agent_is_posix_shell_that_stops_at_errors(path: Path) -> None:
    if path.suffix not in ("", ".sh"):
        pytest.skip("no shell")
    text = path.read_text()
    assert text.startswith(("#!/bin/sh\n", "# shellcheck shell=sh\n"))
    if path.name in BY_A_JOB:
        assert not re.search(r"^\s*(set|exit)\b", text, re.MULTILINE)
        return
    assert "\nset -eu\n" in text
