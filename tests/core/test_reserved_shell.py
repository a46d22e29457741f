"""What the job of a reservation runs: its owner is told of the end in time, and it ends by itself."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path

import pytest

from mayfly.core.model import JobId
from mayfly.core.reserved_shell import shown, told_later, waiting

# A clock that goes on only while somebody sleeps.
SLEEP = (
    '#!/bin/sh\nprintf "%s\\n" $(($(cat "$CLOCK") + $1)) >"$CLOCK.new"\nmv "$CLOCK.new" "$CLOCK"\n'
)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "sleep").write_text(SLEEP)
    (tmp_path / "sleep").chmod(0o755)
    (tmp_path / "clock").write_text("1000\n")
    (tmp_path / "terminals").mkdir()
    (tmp_path / "terminals/0").touch()
    return tmp_path


def ran(desk: Path, seconds: float) -> list[str]:
    """What it prints from its beginning to its end."""
    *words, until, name = waiting(JobId("r1"), seconds).argv
    assert until == "/tmp/.mayfly-reserved-until"
    done = subprocess.run(
        [*words, str(desk / "until"), name, str(desk / "terminals")],
        env={"PATH": f"{desk}:/usr/bin:/bin", "CLOCK": str(desk / "clock")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_it_tells_thirty_fifteen_and_five_minutes_before_the_end_and_ends(desk: Path) -> None:
    said = ran(desk, 2000.0)
    assert said == [
        *(
            f"this reservation ends in {left} minutes; longer: mayfly reserve --extend r1"
            for left in (30, 15, 5)
        ),
        "this reservation is over",
    ]
    assert (desk / "clock").read_text() == "3000\n"


def test_one_of_ten_minutes_is_told_of_five(desk: Path) -> None:
    assert ran(desk, 600.0)[0].startswith("this reservation ends in 5 minutes")


def test_an_end_that_is_later_is_known_from_the_file_and_one_that_is_earlier_is_not(
    desk: Path,
) -> None:
    *words, _ = told_later(900.1)
    subprocess.run([*words, str(desk / "until")], check=True)
    ran(desk, 600.0)
    assert (desk / "clock").read_text() == "1901\n", "and not before it"
    for wrong in ("100", "later", ""):
        (desk / "clock").write_text("1000\n")
        (desk / "until").write_text(f"{wrong}\n")
        ran(desk, 600.0)
        assert (desk / "clock").read_text() == "1600\n", wrong


def test_terminals_are_told_too(desk: Path) -> None:
    ran(desk, 600.0)
    told = (desk / "terminals/0").read_text()
    assert "mayfly: this reservation is over" in told


def test_lists_show_no_script() -> None:
    assert shown(waiting("r1", 7200.0).argv) == ("mayfly-reserved", "7200")
    assert shown(("sh", "-c", "true")) == ("sh", "-c", "true")


def without_processes() -> None:
    """Of whoever is begun next: nothing more can be begun by it."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(64321)
        os.setuid(64321)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))


def test_it_goes_on_to_its_end_where_what_runs_beside_it_has_left_no_process_to_be_had() -> None:
    words = waiting(JobId("r1"), 2.0).argv
    began = time.monotonic()
    done = subprocess.run(
        ["/bin/dash", *words[1:], "/dev/pts"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=without_processes,
    )
    assert (done.returncode, done.stdout) == (0, "this reservation is over\n")
    assert time.monotonic() - began >= 2.0
